// SPDX-License-Identifier: BSD-3-Clause
#include "dataplane/fib/group_table.hpp"

#include <algorithm>
#include <bit>
#include <numeric>

namespace millrace::dataplane {

namespace {
// With 64 buckets a member, rounding a weight to whole buckets errs by less than 1 % of the member's share.
constexpr uint32_t buckets_per_member = 64;
constexpr uint32_t max_buckets = 1U << 16;
constexpr uint32_t min_buckets = 128;
// Room for bucket tables, in buckets for each possible group. Most groups have one member and need none.
constexpr size_t buckets_per_group = 256;
constexpr uint32_t no_member = 0;
}  // namespace

GroupTable::GroupTable(uint32_t limit, Quiescence& quiescence)
    : quiescence_(quiescence),
      groups_(limit),
      buckets_(size_t{limit} * buckets_per_group + max_buckets),
      ways_(limit) {
    if (groups_.valid()) {
        groups_[0] = Group::punt_or_drop(Reason::punt_no_route);
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
        return no_route;
    }
    store_shared(groups_[id].word, Group::punt_or_drop(Reason::punt_no_route).word);
    return GroupId{id};
}

uint32_t GroupTable::bucket_count(size_t members) {
    const size_t wanted = std::bit_ceil(members * buckets_per_member);
    return static_cast<uint32_t>(std::clamp<size_t>(wanted, min_buckets, max_buckets));
}

void GroupTable::retire_buckets(Group old) {
    if (old.bucket_mask() != 0) {
        quiescence_.retire([this, old] { free_buckets_[old.bucket_mask() + 1].push_back(old.first()); });
    }
}

void GroupTable::fill(uint32_t first, uint32_t count, std::span<const GroupMember> members) {
    // Whole buckets by weight, the remainder to the largest fractions.
    uint64_t total = 0;
    for (const auto& m : members) {
        total += m.weight;
    }
    std::vector<uint32_t> quota(members.size());
    std::vector<size_t> by_fraction(members.size());
    std::iota(by_fraction.begin(), by_fraction.end(), size_t{0});
    uint32_t given = 0;
    for (size_t i = 0; i < members.size(); ++i) {
        quota[i] = static_cast<uint32_t>(uint64_t{members[i].weight} * count / total);
        given += quota[i];
    }
    std::stable_sort(by_fraction.begin(), by_fraction.end(), [&](size_t a, size_t b) {
        return uint64_t{members[a].weight} * count % total > uint64_t{members[b].weight} * count % total;
    });
    for (size_t i = 0; given < count; ++i, ++given) {
        ++quota[by_fraction[i % members.size()]];
    }
    // Keep what a member has, up to its quota; then hand out the rest.
    std::vector<uint32_t> orphans;
    for (uint32_t b = first; b < first + count; ++b) {
        const auto owner = std::find_if(members.begin(), members.end(),
                                        [&](const auto& m) { return raw(m.adjacency) == buckets_[b]; });
        const auto i = static_cast<size_t>(owner - members.begin());
        if (owner != members.end() && quota[i] > 0) {
            --quota[i];
        } else {
            orphans.push_back(b);
        }
    }
    size_t next = 0;
    for (const uint32_t b : orphans) {
        while (quota[next] == 0) {
            ++next;
        }
        --quota[next];
        store_shared(buckets_[b], raw(members[next].adjacency));
    }
}

void GroupTable::set(GroupId id, const GroupState& state, Ways ways) {
    if (id == no_route) {
        return;
    }
    store_shared(ways_[raw(id)], ways.bits);
    Group& group = groups_[raw(id)];
    const Group old = group;
    if (state.reason != Reason::forwarded || state.members.empty()) {
        store_shared(group.word, Group::punt_or_drop(state.reason).word);
    } else if (state.members.size() == 1 && old.bucket_mask() == 0) {
        store_shared(group.word, Group::of_one(state.members[0].adjacency).word);
        return;
    } else {
        const uint32_t count = std::max(bucket_count(state.members.size()), old.bucket_mask() + 1);
        if (old.bucket_mask() + 1 == count) {
            fill(old.first(), count, state.members);
            return;
        }
        uint32_t first = 0;
        auto& free = free_buckets_[count];
        if (!free.empty()) {
            first = free.back();
            free.pop_back();
        } else if (next_bucket_ + count <= buckets_.size()) {
            first = next_bucket_;
            next_bucket_ += count;
        } else {
            store_shared(group.word, Group::punt_or_drop(Reason::punt_unsupported).word);
            retire_buckets(old);
            return;
        }
        std::fill_n(&buckets_[first], count, no_member);
        fill(first, count, state.members);
        store_shared(group.word, Group::of_many(first, count - 1).word);
    }
    retire_buckets(old);
}

void GroupTable::destroy(GroupId id) {
    if (id == no_route) {
        return;
    }
    retire_buckets(groups_[raw(id)]);
    store_shared(ways_[raw(id)], uint64_t{0});
    store_shared(groups_[raw(id)].word, Group::punt_or_drop(Reason::punt_no_route).word);
    quiescence_.retire([this, id] { free_ids_.push_back(raw(id)); });
}

}  // namespace millrace::dataplane
