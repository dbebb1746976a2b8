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

Reason Groups::effective_reason(const Group& group) const {
    const Forwarding& content = group.content;
    if (without_room_.contains(group.handle)) {
        return Reason::punt_no_room;
    }
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
            tell(at->second);
        }
        ++at->second.groups;
        at->second.gateway_of += content.host ? 0 : 1;
    }
    index(group, group.content, false);
    group.content = content;
    index(group, content, true);
    group.members = members_in_service(content);
}

void Groups::index(Group& group, const Forwarding& content, bool present) {
    if (content.hops.size() < 2) {
        return;
    }
    for (const Hop& hop : content.hops) {
        if (present) {
            multipath_.emplace(hop.ifindex, group.handle);
        } else {
            multipath_.erase({hop.ifindex, group.handle});
        }
    }
}

void Groups::tell(const Adjacency& adjacency) {
    if (adjacency.id != no_adjacency) {
        sink_.set_adjacency(adjacency.id, adjacency.state);
    }
}

// True when the sink has room for the group and its members.
bool Groups::tell(Group& group) {
    ++version_;
    const bool room = sink_.set_group(
        group.id,
        {.reason = group.content.reason, .members = group.members, .connected = group.content.glean});
    if (room && std::none_of(group.members.begin(), group.members.end(),
                             [](const GroupMember& m) { return m.adjacency == no_adjacency; })) {
        without_room_.erase(group.handle);
        return true;
    }
    without_room_.insert(group.handle);
    return false;
}

// A group of its own in the sink, or no_room: the prefixes that lead there are told so one by one, and the
// classifier can leave them to the kernel.
void Groups::give_id(Group& group) {
    group.id = sink_.create_group();
    if (group.id != no_room && !tell(group)) {
        sink_.destroy_group(group.id);
        group.id = no_room;
    }
    if (group.id == no_room) {
        without_room_.insert(group.handle);
    }
    by_id_.emplace(Key{group.id, group.handle}, &group);
}

// True when it has room now.
bool Groups::find_room(Group& group) {
    for (const Hop& hop : group.content.hops) {
        Adjacency& adjacency = adjacencies_.at({hop.ifindex, hop.gateway});
        if (adjacency.id != no_adjacency) {
            continue;
        }
        adjacency.id = sink_.create_adjacency();
        if (adjacency.id == no_adjacency) {
            return false;
        }
        tell(adjacency);
    }
    group.members = members_in_service(group.content);
    if (group.id != no_room) {
        return tell(group);
    }
    by_id_.erase(Key{group.id, group.handle});
    give_id(group);
    if (group.id == no_room) {
        return false;
    }
    group.moved = true;
    moved_.push_back(&group);
    return true;
}

bool Groups::ask_for_room() {
    while (!without_room_.empty() && find_room(at(*without_room_.begin()))) {
    }
    return !moved_.empty();
}

void Groups::end_move() {
    for (Group* group : std::exchange(moved_, {})) {
        group->moved = false;
    }
}

void Groups::release_adjacencies(const Forwarding& content) {
    for (const Hop& hop : content.hops) {
        const auto at = adjacencies_.find({hop.ifindex, hop.gateway});
        at->second.gateway_of -= content.host ? 0 : 1;
        if (--at->second.groups == 0) {
            if (at->second.id != no_adjacency) {
                sink_.destroy_adjacency(at->second.id);
            }
            adjacencies_.erase(at);
        }
    }
}

Groups::Group& Groups::create(Group& group, const Forwarding& content) {
    if (free_handles_.empty()) {
        free_handles_.push_back(Handle{static_cast<uint32_t>(handles_.size())});
        handles_.push_back(nullptr);
    }
    group.handle = free_handles_.back();
    free_handles_.pop_back();
    handles_[raw(group.handle)] = &group;
    set(group, content);
    give_id(group);
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
    tell(group);
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
        if (group->id != no_room) {
            sink_.destroy_group(group->id);
        }
        without_room_.erase(group->handle);
        std::erase(moved_, group);
        release_adjacencies(group->content);
        index(*group, group->content, false);
        handles_[raw(group->handle)] = nullptr;
        free_handles_.push_back(group->handle);
        ++destroyed_;
        by_id_.erase(Key{group->id, group->handle});
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
        tell(adjacency);
    }
}

void Groups::refresh(Ifindex ifindex) {
    for (auto at = adjacencies_.lower_bound({ifindex, {}});
         at != adjacencies_.end() && at->first.ifindex == ifindex; ++at) {
        refresh(at->first, at->second);
    }
    for (auto at = multipath_.lower_bound({ifindex, Handle{}});
         at != multipath_.end() && at->first == ifindex; ++at) {
        Group& group = *handles_[raw(at->second)];
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
