// SPDX-License-Identifier: BSD-3-Clause
#include "steering_bpf/farewell.hpp"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <fmt/core.h>

#include <cerrno>

#include "farewell.skel.h"
#include "steering_bpf/farewell.h"
#include "steering_bpf/libbpf_log.hpp"

namespace millrace::steering {

void Farewell::Close::operator()(bpf_object* object) const {
    bpf_object__close(object);
}

void Farewell::Close::operator()(bpf_link* link) const {
    bpf_link__destroy(link);
}

Result<Farewell> Farewell::arm(std::span<const int> heartbeats) {
    const LibbpfLog log;
    Farewell out;
    size_t size = 0;
    const void* elf = farewell::elf_bytes(&size);
    out.object_.reset(bpf_object__open_mem(elf, size, nullptr));
    if (!out.object_ || bpf_object__load(out.object_.get()) != 0) {
        const int error = errno;
        return fail(fmt::format("a program can't be loaded ({})", log.tail()), error);
    }
    const int map = bpf_object__find_map_fd_by_name(out.object_.get(), "heartbeats");
    for (uint32_t i = 0; i < heartbeats.size() && i < MILLRACE_MOST_FAREWELLS; ++i) {
        if (bpf_map_update_elem(map, &i, &heartbeats[i], BPF_ANY) != 0) {
            return fail("a heartbeat's map is refused", errno);
        }
    }
    LIBBPF_OPTS(bpf_test_run_opts, options);
    if (bpf_prog_test_run_opts(bpf_program__fd(bpf_object__find_program_by_name(out.object_.get(), "arm")),
                               &options) != 0) {
        return fail("a program can't be run", errno);
    }
    out.link_.reset(bpf_program__attach(bpf_object__find_program_by_name(out.object_.get(), "farewell")));
    if (!out.link_) {
        const int error = errno;
        return fail(fmt::format("nothing can be attached to the delivery of signals ({})", log.tail()),
                    error);
    }
    return out;
}

}  // namespace millrace::steering
