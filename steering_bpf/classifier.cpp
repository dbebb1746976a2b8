// SPDX-License-Identifier: BSD-3-Clause
#include "steering_bpf/classifier.hpp"

#include <bpf/bpf.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "classifier.skel.h"
#include "classifier_tags.skel.h"
#include "classifier_takers.skel.h"
#include "steering_bpf/device.hpp"
#include "steering_bpf/libbpf_log.hpp"

namespace millrace::steering {
namespace {

constexpr const char* kernel_types = "/sys/kernel/btf/vmlinux";
constexpr uint32_t dev_bound_only = 1U << 6;  // BPF_F_XDP_DEV_BOUND_ONLY, Linux 6.3

bpf_program* program_of(const bpf_object* object) {
    return bpf_object__find_program_by_name(object, MILLRACE_PROGRAM_NAME);
}

}  // namespace

struct Classifier::Build {
    uint32_t sees;
    const void* (*bytes)(size_t* size);
};
// The one that sees most comes first.
const std::array<Classifier::Build, 3> Classifier::builds = {
    {{MILLRACE_SEES_TAKERS | MILLRACE_SEES_TAGS, classifier_tags::elf_bytes},
     {MILLRACE_SEES_TAKERS, classifier_takers::elf_bytes},
     {0, classifier::elf_bytes}}};

Result<Classifier::Object> Classifier::load_build(const std::string& port, Ifindex ifindex,
                                                  const Build& build, std::span<const Fd> maps) {
    const LibbpfLog log;
    size_t size = 0;
    const void* elf = build.bytes(&size);
    LIBBPF_OPTS(bpf_object_open_opts, options);
    // Types are the kernel's own. One that this kernel doesn't have would be looked for in modules, too,
    // which takes CAP_SYS_ADMIN; without, nothing is loaded at all.
    options.btf_custom_path = access(kernel_types, R_OK) == 0 ? kernel_types : nullptr;
    Object object(bpf_object__open_mem(elf, size, &options));
    if (object && (build.sees & MILLRACE_SEES_TAGS) != 0) {
        bpf_program__set_ifindex(program_of(object.get()), raw(ifindex));
        bpf_program__set_flags(program_of(object.get()), dev_bound_only);
    }
    bool good = object != nullptr;
    for (size_t id = 0; good && id < maps.size(); ++id) {
        bpf_map* map = bpf_object__find_map_by_name(object.get(), map_specs[id].name);
        good = map != nullptr && bpf_map__reuse_fd(map, maps[id].get()) == 0;
    }
    if (!good || bpf_object__load(object.get()) != 0) {
        const int error = errno;
        return fail(fmt::format("port {}: cannot load the classifier ({})", port, log.tail()), error);
    }
    return object;
}

Result<Classifier> Classifier::load(const std::string& port, Ifindex ifindex, Mode mode,
                                    std::span<const Fd> maps) {
    Classifier out;
    for (const Build& build : builds) {
        // A program that is bound to its device runs in the driver or not at all.
        if ((build.sees & MILLRACE_SEES_TAGS) != 0 && (mode != Mode::native || !tells_tags(ifindex))) {
            continue;
        }
        auto object = load_build(port, ifindex, build, maps);
        if (!object && build.sees == 0) {
            return tl::unexpected(object.error());
        }
        if (object) {
            out.object_ = std::move(*object);
            out.state_.sees = build.sees;
            break;
        }
    }
    bpf_prog_info info{};
    uint32_t size = sizeof(info);
    if (bpf_obj_get_info_by_fd(out.fd(), &info, &size) != 0) {
        return fail(fmt::format("port {}: the classifier tells nothing of itself", port), errno);
    }
    out.state_.abi = MILLRACE_ABI_ID;
    out.state_.program = info.id;
    std::copy(std::begin(info.tag), std::end(info.tag), std::begin(out.state_.tag));
    return out;
}

int Classifier::fd() const {
    return bpf_program__fd(program_of(object_.get()));
}

int Classifier::map(const char* name) const {
    return bpf_object__find_map_fd_by_name(object_.get(), name);
}

}  // namespace millrace::steering
