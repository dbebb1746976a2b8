// SPDX-License-Identifier: BSD-3-Clause
#include "steering_bpf/load.hpp"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <linux/if_link.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

#include "steering_bpf/device.hpp"
#include "steering_bpf/maps.hpp"
#include "steering_bpf/pins.hpp"
#include "steering_bpf/refusal.hpp"
#include "steering_bpf/state.hpp"

namespace millrace::steering {
namespace {

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

// Over those of a netdev that is gone, or of an attach that was killed. What an attach that is killed has
// switched off is known at any moment: by the old map, or by the new one.
Status pin_maps(const Classifier& classifier, const std::string& port, const std::string& dir,
                uint32_t restore) {
    if (mkdir(dir.c_str(), 0700) != 0 && errno != EEXIST) {
        return fail(fmt::format("{}: cannot make it", dir), errno);
    }
    // Without a link the old state speaks of the netdev that the port has now.
    const millrace_port_state none{
        .sees = 0, .restore = restore, .abi = 0, .program = 0, .next = 0, .reserved = 0, .tag = {}};
    if (auto written = write_state(dir, port, none); !written) {
        return written;
    }
    const std::string link = dir + "/" MILLRACE_PIN_LINK;
    if (unlink(link.c_str()) != 0 && errno != ENOENT) {
        return fail(fmt::format("{}: cannot remove", link), errno);
    }
    if (auto written = write_state(classifier.map(MILLRACE_MAP_STATE), port, none); !written) {
        return written;
    }
    for (const MapSpec& map : map_specs) {
        const std::string path = fmt::format("{}/{}", dir, map.name);
        if (auto pinned = pin_over(classifier.map(map.name), path); !pinned) {
            return pinned;
        }
    }
    return {};
}

// Tags stay in the frames if the driver can do that. It is written down first: a detach must find it.
Status keep_tags_in(const std::string& port, const Classifier& classifier, uint32_t restore) {
    const int map = classifier.map(MILLRACE_MAP_STATE);
    millrace_port_state state = classifier.state();
    const uint32_t off = to_switch_off(port, classifier);
    state.restore = restore | off;
    if (auto written = write_state(map, port, state); !written) {
        return written;
    }
    if (off != 0 && !switch_tag_offload(port, off, false)) {
        // Not a reason to refuse: the daemon looks at what is in force.
        state.restore = restore;
        static_cast<void>(write_state(map, port, state));
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
    const auto classifier = Classifier::load(port, ifindex, mode);
    if (!classifier) {
        return refuse(classifier.error());
    }
    struct stat folder {};
    Undo undo(port, dir, stat(dir.c_str(), &folder) == 0);
    if (auto maps = pin_maps(*classifier, port, dir, restore); !maps) {
        return refuse(maps.error());
    }
    if (auto kept = keep_tags_in(port, *classifier, restore); !kept) {
        return refuse(kept.error());
    }
    // The link comes last: it makes the port run, and closing it undoes that.
    LIBBPF_OPTS(bpf_link_create_opts, options);
    options.flags = mode == Mode::native ? XDP_FLAGS_DRV_MODE : XDP_FLAGS_SKB_MODE;
    const int fd = bpf_link_create(classifier->fd(), static_cast<int>(raw(ifindex)), BPF_XDP, &options);
    if (fd < 0) {
        return tl::unexpected(
            Refusal{attach_refused(port, ifindex, classifier->fd(), mode, -fd), -fd == EOPNOTSUPP});
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

uint32_t to_switch_off(const std::string& port, const Classifier& classifier) {
    const auto offload = tag_offload(port);
    return offload && (classifier.state().sees & MILLRACE_SEES_TAGS) == 0 ? offload->on & offload->changeable
                                                                          : 0;
}

void undo_pins(const std::string& port, const std::string& dir, bool folder_stays) {
    static_cast<void>(restore_tag_offload(port, read_state(dir).restore));
    static_cast<void>(folder_stays ? unpin(dir) : remove_pins(dir));
}

Status restore_tag_offload(const std::string& port, uint32_t restore) {
    return restore == 0 ? Status{} : switch_tag_offload(port, restore, true);
}

}  // namespace millrace::steering
