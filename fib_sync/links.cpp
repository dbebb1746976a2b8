// SPDX-License-Identifier: BSD-3-Clause
#include "fib_sync/links.hpp"

#include <fmt/core.h>

#include <utility>

namespace millrace::sync {

Interface Link::interface() const {
    return {.ifindex = state.ifindex,
            .name = state.name,
            .port = port,
            .mac = state.mac,
            .mtu = state.mtu,
            .mtu6 = state.mtu,
            .usable = usable(),
            .reverse_path = ReversePath::off};
}

Links::Links(std::vector<std::string> ports) : ports_(ports.begin(), ports.end()) {}

std::string Links::port_of(const LinkMessage& message) const {
    return ports_.contains(message.name) ? message.name : std::string();
}

Links::Change Links::apply(const LinkMessage& message, uint32_t generation) {
    const auto found = links_.find(message.ifindex);
    const bool was_managed = found != links_.end() && found->second.managed();
    if (message.removed) {
        if (found != links_.end()) {
            links_.erase(found);
        }
        return {.interface = was_managed, .managed = was_managed};
    }
    Link link{.state = message, .port = port_of(message), .seen = generation};
    link.distrusted = found != links_.end() ? found->second.distrusted : 0;
    const bool same = found != links_.end() && found->second.interface() == link.interface();
    const bool managed = link.managed();
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

}  // namespace millrace::sync
