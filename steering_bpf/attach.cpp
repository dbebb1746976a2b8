// SPDX-License-Identifier: BSD-3-Clause
#include "steering_bpf/attach.hpp"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <fmt/ranges.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

#include "steering_bpf/kernel.hpp"
#include "steering_bpf/load.hpp"
#include "steering_bpf/maps.hpp"
#include "steering_bpf/pins.hpp"
#include "steering_bpf/state.hpp"
#include "steering_bpf/upgrade.hpp"

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

// Who asks.
enum class Asks : uint8_t { operator_, daemon };

// Names what this version doesn't know of dir, and removes it where that is wished; attached: of an upgrade,
// which has maps of its own to take away.
Status refuse_unknown(const std::string& port, const std::string& dir, const AttachOptions& options,
                      bool attached, AttachReport& report) {
    auto found = unknown_pins(dir);
    if (!found) {
        return tl::unexpected(found.error());
    }
    std::vector<std::string> unknown = std::move(found->others);
    if (!attached) {
        unknown.insert(unknown.end(), found->maps.begin(), found->maps.end());
    }
    if (!unknown.empty() && !options.force) {
        return fail(
            fmt::format("port {}: {} holds what this version doesn't know: {}; 'millrace-steer attach "
                        "--force {}' removes it",
                        port, dir, fmt::join(unknown, ", "), port));
    }
    report.removed = unknown;
    return remove_unknown(dir, unknown);
}

Result<AttachReport> upgrade_at(const std::string& port, const std::string& dir, const PinnedLink& link,
                                AttachReport report) {
    const auto done = upgrade(port, dir, link);
    if (!done) {
        return tl::unexpected(done.error());
    }
    report.mode = link.mode;
    report.program_id = done->program_id;
    report.already_attached = !done->changed;
    report.upgraded = done->changed;
    report.maps_kept = done->maps_kept;
    // The other build's, which no program uses any more.
    if (const auto left = unknown_pins(dir); left && done->changed) {
        static_cast<void>(remove_unknown(dir, left->maps));
        report.removed.insert(report.removed.end(), left->maps.begin(), left->maps.end());
    }
    return report;
}

// The link's pin, or none where it is no link and may be removed.
Result<PinnedLink> link_at(const std::string& port, const std::string& dir, bool force) {
    const std::string path = dir + "/" MILLRACE_PIN_LINK;
    auto pinned = pinned_link(path, port);
    if (pinned || pinned.error().code == ENOENT || !force) {
        return pinned;
    }
    return unlink(path.c_str()) == 0 ? pinned_link(path, port)
                                     : fail(fmt::format("{}: cannot remove", path), errno);
}

// The caller holds the lock of the pin root.
Result<AttachReport> attach_at(const std::string& port, const std::string& dir, const AttachOptions& options,
                               Asks asks) {
    const auto ifindex = find_netdev(port);
    if (!ifindex) {
        return tl::unexpected(ifindex.error());
    }
    const auto pinned = link_at(port, dir, options.force);
    if (!pinned) {
        return tl::unexpected(pinned.error());
    }
    AttachReport report;
    const bool is_attached = pinned->state == PinnedLink::State::attached;
    if (is_attached && asks == Asks::daemon) {
        const auto ours = attached_by(port, dir, *pinned);
        return ours ? Result<AttachReport>(
                          {.mode = ours->mode, .program_id = ours->program_id, .already_attached = true})
                    : tl::unexpected(ours.error());
    }
    if (is_attached && options.mode != Mode::automatic && options.mode != pinned->mode) {
        return fail(
            fmt::format("port {}: attached in {} mode already; detach it first", port, name(pinned->mode)));
    }
    if (pinned->state == PinnedLink::State::elsewhere && asks == Asks::operator_) {
        return fail(
            fmt::format("port {}: {} holds a link to another netdev (ifindex {}: renamed, or in another "
                        "network namespace); 'millrace-steer detach {}' ends that",
                        port, dir, raw(pinned->ifindex), port));
    }
    if (auto free = is_attached ? Status{} : refuse_foreign(port, *ifindex); !free) {
        return tl::unexpected(free.error());
    }
    if (auto known = refuse_unknown(port, dir, options, is_attached, report); !known) {
        return tl::unexpected(known.error());
    }
    if (is_attached) {
        return upgrade_at(port, dir, *pinned, std::move(report));
    }
    // Left by a netdev that is deleted, or by an attach that was killed: that one's netdev is there.
    const uint32_t restore = pinned->state == PinnedLink::State::none ? read_state(dir).restore : 0;
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
    report.mode = link->mode;
    report.program_id = read_state(dir).program;
    return report;
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
    return attach_at(port, *dir, options, Asks::operator_);
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
    return attach_at(port, *dir, options, Asks::daemon);
}

Result<std::vector<std::string>> detach(const std::string& port, const std::string& pin_root) {
    const auto dir = pin_dir(pin_root, port);
    if (!dir) {
        return tl::unexpected(dir.error());
    }
    Fd lock;
    if (auto taken = take_pins(port, pin_root, *dir, lock); !taken) {
        return tl::unexpected(taken.error());
    }
    // What is no link of XDP's holds nothing here, and goes with the other pins.
    const std::string path = *dir + "/" MILLRACE_PIN_LINK;
    const auto pinned = pinned_link(path, port);
    // None: by a detach that was killed.
    const bool is_here =
        pinned && (pinned->state == PinnedLink::State::attached || pinned->state == PinnedLink::State::none);
    const uint32_t restore = is_here ? read_state(*dir).restore : 0;
    // The kernel drops a link some time after its last pin; detaching is over when it returns.
    if (pinned && pinned->fd) {
        if (const int error = bpf_link_detach(pinned->fd.get()); error != 0) {
            return fail(fmt::format("port {}: cannot detach", port), -error);
        }
        unlink(path.c_str());
    }
    const auto unknown = unknown_pins(*dir);
    // Before the pins go: whoever is killed in between can be asked again.
    const Status restored = restore_tag_offload(port, restore);
    const Status removed = remove_pins(*dir);
    for (const Status& status : {removed, restored}) {
        if (!status) {
            return tl::unexpected(status.error());
        }
    }
    std::vector<std::string> names;
    if (unknown) {
        names = unknown->others;
        names.insert(names.end(), unknown->maps.begin(), unknown->maps.end());
    }
    return names;
}

}  // namespace millrace::steering
