// SPDX-License-Identifier: BSD-3-Clause
// From the tables to the sink: what changed since the last commit, its final state only.
#include <linux/rtnetlink.h>

#include <algorithm>
#include <utility>

#include "fib_sync/mirror.hpp"

namespace millrace::sync {
namespace {

// Neighbours that no unicast packet is forwarded to by a route of its own: link-local gateways serve their
// own link only (RFC 4291 2.5.6), and the kernel keeps NOARP entries for groups it sends to.
bool never_a_host_route(const IpAddress& a) {
    if (a.family == Family::ipv4) {
        return a.bytes[0] >= 224;
    }
    return a.bytes[0] == 0xff || (a.bytes[0] == 0xfe && (a.bytes[1] & 0xc0) == 0x80);
}

Forwarding punt(Reason reason) {
    return {.reason = reason, .hops = {}, .glean = {}};
}

}  // namespace

void Mirror::commit() {
    commit_ipv4();
    commit_nexthops();
    commit_coverage();
    for (const Prefix& prefix : dirty_) {
        commit_prefix(prefix);
    }
    dirty_.clear();
    groups_.sweep();
    if (phase_ == Phase::replay) {
        // What went without a message is out of the sink now.
        for (const Ifindex ifindex : links_.settle(generation_)) {
            groups_.refresh(ifindex);
        }
    }
    commit_locals();
    for (const Ifindex ifindex : std::exchange(removed_interfaces_, {})) {
        sink_.remove_interface(ifindex);
    }
    sink_.commit();
    if (phase_ == Phase::replay) {
        phase_ = Phase::live;
        replaced_.clear();
        removed_.clear();
    }
}

// Objects that changed while prefixes point to their groups: one call each, however many prefixes.
void Mirror::commit_nexthops() {
    for (const NexthopId id : nexthops_.take_changed()) {
        Groups::Group* group = groups_.find(id);
        if (group == nullptr) {
            continue;
        }
        const Forwarding content = nexthops_.resolve(id, links_);
        if (group->content.glean != content.glean) {
            // Rare: the hosts below these prefixes are concerned too.
            for (auto& [prefix, entry] : rib_.table()) {
                if (entry.group == group) {
                    mark(prefix, entry);
                }
            }
        }
        groups_.update(*group, content);
    }
}

// Which neighbours have a host route depends on the prefix that covers them. dirty_ grows meanwhile.
void Mirror::commit_coverage() {
    for (size_t i = 0; i < dirty_.size(); ++i) {
        const Prefix prefix = dirty_[i];
        PrefixEntry* entry = rib_.find(prefix);
        const bool routed = !entry->routes.empty();
        const bool coverage = routed != entry->routed;
        if (coverage) {
            rib_.count_length(prefix, routed);
            entry->routed = routed;
        }
        const auto choice = routed ? choose(prefix, *entry) : std::nullopt;
        const Ifindex glean = choice ? choice->content.glean : Ifindex{};
        if (coverage || glean != entry->glean) {
            entry->glean = glean;
            if (!prefix.is_host()) {
                neighbours_.within(prefix, [this](const NeighborKey& key, const Neighbor&) {
                    mark(Prefix::make(key.address, address_bits(key.address.family)));
                });
            }
        }
    }
}

bool Mirror::in_local_prefix(const Prefix& prefix) const {
    return std::any_of(wide_locals_.begin(), wide_locals_.end(), [&](const Prefix& wide) {
        return wide.length < prefix.length && wide.contains(prefix.address);
    });
}

std::optional<Mirror::Choice> Mirror::choose(const Prefix& prefix, const PrefixEntry& entry) const {
    if (entry.routes.empty()) {
        return prefix.is_host() ? choose_host(prefix.address) : std::nullopt;
    }
    const Route& best = entry.routes.front();
    if (best.local) {
        const bool plain = best.type == RTN_LOCAL || best.type == RTN_BROADCAST || best.type == RTN_ANYCAST ||
                           best.type == RTN_MULTICAST;
        return Choice{{}, punt(plain && best.tos == 0 ? Reason::punt_local : Reason::punt_unsupported)};
    }
    // The kernel looks the local table up first, as a whole: a short prefix there beats a long one here.
    if (in_local_prefix(prefix)) {
        return Choice{{}, punt(Reason::punt_local)};
    }
    if (best.encapsulation) {
        return Choice{{}, punt(Reason::punt_encapsulation)};
    }
    // Routes by TOS are the kernel's alone; the highest TOS comes first. So are several IPv6 routes of one
    // metric that are not one multipath route: it looks at preference (RFC 4191), at which router is
    // reachable, and at an order that changes when a path of the first is deleted (rt6_select). Link-local
    // prefixes, one for each link, are no transit's.
    const bool several = prefix.address.family == Family::ipv6 && entry.routes.size() > 1 &&
                         entry.routes[1].metric == best.metric && !never_a_host_route(prefix.address);
    if (best.tos != 0 || best.unsupported || several) {
        return Choice{{}, punt(Reason::punt_unsupported)};
    }
    const bool unicast = best.type == RTN_UNICAST;
    if (best.nexthop != NexthopId{} && (unicast || best.type == RTN_BLACKHOLE)) {
        return Choice{best.nexthop, nexthops_.resolve(best.nexthop, links_)};
    }
    if (unicast) {
        const Forwarding content = resolve_paths(best.paths, links_);
        // A host connected by a route of its own: the far end of a point-to-point address, for one.
        const auto host = prefix.is_host() ? choose_neighbour(prefix.address, content.glean) : std::nullopt;
        return host ? host : Choice{{}, content};
    }
    switch (best.type) {
        case RTN_BLACKHOLE:
            return Choice{{}, punt(Reason::drop_blackhole)};
        case RTN_UNREACHABLE:
        case RTN_PROHIBIT:
            return Choice{{}, punt(Reason::punt_unreachable)};
        default:
            return Choice{{}, punt(Reason::punt_unsupported)};
    }
}

std::optional<Mirror::Choice> Mirror::choose_host(const IpAddress& address) const {
    if (never_a_host_route(address)) {
        return std::nullopt;
    }
    const PrefixEntry* cover = rib_.longest_match(address);
    return cover == nullptr ? std::nullopt : choose_neighbour(address, cover->glean);
}

// glean: of the prefix that the address is in; none = it is not connected.
std::optional<Mirror::Choice> Mirror::choose_neighbour(const IpAddress& address, Ifindex glean) const {
    const Neighbor* neighbour = glean == Ifindex{} ? nullptr : neighbours_.find({address, glean});
    if (neighbour == nullptr || !neighbour->usable()) {
        return std::nullopt;
    }
    return Choice{{}, Forwarding{Reason::forwarded, {Hop{glean, address, 1}}, {}, true}};
}

void Mirror::commit_prefix(const Prefix& prefix) {
    PrefixEntry* entry = rib_.find(prefix);
    entry->dirty = false;
    const auto choice = choose(prefix, *entry);
    if (choice) {
        Groups::Group& group = choice->nexthop != NexthopId{}
                                   ? groups_.of_nexthop(choice->nexthop, choice->content)
                                   : groups_.with_content(choice->content);
        if (entry->group == &group) {
            return;
        }
        Groups::hold(group);
        sink_.set_route(main_table, prefix, group.id);
        if (entry->group != nullptr) {
            groups_.release(*entry->group);
        }
        entry->group = &group;
        return;
    }
    if (entry->group != nullptr) {
        sink_.remove_route(main_table, prefix);
        groups_.release(*entry->group);
        entry->group = nullptr;
    }
    if (entry->routes.empty()) {
        rib_.erase(prefix);
    }
}

void Mirror::commit_ipv4() {
    if (!std::exchange(addresses_changed_, false)) {
        return;
    }
    std::set<Ifindex> with_address;
    for (const auto& [address, local] : locals_) {
        if (address.family == Family::ipv4) {
            for (const auto& [ifindex, generation] : local.interfaces) {
                with_address.insert(ifindex);
            }
        }
    }
    announce(links_.set_ipv4(with_address));
}

void Mirror::commit_locals() {
    for (const IpAddress& address : std::exchange(dirty_locals_, {})) {
        const auto at = locals_.find(address);
        Local& local = at->second;
        local.dirty = false;
        const bool wanted = local.route || !local.interfaces.empty();
        if (wanted != local.announced) {
            local.announced = wanted;
            if (wanted) {
                sink_.add_local(address);
            } else {
                sink_.remove_local(address);
            }
        }
        if (!wanted) {
            locals_.erase(at);
        }
    }
}

}  // namespace millrace::sync
