// SPDX-License-Identifier: BSD-3-Clause
#include "fib_sync/links.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <utility>

namespace millrace::sync {
namespace {

// __fib_validate_source: without an address of its own, an interface takes loose as strict.
ReversePath reverse_path_of(const DevicePolicy& policy, bool ipv4) {
    if (policy.rp_filter == 0) {
        return ReversePath::off;
    }
    return policy.rp_filter == 1 || !ipv4 ? ReversePath::strict : ReversePath::loose;
}

}  // namespace

Interface Link::interface() const {
    return {.ifindex = state.ifindex,
            .name = state.name,
            .port = port,
            .mac = state.mac,
            .mtu = state.mtu,
            .mtu6 = policy.mtu6 == 0 ? state.mtu : std::min(policy.mtu6, state.mtu),
            .usable = usable(),
            .reverse_path = reverse_path_of(policy, ipv4)};
}

Links::Links(std::vector<std::string> ports) : ports_(ports.begin(), ports.end()) {}

std::string Links::port_of(const LinkMessage& message) const {
    return ports_.contains(message.name) ? message.name : std::string();
}

Links::Change Links::apply(const LinkMessage& message, uint32_t generation) {
    const auto found = links_.find(message.ifindex);
    const bool was_managed = found != links_.end() && found->second.managed();
    if (message.removed) {
        version_ += was_managed ? 1 : 0;
        if (found != links_.end()) {
            links_.erase(found);
        }
        return {.interface = was_managed, .managed = was_managed};
    }
    Link link{.state = message, .port = port_of(message), .seen = generation};
    if (const auto policy = policies_.find(message.ifindex); policy != policies_.end()) {
        link.policy = policy->second;
    }
    link.ipv4 = found != links_.end() && found->second.ipv4;
    link.distrusted = found != links_.end() ? found->second.distrusted : 0;
    const bool same = found != links_.end() && found->second.interface() == link.interface();
    const bool managed = link.managed();
    const bool told = found != links_.end() && found->second.state == message;
    version_ += (managed || was_managed) && !told ? 1 : 0;
    links_.insert_or_assign(message.ifindex, std::move(link));
    return {.interface = (managed || was_managed) && !same, .managed = managed != was_managed};
}

std::vector<Ifindex> Links::not_seen(uint32_t generation) const {
    std::vector<Ifindex> gone;
    for (const auto& [ifindex, link] : links_) {
        if (link.seen != generation) {
            gone.push_back(ifindex);
        }
    }
    return gone;
}

const Link* Links::find(Ifindex ifindex) const {
    const auto found = links_.find(ifindex);
    return found == links_.end() ? nullptr : &found->second;
}

bool Links::managed(Ifindex ifindex) const {
    const Link* link = find(ifindex);
    return link != nullptr && link->managed();
}

bool Links::usable(Ifindex ifindex) const {
    const Link* link = find(ifindex);
    return link != nullptr && link->usable();
}

bool Links::egress_kept(Ifindex ifindex) const {
    const Link* link = find(ifindex);
    return link != nullptr && link->policy.egress_kept;
}

std::vector<Ifindex> Links::set_policies(std::map<Ifindex, DevicePolicy> policies) {
    std::vector<Ifindex> changed;
    policies_ = std::move(policies);
    for (auto& [ifindex, link] : links_) {
        const auto found = policies_.find(ifindex);
        const DevicePolicy policy = found == policies_.end() ? DevicePolicy{} : found->second;
        if (link.managed() && link.policy != policy) {
            changed.push_back(ifindex);
        }
        link.policy = policy;
    }
    return changed;
}

std::vector<Ifindex> Links::set_ipv4(const std::set<Ifindex>& with_address) {
    std::vector<Ifindex> changed;
    for (auto& [ifindex, link] : links_) {
        const Interface before = link.interface();
        link.ipv4 = with_address.contains(ifindex);
        if (link.managed() && link.interface() != before) {
            changed.push_back(ifindex);
        }
    }
    return changed;
}

std::vector<PortDevice> Links::port_devices() const {
    std::vector<PortDevice> all;
    for (const auto& [ifindex, link] : links_) {
        if (!link.managed()) {
            continue;
        }
        PortDevice device{.ifindex = ifindex, .name = link.state.name, .master = {}};
        if (const Ifindex master = link.state.master; master != Ifindex{}) {
            const Link* m = find(master);
            device.master = name(master);
            device.master += m == nullptr || m->state.kind.empty() ? "" : " (" + m->state.kind + ")";
        }
        all.push_back(std::move(device));
    }
    return all;
}

bool Links::in_service(Ifindex ifindex) const {
    const Link* link = find(ifindex);
    return link != nullptr && link->running() && link->distrusted == 0;
}

void Links::distrust(Ifindex ifindex, uint32_t generation) {
    if (const auto found = links_.find(ifindex); found != links_.end()) {
        found->second.distrusted = generation;
    }
}

std::vector<Ifindex> Links::settle(uint32_t generation) {
    std::vector<Ifindex> settled;
    for (auto& [ifindex, link] : links_) {
        if (link.distrusted != 0 && link.distrusted != generation) {
            link.distrusted = 0;
            settled.push_back(ifindex);
        }
    }
    return settled;
}

std::string Links::name(Ifindex ifindex) const {
    const Link* link = find(ifindex);
    return link != nullptr ? link->state.name : fmt::format("if{}", raw(ifindex));
}

std::optional<Ifindex> Links::index_of(std::string_view name) const {
    const auto found = std::find_if(links_.begin(), links_.end(),
                                    [&](const auto& l) { return l.second.state.name == name; });
    return found == links_.end() ? std::nullopt : std::optional(found->first);
}

}  // namespace millrace::sync
