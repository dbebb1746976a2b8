// SPDX-License-Identifier: BSD-3-Clause
#include "dataplane/fib/group_table.hpp"

#include <algorithm>

#include "dataplane/fib/bucket_layout.hpp"

namespace millrace::dataplane {

namespace {
// Room for tables of buckets: most groups have one member and need none.
size_t bucket_room(uint32_t groups) {
    return std::max<size_t>(groups / 8, 64) * buckets_per_group;
}
}  // namespace

GroupTable::GroupTable(uint32_t limit, Quiescence& quiescence)
    : quiescence_(quiescence), groups_(limit), buckets_(bucket_room(limit)), ways_(limit) {
    if (groups_.valid()) {
        groups_[raw(no_route)] = Group::punt_or_drop(Reason::punt_no_route);
        groups_[raw(no_room)] = Group::punt_or_drop(Reason::punt_no_room);
    }
}

GroupId GroupTable::create() {
    uint32_t id = 0;
    if (!free_ids_.empty()) {
        id = free_ids_.back();
        free_ids_.pop_back();
    } else if (next_id_ < groups_.size()) {
        id = next_id_++;
    } else {
        return no_room;
    }
    store_shared(groups_[id].word, Group::punt_or_drop(Reason::punt_no_route).word);
    return GroupId{id};
}

std::optional<uint32_t> GroupTable::take_buckets() {
    if (!free_buckets_.empty()) {
        const uint32_t first = free_buckets_.back();
        free_buckets_.pop_back();
        return first;
    }
    if (next_bucket_ + buckets_per_group > buckets_.size()) {
        return std::nullopt;
    }
    next_bucket_ += buckets_per_group;
    return next_bucket_ - buckets_per_group;
}

void GroupTable::retire_buckets(Group old) {
    if (old.bucket_mask() != 0) {
        quiescence_.retire([this, old] { free_buckets_.push_back(old.first()); });
    }
}

bool GroupTable::set(GroupId id, const GroupState& state, Ways ways) {
    if (id <= no_room) {
        return id == no_route;
    }
    store_shared(ways_[raw(id)], ways.bits);
    Group& group = groups_[raw(id)];
    const Group old = group;
    const bool forwards = state.reason == Reason::forwarded && !state.members.empty();
    if (forwards && state.members.size() > 1 && old.bucket_mask() != 0) {
        lay_out(state.members, &buckets_[old.first()]);  // in place: only what changes hands is different
        return true;
    }
    Group next = Group::punt_or_drop(state.reason);
    bool room = true;
    if (forwards && state.members.size() == 1) {
        next = Group::of_one(state.members[0].adjacency);
    } else if (forwards) {
        const auto first = take_buckets();
        room = first.has_value();
        if (room) {
            lay_out(state.members, &buckets_[*first]);
            next = Group::of_many(*first, buckets_per_group - 1);
        } else {
            next = Group::punt_or_drop(Reason::punt_no_room);
        }
    }
    store_shared(group.word, next.word);
    retire_buckets(old);
    return room;
}

void GroupTable::destroy(GroupId id) {
    if (id <= no_room) {
        return;
    }
    retire_buckets(groups_[raw(id)]);
    store_shared(ways_[raw(id)], uint64_t{0});
    store_shared(groups_[raw(id)].word, Group::punt_or_drop(Reason::punt_no_route).word);
    quiescence_.retire([this, id] { free_ids_.push_back(raw(id)); });
}

}  // namespace millrace::dataplane
