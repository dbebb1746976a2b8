// SPDX-License-Identifier: BSD-3-Clause
#include "dataplane/daemon/port_watch.hpp"

#include <fmt/core.h>
#include <net/if.h>
#include <spdlog/spdlog.h>

#include <utility>

namespace millrace::dataplane {

std::string hidden_tags(const PortConfig& port, uint32_t sees, bool hardware,
                        const Result<steering::TagOffload>& offload) {
    constexpr const char* otherwise = "vlan_tags = \"none\" if its link carries none";
    if (port.vlan_tags == VlanTags::none || (sees & MILLRACE_SEES_TAGS) != 0) {
        return {};
    }
    if (!hardware) {
        return fmt::format("VLAN tags can't be seen here; {}", otherwise);
    }
    if (!offload) {
        return fmt::format("VLAN offloads can't be asked for; {}", otherwise);
    }
    if (offload->on == 0) {
        return {};
    }
    if ((offload->on & ~offload->changeable) != 0) {
        return fmt::format("the driver strips VLAN tags; {}", otherwise);
    }
    return fmt::format("the driver strips VLAN tags; 'ethtool -K {} {}', or {}", port.name,
                       offload->on == MILLRACE_RESTORE_STAG ? "rx-vlan-stag-hw-parse off" : "rxvlan off",
                       otherwise);
}

std::string hidden_tags(const PortConfig& port, uint32_t sees, Ifindex ifindex) {
    if (port.vlan_tags == VlanTags::none || (sees & MILLRACE_SEES_TAGS) != 0) {
        return {};  // nothing to ask the kernel for
    }
    return hidden_tags(port, sees, steering::has_hardware(ifindex), steering::tag_offload(port.name));
}

PortWatch::PortWatch() {
    auto judge = steering::Judge::load();
    if (judge) {
        judge_.emplace(std::move(*judge));
        return;
    }
    no_judge_ = judge.error().text();
    spdlog::warn("whether a device above a port takes its frames is not shown: {}", no_judge_);
}

PortWatch::Found PortWatch::look(const PortConfig& port, uint32_t sees) {
    Found found;
    const Ifindex ifindex{if_nametoindex(port.name.c_str())};
    if (raw(ifindex) == 0) {
        return found;
    }
    if (std::string text = hidden_tags(port, sees, ifindex); !text.empty()) {
        found.keeps.push_back({.cause = KeepCause::tags, .port = port.name, .text = std::move(text)});
    }
    auto taker = judge_ ? judge_->taker_of(ifindex) : fail(no_judge_);
    if (taker) {
        found.macvlan = taker->macvlan;
        found.of_netlink = taker->of_netlink;
        if (!taker->text.empty()) {
            found.keeps.push_back(
                {.cause = KeepCause::taken, .port = port.name, .text = std::move(taker->text)});
        }
    } else if ((sees & MILLRACE_SEES_TAKERS) == 0 && taker.error().code != ENODEV) {
        found.keeps.push_back({.cause = KeepCause::taken,
                               .port = port.name,
                               .text = "whether a device above it takes its frames can't be read"});
    }
    return found;
}

}  // namespace millrace::dataplane
