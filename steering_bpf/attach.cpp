// SPDX-License-Identifier: BSD-3-Clause
#include "steering_bpf/attach.hpp"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <linux/if_link.h>
#include <sys/stat.h>

#include <cerrno>
#include <memory>

#include "classifier.skel.h"
#include "steering_bpf/kernel.hpp"
#include "steering_bpf/libbpf_log.hpp"
#include "steering_bpf/maps.hpp"
#include "steering_bpf/pins.hpp"

namespace millrace::steering {
namespace {

struct CloseObject {
    void operator()(bpf_object* o) const { bpf_object__close(o); }
};
using Object = std::unique_ptr<bpf_object, CloseObject>;

// Removes what was pinned, unless all of it was.
class PinGuard {
  public:
    explicit PinGuard(std::string dir) : dir_(std::move(dir)) {}
    ~PinGuard() {
        if (!dir_.empty()) {
            static_cast<void>(remove_pins(dir_));
        }
    }
    PinGuard(const PinGuard&) = delete;
    PinGuard& operator=(const PinGuard&) = delete;
    void keep() { dir_.clear(); }

  private:
    std::string dir_;
};

Result<Object> load(const std::string& port) {
    const LibbpfLog log;
    size_t size = 0;
    const void* elf = classifier::elf_bytes(&size);
    Object object(bpf_object__open_mem(elf, size, nullptr));
    if (!object || bpf_object__load(object.get()) != 0) {
        const int error = errno;
        return fail(fmt::format("port {}: cannot load the classifier ({})", port, log.tail()), error);
    }
    return object;
}

Status pin_maps(const Object& object, const std::string& dir) {
    if (mkdir(dir.c_str(), 0700) != 0) {
        return fail(fmt::format("{}: cannot make it", dir), errno);
    }
    for (const MapSpec& map : map_specs) {
        const std::string path = fmt::format("{}/{}", dir, map.name);
        if (bpf_obj_pin(bpf_object__find_map_fd_by_name(object.get(), map.name), path.c_str()) != 0) {
            return fail(fmt::format("{}: cannot pin", path), errno);
        }
    }
    return {};
}

struct Link {
    Fd fd;
    Mode mode;
};

Result<Link> create_link(const std::string& port, Ifindex ifindex, int program, Mode wanted) {
    const Mode first = wanted == Mode::generic ? Mode::generic : Mode::native;
    for (const Mode mode : {first, Mode::generic}) {
        LIBBPF_OPTS(bpf_link_create_opts, options);
        options.flags = mode == Mode::native ? XDP_FLAGS_DRV_MODE : XDP_FLAGS_SKB_MODE;
        const int fd = bpf_link_create(program, static_cast<int>(raw(ifindex)), BPF_XDP, &options);
        if (fd >= 0) {
            return Link{Fd(fd), mode};
        }
        // dev_xdp_attach() for a driver without XDP. Any other failure is the operator's to see.
        if (wanted != Mode::automatic || mode == Mode::generic || -fd != EOPNOTSUPP) {
            return fail(fmt::format("port {}: cannot attach the classifier in {} mode", port, name(mode)),
                        -fd);
        }
    }
    return fail(fmt::format("port {}: cannot attach the classifier", port));
}

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
    if (pinned->state == PinnedLink::State::elsewhere) {
        if (const int error = bpf_link_detach(pinned->fd.get()); error != 0) {
            return fail(fmt::format("port {}: cannot detach from the netdev that had its name", port),
                        -error);
        }
    }
    // Left by a netdev that is deleted, or by an attach that was killed.
    if (auto removed = remove_pins(dir); !removed) {
        return tl::unexpected(removed.error());
    }

    const auto object = load(port);
    if (!object) {
        return tl::unexpected(object.error());
    }
    PinGuard guard(dir);
    if (auto maps = pin_maps(*object, dir); !maps) {
        return tl::unexpected(maps.error());
    }
    // The link comes last: it makes the port run, and closing it undoes that.
    const int program =
        bpf_program__fd(bpf_object__find_program_by_name(object->get(), MILLRACE_PROGRAM_NAME));
    const auto link = create_link(port, *ifindex, program, options.mode);
    if (!link) {
        return tl::unexpected(link.error());
    }
    const std::string path = dir + "/" MILLRACE_PIN_LINK;
    if (bpf_obj_pin(link->fd.get(), path.c_str()) != 0) {
        return fail(fmt::format("{}: cannot pin", path), errno);
    }
    guard.keep();
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
    auto done = attach_at(port, *dir, options, Elsewhere::give_up);
    if (!done) {
        // What the operator wants outlasts a netdev that can't have it: the folder alone says so.
        mkdir(dir->c_str(), 0700);
    }
    return done;
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
    // The kernel drops a link some time after its last pin; detaching is over when it returns.
    const Fd link(bpf_obj_get((*dir + "/" MILLRACE_PIN_LINK).c_str()));
    if (link) {
        if (const int error = bpf_link_detach(link.get()); error != 0) {
            return fail(fmt::format("port {}: cannot detach", port), -error);
        }
    }
    return remove_pins(*dir);
}

}  // namespace millrace::steering
