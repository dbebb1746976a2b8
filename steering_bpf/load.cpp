// SPDX-License-Identifier: BSD-3-Clause
#include "steering_bpf/load.hpp"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <linux/if_link.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <memory>
#include <optional>
#include <vector>

#include "classifier.skel.h"
#include "classifier_tags.skel.h"
#include "classifier_takers.skel.h"
#include "steering_bpf/device.hpp"
#include "steering_bpf/libbpf_log.hpp"
#include "steering_bpf/maps.hpp"
#include "steering_bpf/pins.hpp"
#include "steering_bpf/refusal.hpp"

namespace millrace::steering {
namespace {

constexpr uint32_t dev_bound_only = 1U << 6;  // BPF_F_XDP_DEV_BOUND_ONLY, Linux 6.3
constexpr uint32_t first_key = 0;

struct CloseObject {
    void operator()(bpf_object* o) const { bpf_object__close(o); }
};
using Object = std::unique_ptr<bpf_object, CloseObject>;

// One of the builds.
struct Build {
    uint32_t sees;
    const void* (*bytes)(size_t* size);
};
// The one that sees most comes first.
constexpr Build builds[] = {{MILLRACE_SEES_TAKERS | MILLRACE_SEES_TAGS, classifier_tags::elf_bytes},
                            {MILLRACE_SEES_TAKERS, classifier_takers::elf_bytes},
                            {0, classifier::elf_bytes}};

// Removes what was pinned and switches on what was switched off, unless all went well. A folder that was
// there before stays.
class Undo {
  public:
    Undo(std::string port, std::string dir, bool folder_stays)
        : port_(std::move(port)), dir_(std::move(dir)), folder_stays_(folder_stays) {}
    ~Undo() {
        if (!dir_.empty()) {
            undo_pins(port_, dir_, folder_stays_);
        }
    }
    Undo(const Undo&) = delete;
    Undo& operator=(const Undo&) = delete;
    void keep() { dir_.clear(); }

