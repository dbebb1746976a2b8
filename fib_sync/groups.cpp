// SPDX-License-Identifier: BSD-3-Clause
#include "fib_sync/groups.hpp"

#include <algorithm>
#include <functional>
#include <utility>

namespace millrace::sync {

namespace {

// What goes into the choice of a flow's member: see GroupMember::key.
uint64_t key_of(const Hop& hop) {
    const uint32_t ifindex = raw(hop.ifindex);
    return hash_bytes(&ifindex, sizeof(ifindex), std::hash<IpAddress>{}(hop.gateway));
}

}  // namespace

AdjacencyState Groups::state_of(Ifindex ifindex, const IpAddress& gateway) const {
    AdjacencyState state{.ifindex = ifindex, .reason = Reason::punt_no_neighbour, .destination = {}};
    if (!links_.usable(ifindex) || !links_.in_service(ifindex)) {
        state.reason = Reason::punt_link_down;
        return state;
    }
    if (links_.egress_kept(ifindex)) {
        state.reason = Reason::punt_qdisc;
        return state;
    }
    if (const Neighbor* n = neighbours_.find({gateway, ifindex}); n != nullptr && n->usable()) {
        state.reason = Reason::forwarded;
        state.destination = *n->mac;
    }
    return state;
}

Reason Groups::effective_reason(const Forwarding& content) const {
    if (content.reason != Reason::forwarded) {
        return content.reason;
    }
    const Hop& first = content.hops.front();
    const Reason reason = state_of(first.ifindex, first.gateway).reason;
    for (const Hop& hop : content.hops) {
        if (state_of(hop.ifindex, hop.gateway).reason == Reason::forwarded) {
            return Reason::forwarded;
        }
    }
    return reason;
}

std::vector<GroupMember> Groups::members_in_service(const Forwarding& content) const {
    const auto in_service = [this](const Hop& hop) { return links_.in_service(hop.ifindex); };
    const bool any = std::any_of(content.hops.begin(), content.hops.end(), in_service);
    std::vector<GroupMember> members;
    members.reserve(content.hops.size());
    for (const Hop& hop : content.hops) {
        if (any && !in_service(hop)) {
            continue;
        }
        const Adjacency& adjacency = adjacencies_.at({hop.ifindex, hop.gateway});
        members.push_back({adjacency.id, hop.weight, key_of(hop)});
    }
    return members;
}

void Groups::set(Group& group, const Forwarding& content) {
    for (const Hop& hop : content.hops) {
        const auto [at, created] = adjacencies_.try_emplace({hop.ifindex, hop.gateway});
        if (created) {
            at->second.id = sink_.create_adjacency();
            at->second.state = state_of(hop.ifindex, hop.gateway);
            sink_.set_adjacency(at->second.id, at->second.state);
        }
        ++at->second.groups;
        at->second.gateway_of += content.host ? 0 : 1;
    }
    index(group, group.content, false);
    group.content = content;
    index(group, content, true);
    group.members = members_in_service(content);
    tell(group);
}

void Groups::index(Group& group, const Forwarding& content, bool present) {
    if (content.hops.size() < 2) {
        return;
    }
    for (const Hop& hop : content.hops) {
        if (present) {
            multipath_.emplace(hop.ifindex, group.id);
        } else {
            multipath_.erase({hop.ifindex, group.id});
        }
    }
}

void Groups::tell(Group& group) {
    ++version_;
    sink_.set_group(
        group.id,
        {.reason = group.content.reason, .members = group.members, .connected = group.content.glean});
}

void Groups::release_adjacencies(const Forwarding& content) {
    for (const Hop& hop : content.hops) {
        const auto at = adjacencies_.find({hop.ifindex, hop.gateway});
        at->second.gateway_of -= content.host ? 0 : 1;
        if (--at->second.groups == 0) {
            sink_.destroy_adjacency(at->second.id);
            adjacencies_.erase(at);
        }
    }
}

Groups::Group& Groups::create(Group& group, const Forwarding& content) {
    group.id = sink_.create_group();
    if (free_handles_.empty()) {
        free_handles_.push_back(Handle{static_cast<uint32_t>(handles_.size())});
        handles_.push_back(nullptr);
    }
    group.handle = free_handles_.back();
    free_handles_.pop_back();
    handles_[raw(group.handle)] = &group;
    set(group, content);
    by_id_.emplace(group.id, &group);
    unused_.insert(&group);
    return group;
}

Groups::Group& Groups::with_content(const Forwarding& content) {
    const auto [at, created] = by_content_.try_emplace(content);
    return created ? create(at->second, content) : at->second;
}

Groups::Group& Groups::of_nexthop(NexthopId id, const Forwarding& content) {
    const auto [at, created] = by_nexthop_.try_emplace(id);
    at->second.nexthop = id;
    return created ? create(at->second, content) : at->second;
}

Groups::Group* Groups::find(NexthopId id) {
    const auto found = by_nexthop_.find(id);
    return found == by_nexthop_.end() ? nullptr : &found->second;
}

void Groups::update(Group& group, const Forwarding& content) {
    if (group.content == content) {
        return;
    }
    const Forwarding before = group.content;
    set(group, content);
    release_adjacencies(before);
}

void Groups::release(Group& group, Family family) {
    --group.prefixes[family == Family::ipv6 ? 1 : 0];
    if (group.routes() == 0) {
        unused_.insert(&group);
    }
}

void Groups::sweep() {
    for (Group* group : unused_) {
        if (group->routes() != 0) {
            continue;
        }
        sink_.destroy_group(group->id);
        release_adjacencies(group->content);
        index(*group, group->content, false);
        handles_[raw(group->handle)] = nullptr;
        free_handles_.push_back(group->handle);
        ++destroyed_;
        by_id_.erase(group->id);
        if (group->nexthop) {
            by_nexthop_.erase(*group->nexthop);
        } else {
            // A copy: the key must outlive the erased node that holds the content.
            const Forwarding content = group->content;
            by_content_.erase(content);
        }
    }
    unused_.clear();
}

void Groups::refresh(const AdjacencyKey& key, Adjacency& adjacency) {
    const AdjacencyState state = state_of(key.ifindex, key.gateway);
    if (state != adjacency.state) {
        adjacency.state = state;
        ++version_;
        sink_.set_adjacency(adjacency.id, state);
    }
}

void Groups::refresh(Ifindex ifindex) {
    for (auto at = adjacencies_.lower_bound({ifindex, {}});
         at != adjacencies_.end() && at->first.ifindex == ifindex; ++at) {
        refresh(at->first, at->second);
    }
    for (auto at = multipath_.lower_bound({ifindex, GroupId{}});
         at != multipath_.end() && at->first == ifindex; ++at) {
        Group& group = *by_id_.at(at->second);
        auto members = members_in_service(group.content);
        if (members != group.members) {
            group.members = std::move(members);
            tell(group);
        }
    }
}

void Groups::refresh(const NeighborKey& neighbour) {
    const auto at = adjacencies_.find({neighbour.ifindex, neighbour.address});
    if (at != adjacencies_.end()) {
        refresh(at->first, at->second);
    }
}

}  // namespace millrace::sync
