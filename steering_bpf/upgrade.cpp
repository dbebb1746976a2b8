// SPDX-License-Identifier: BSD-3-Clause
#include "steering_bpf/upgrade.hpp"

#include <bpf/bpf.h>

#include <algorithm>
#include <vector>

#include "steering_bpf/classifier.hpp"
#include "steering_bpf/device.hpp"
#include "steering_bpf/load.hpp"
#include "steering_bpf/maps.hpp"
#include "steering_bpf/pins.hpp"
#include "steering_bpf/state.hpp"

namespace millrace::steering {
namespace {

// Empty: they are not all there, or not this build's.
std::vector<Fd> usable_maps(const std::string& dir, const millrace_port_state& state, uint32_t program_id) {
    std::vector<Fd> maps;
    for (size_t id = 0; in_place(state, program_id) && id < map_count; ++id) {
        auto map = open_map(dir, static_cast<MapId>(id));
        if (!map) {
            return {};
        }
        maps.push_back(std::move(*map));
    }
    return maps;
}

bool same(const millrace_port_state& a, const millrace_port_state& b) {
    return a.sees == b.sees && std::equal(std::begin(a.tag), std::end(a.tag), std::begin(b.tag));
}

class Switch {
  public:
    Switch(const std::string& port, const std::string& dir, const PinnedLink& link,
           const Classifier& classifier, const millrace_port_state& before, bool maps_kept)
        : port_(port),
          dir_(dir),
          link_(link),
          classifier_(classifier),
          before_(before),
          after_(classifier.state()),
          maps_kept_(maps_kept) {
        after_.restore = before.restore;
    }

    Status run() {
        Status done = prepare();
        if (done) {
            if (const int error = bpf_link_update(link_.fd.get(), classifier_.fd(), nullptr); error != 0) {
                done = fail(fmt::format("port {}: cannot replace its classifier", port_), -error);
            }
        }
        if (!done) {
            undo();
            return done;
        }
        // From here on only the names of the maps may be wrong, which the next attach would find.
        for (const MapSpec& map : map_specs) {
            if (maps_kept_) {
                break;
            }
            if (auto renamed = take_place(fmt::format("{}/{}", dir_, map.name)); !renamed) {
                return renamed;
            }
        }
        return maps_kept_ ? write_state(dir_, port_, after_) : Status{};
    }

  private:
    // All that can fail, and all that a detach has to find.
    Status prepare() {
        const uint32_t off = to_switch_off(port_, classifier_);
        after_.restore |= off;
        millrace_port_state now = before_;
        now.restore = after_.restore;
        now.sees &= after_.sees;
        now.next = maps_kept_ ? after_.program : 0;
        if (auto written = write_state(dir_, port_, now); !written) {
            return written;
        }
        if (off != 0 && switch_tag_offload(port_, off, false)) {
            switched_off_ = off;
        }
        if (maps_kept_) {
            return {};
        }
        if (auto written = write_state(classifier_.map(MILLRACE_MAP_STATE), port_, after_); !written) {
            return written;
        }
        for (const MapSpec& map : map_specs) {
            if (auto pinned = pin_aside(classifier_.map(map.name), fmt::format("{}/{}", dir_, map.name));
                !pinned) {
                return pinned;
            }
        }
        return {};
    }

    void undo() {
        static_cast<void>(restore_tag_offload(port_, switched_off_));
        static_cast<void>(write_state(dir_, port_, before_));
        remove_aside(dir_);
    }

    const std::string& port_;
    const std::string& dir_;
    const PinnedLink& link_;
    const Classifier& classifier_;
    const millrace_port_state& before_;
    millrace_port_state after_;
    bool maps_kept_;
    uint32_t switched_off_ = 0;
};

}  // namespace

Result<Upgrade> upgrade(const std::string& port, const std::string& dir, const PinnedLink& link) {
    remove_aside(dir);  // of one that was killed
    const millrace_port_state before = read_state(dir);
    const std::vector<Fd> maps = usable_maps(dir, before, link.program_id);
    const bool maps_kept = !maps.empty();
    const auto classifier = Classifier::load(port, link.ifindex, link.mode, maps);
    if (!classifier) {
        return tl::unexpected(classifier.error());
    }
    if (maps_kept && before.program == link.program_id && same(before, classifier->state())) {
        return Upgrade{.changed = false, .maps_kept = true, .program_id = link.program_id};
    }
    if (auto done = Switch(port, dir, link, *classifier, before, maps_kept).run(); !done) {
        return tl::unexpected(done.error());
    }
    return Upgrade{.changed = true, .maps_kept = maps_kept, .program_id = classifier->state().program};
}

}  // namespace millrace::steering
