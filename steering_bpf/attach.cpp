// SPDX-License-Identifier: BSD-3-Clause
#include "steering_bpf/attach.hpp"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <sys/stat.h>

#include <cerrno>

#include "steering_bpf/kernel.hpp"
#include "steering_bpf/load.hpp"
#include "steering_bpf/maps.hpp"
#include "steering_bpf/pins.hpp"

namespace millrace::steering {
namespace {

Status refuse_foreign(const std::string& port, Ifindex ifindex) {
    auto program = xdp_program(port, ifindex);
    if (!program) {
        return tl::unexpected(program.error());
    }
    if (!*program) {
        return {};
    }
    const Mode mode = (*program)->mode;
    const char* ip_word = mode == Mode::native    ? "xdpdrv"
                          : mode == Mode::generic ? "xdpgeneric"
                                                  : "xdpoffload";
    return fail(
        fmt::format("port {}: XDP program '{}' (id {}, {}) is attached, and is not ours; detach it with "
                    "the tool it came from, or 'ip link set dev {} {} off'",
                    port, program_name((*program)->id), (*program)->id, name(mode), port, ip_word));
}

// The lock of the pin root, where the port has pins. Error: it has none.
Status take_pins(const std::string& port, const std::string& pin_root, const std::string& dir, Fd& lock) {
    struct stat folder {};
    if (stat(pin_root.c_str(), &folder) == 0) {
        auto locked = lock_pin_root(pin_root);
        if (!locked) {
            return tl::unexpected(locked.error());
        }
        lock = std::move(*locked);
    }
    if (stat(dir.c_str(), &folder) != 0) {
        return fail(fmt::format("port {}: no classifier attached (nothing in {})", port, dir),
                    errno == ENOENT ? 0 : errno);
    }
    return {};
}

enum class Elsewhere : uint8_t { refuse, give_up };

// The caller holds the lock of the pin root.
Result<AttachReport> attach_at(const std::string& port, const std::string& dir, const AttachOptions& options,
                               Elsewhere elsewhere) {
    const auto ifindex = find_netdev(port);
    if (!ifindex) {
        return tl::unexpected(ifindex.error());
    }
    const auto pinned = pinned_link(dir + "/" MILLRACE_PIN_LINK, port);
    if (!pinned) {
        return tl::unexpected(pinned.error());
    }
    if (pinned->state == PinnedLink::State::attached) {
        for (size_t id = 0; id < map_count; ++id) {
            if (auto map = open_map(dir, static_cast<MapId>(id)); !map) {
                return fail(
                    fmt::format("port {}: attached by another version of millrace; "
                                "'millrace-steer detach {}' first",
                                port, port));
            }
        }
        if (options.mode != Mode::automatic && options.mode != pinned->mode) {
            return fail(fmt::format("port {}: attached in {} mode already; detach it first", port,
                                    name(pinned->mode)));
        }
        return AttachReport{pinned->mode, pinned->program_id, true};
    }
    if (pinned->state == PinnedLink::State::elsewhere && elsewhere == Elsewhere::refuse) {
        return fail(
            fmt::format("port {}: {} holds a link to another netdev (ifindex {}: renamed, or in another "
                        "network namespace); 'millrace-steer detach {}' ends that",
                        port, dir, raw(pinned->ifindex), port));
    }
    if (auto free = refuse_foreign(port, *ifindex); !free) {
        return tl::unexpected(free.error());
    }
    // Left by a netdev that is deleted, or by an attach that was killed: that one's netdev is there.
    const uint32_t restore = pinned->state == PinnedLink::State::none ? switched_off(dir) : 0;
    if (pinned->state == PinnedLink::State::elsewhere) {
        if (const int error = bpf_link_detach(pinned->fd.get()); error != 0) {
            return fail(fmt::format("port {}: cannot detach from the netdev that had its name", port),
                        -error);
        }
    }
    struct stat folder {};
    const bool folder_stays = stat(dir.c_str(), &folder) == 0;
    auto link = load_and_attach(port, *ifindex, dir, options.mode, restore);
    if (!link) {
        return tl::unexpected(link.error());
    }
    const std::string path = dir + "/" MILLRACE_PIN_LINK;
    if (bpf_obj_pin(link->fd.get(), path.c_str()) != 0) {
        const int error = errno;
        link->fd = Fd();
        undo_pins(port, dir, folder_stays);
        return fail(fmt::format("{}: cannot pin", path), error);
    }
    auto program_now = xdp_program(port, *ifindex);
    return AttachReport{link->mode, program_now && *program_now ? (*program_now)->id : 0, false};
}

}  // namespace

Result<AttachReport> attach(const std::string& port, const AttachOptions& options) {
    const auto dir = pin_dir(options.pin_root, port);
    if (!dir) {
        return tl::unexpected(dir.error());
    }
    if (const auto netdev = find_netdev(port); !netdev) {
        return tl::unexpected(netdev.error());
    }
    if (auto prepared = prepare_pin_root(options.pin_root); !prepared) {
        return tl::unexpected(prepared.error());
    }
    const auto lock = lock_pin_root(options.pin_root);
    if (!lock) {
        return tl::unexpected(lock.error());
    }
    return attach_at(port, *dir, options, Elsewhere::refuse);
}

Result<AttachReport> attach_again(const std::string& port, const AttachOptions& options) {
    const auto dir = pin_dir(options.pin_root, port);
    if (!dir) {
        return tl::unexpected(dir.error());
    }
    Fd lock;
    if (auto taken = take_pins(port, options.pin_root, *dir, lock); !taken) {
        return tl::unexpected(taken.error());
    }
    // What the operator wants outlasts a netdev that can't have it: the folder alone says so.
    return attach_at(port, *dir, options, Elsewhere::give_up);
}

bool has_pins(const std::string& port, const std::string& pin_root) {
    const auto dir = pin_dir(pin_root, port);
    struct stat folder {};
    return dir && stat(dir->c_str(), &folder) == 0;
}

Result<uint32_t> attached_program(const std::string& port, const std::string& pin_root) {
    const auto dir = pin_dir(pin_root, port);
    if (!dir) {
        return tl::unexpected(dir.error());
    }
    const auto link = attached_link(*dir, port);
    return link ? Result<uint32_t>(link->program_id) : tl::unexpected(link.error());
}

Status detach(const std::string& port, const std::string& pin_root) {
    const auto dir = pin_dir(pin_root, port);
    if (!dir) {
        return tl::unexpected(dir.error());
    }
    Fd lock;
    if (auto taken = take_pins(port, pin_root, *dir, lock); !taken) {
        return taken;
    }
    const auto pinned = pinned_link(*dir + "/" MILLRACE_PIN_LINK, port);
    const uint32_t restore = pinned && pinned->state == PinnedLink::State::attached ? switched_off(*dir) : 0;
    // The kernel drops a link some time after its last pin; detaching is over when it returns.
    const Fd link(bpf_obj_get((*dir + "/" MILLRACE_PIN_LINK).c_str()));
    if (link) {
        if (const int error = bpf_link_detach(link.get()); error != 0) {
            return fail(fmt::format("port {}: cannot detach", port), -error);
        }
    }
    // Before the pins go: whoever is killed in between can be asked again.
    const Status restored = restore_tag_offload(port, restore);
    const Status removed = remove_pins(*dir);
    return removed ? restored : removed;
}

}  // namespace millrace::steering