  private:
    std::string port_;
    std::string dir_;
    bool folder_stays_;
};

bpf_program* program_of(const Object& object) {
    return bpf_object__find_program_by_name(object.get(), MILLRACE_PROGRAM_NAME);
}

Result<Object> load(const std::string& port, Ifindex ifindex, const Build& build) {
    const LibbpfLog log;
    size_t size = 0;
    const void* elf = build.bytes(&size);
    Object object(bpf_object__open_mem(elf, size, nullptr));
    if (object && (build.sees & MILLRACE_SEES_TAGS) != 0) {
        bpf_program__set_ifindex(program_of(object), raw(ifindex));
        bpf_program__set_flags(program_of(object), dev_bound_only);
    }
    if (!object || bpf_object__load(object.get()) != 0) {
        const int error = errno;
        return fail(fmt::format("port {}: cannot load the classifier ({})", port, log.tail()), error);
    }
    return object;
}

Result<Object> load_best(const std::string& port, Ifindex ifindex, Mode mode, uint32_t& sees) {
    Result<Object> object = fail("no classifier");
    for (const Build& build : builds) {
        // A program that is bound to its device runs in the driver or not at all.
        if ((build.sees & MILLRACE_SEES_TAGS) != 0 && (mode != Mode::native || !tells_tags(ifindex))) {
            continue;
        }
        object = load(port, ifindex, build);
        if (object) {
            sees = build.sees;
            break;
        }
    }
    return object;
}

// What an attach that is killed has switched off is known at any moment: by the old map, or by the new one.
Status write_state(int map, const std::string& port, millrace_port_state state) {
    return bpf_map_update_elem(map, &first_key, &state, BPF_ANY) == 0
               ? Status{}
               : fail(fmt::format("port {}: " MILLRACE_MAP_STATE ": cannot write", port), errno);
}

// Over those of a netdev that is gone, or of an attach that was killed.
Status pin_maps(const Object& object, const std::string& port, const std::string& dir, uint32_t restore) {
    if (mkdir(dir.c_str(), 0700) != 0 && errno != EEXIST) {
        return fail(fmt::format("{}: cannot make it", dir), errno);
    }
    // Without a link the old state speaks of the netdev that the port has now.
    if (const auto old = open_map(dir, MapId::state)) {
        if (auto written = write_state(old->get(), port, {.sees = 0, .restore = restore}); !written) {
            return written;
        }
    }
    const std::string link = dir + "/" MILLRACE_PIN_LINK;
    if (unlink(link.c_str()) != 0 && errno != ENOENT) {
        return fail(fmt::format("{}: cannot remove", link), errno);
    }
    const int state = bpf_object__find_map_fd_by_name(object.get(), MILLRACE_MAP_STATE);
    if (auto written = write_state(state, port, {.sees = 0, .restore = restore}); !written) {
        return written;
    }
    for (const MapSpec& map : map_specs) {
        const std::string path = fmt::format("{}/{}", dir, map.name);
        if (auto pinned = pin_over(bpf_object__find_map_fd_by_name(object.get(), map.name), path); !pinned) {
            return pinned;
        }
    }
    return {};
}

// Tags stay in the frames if the driver can do that. It is written down first: a detach must find it.
Status keep_tags_in(const std::string& port, const Object& object, uint32_t sees, uint32_t restore) {
    millrace_port_state state{.sees = sees, .restore = restore};
    const auto offload = tag_offload(port);
    const uint32_t off = offload && (sees & MILLRACE_SEES_TAGS) == 0 ? offload->on & offload->changeable : 0;
    state.restore |= off;
    const int map = bpf_object__find_map_fd_by_name(object.get(), MILLRACE_MAP_STATE);
    if (auto written = write_state(map, port, state); !written) {
        return written;
    }
    if (off != 0 && !switch_tag_offload(port, off, false)) {
        // Not a reason to refuse: the daemon looks at what is in force.
        state.restore = restore;
        bpf_map_update_elem(map, &first_key, &state, BPF_ANY);
    }
    return {};
}

struct Refusal {
    Error error;
    bool no_xdp = false;  // the driver has no native mode
};

tl::expected<Link, Refusal> attach_in(const std::string& port, Ifindex ifindex, const std::string& dir,
                                      Mode mode, uint32_t restore) {
    const auto refuse = [](Error error) { return tl::unexpected(Refusal{std::move(error)}); };
    uint32_t sees = 0;
    const auto object = load_best(port, ifindex, mode, sees);
    if (!object) {
        return refuse(object.error());
    }
    struct stat folder {};
    Undo undo(port, dir, stat(dir.c_str(), &folder) == 0);
    if (auto maps = pin_maps(*object, port, dir, restore); !maps) {
        return refuse(maps.error());
    }
    if (auto kept = keep_tags_in(port, *object, sees, restore); !kept) {
        return refuse(kept.error());
    }
    // The link comes last: it makes the port run, and closing it undoes that.
    LIBBPF_OPTS(bpf_link_create_opts, options);
    options.flags = mode == Mode::native ? XDP_FLAGS_DRV_MODE : XDP_FLAGS_SKB_MODE;
    const int fd = bpf_link_create(bpf_program__fd(program_of(*object)), static_cast<int>(raw(ifindex)),
                                   BPF_XDP, &options);
    if (fd < 0) {
        return tl::unexpected(
            Refusal{attach_refused(port, ifindex, bpf_program__fd(program_of(*object)), mode, -fd),
                    -fd == EOPNOTSUPP});
    }
    undo.keep();
    return Link{Fd(fd), mode};
}

}  // namespace

Result<Link> load_and_attach(const std::string& port, Ifindex ifindex, const std::string& dir, Mode mode,
                             uint32_t restore) {
    auto link = attach_in(port, ifindex, dir, mode == Mode::generic ? mode : Mode::native, restore);
    // dev_xdp_attach() for a driver without XDP. Any other failure is the operator's to see.
    if (!link && mode == Mode::automatic && link.error().no_xdp) {
        link = attach_in(port, ifindex, dir, Mode::generic, restore);
    }
    if (!link) {
        return tl::unexpected(link.error().error);
    }
    return std::move(*link);
}

void undo_pins(const std::string& port, const std::string& dir, bool folder_stays) {
    static_cast<void>(restore_tag_offload(port, switched_off(dir)));
    static_cast<void>(folder_stays ? unpin(dir) : remove_pins(dir));
}

Status restore_tag_offload(const std::string& port, uint32_t restore) {
    return restore == 0 ? Status{} : switch_tag_offload(port, restore, true);
}

uint32_t switched_off(const std::string& dir) {
    const auto map = open_map(dir, MapId::state);
    millrace_port_state state{};
    return map && bpf_map_lookup_elem(map->get(), &first_key, &state) == 0 ? state.restore : 0;
}

}  // namespace millrace::steering
