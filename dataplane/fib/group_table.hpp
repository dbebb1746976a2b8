// SPDX-License-Identifier: BSD-3-Clause
// Nexthop groups: what a FIB value stands for. A group of one names its adjacency; a larger one has a table
// of buckets, filled by bucket_layout.hpp, that a flow hash selects from. A member that goes gives up its own
// buckets only, so the flows of the others stay where they are (RFC 2992 names the cost of doing otherwise).
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include <rte_prefetch.h>

#include "dataplane/fib/bucket_layout.hpp"
#include "dataplane/fib/quiescence.hpp"
#include "dataplane/fib/shared.hpp"
#include "millrace/sink.hpp"

namespace millrace::dataplane {

// One word, so that a reader never sees half of a change.
struct Group {
    uint64_t word = 0;

    static Group punt_or_drop(Reason reason) { return {static_cast<uint64_t>(reason)}; }
    static Group of_one(AdjacencyId id) { return {uint64_t{raw(id)} << 32}; }
    static Group of_many(uint32_t first_bucket, uint32_t bucket_mask) {
        return {(uint64_t{first_bucket} << 32) | (uint64_t{bucket_mask} << 8)};
    }
    [[nodiscard]] Reason reason() const { return static_cast<Reason>(word & 0xff); }
    [[nodiscard]] uint32_t bucket_mask() const { return static_cast<uint32_t>(word >> 8) & 0xffffff; }
    [[nodiscard]] uint32_t first() const { return static_cast<uint32_t>(word >> 32); }
};
static_assert(static_cast<uint8_t>(Reason::forwarded) == 0, "a group of members has reason 0");

// How the kernel would reach the addresses of a group: for the reverse path filter, which asks it of a
// source. One bit for each port, and one for all that is a unicast route, whatever device it leads over.
struct Ways {
    uint64_t bits = 0;  // none: no unicast route, or one whose ways are not known here

    static constexpr uint64_t unicast = uint64_t{1} << 63;
    // Ports that have no bit of their own fail a strict filter, and are the kernel's to judge.
    static constexpr uint64_t over(PortId port) { return raw(port) < 63 ? uint64_t{1} << raw(port) : 0; }
};

class GroupTable {
  public:
    GroupTable(uint32_t limit, Quiescence& quiescence);
    [[nodiscard]] bool valid() const { return groups_.valid() && buckets_.valid() && ways_.valid(); }

    // Control thread. no_route and no_room are never given out; create() returns no_room when the limit is
    // reached, and both stay what they are whatever is set.
    GroupId create();
    // False: there is no room for another table of buckets, and the group punts.
    bool set(GroupId id, const GroupState& state, Ways ways);
    void destroy(GroupId id);
    // Ids that are taken, some of them for good, of how many.
    [[nodiscard]] size_t in_use() const { return next_id_ - free_ids_.size(); }
    [[nodiscard]] size_t limit() const { return groups_.size(); }
    // Is at least a sixteenth of it free?
    [[nodiscard]] bool roomy() const {
        return (groups_.size() - next_id_ + free_ids_.size()) * 16 >= groups_.size() &&
               (buckets_.size() - next_bucket_ + free_buckets_.size() * buckets_per_group) * 16 >=
                   buckets_.size();
    }

    // Any worker that is online. id: a FIB value.
    [[nodiscard]] Group get(uint32_t id) const { return {load_shared(groups_[id].word)}; }
    void prefetch(uint32_t id) const { rte_prefetch0(&groups_[id]); }
    [[nodiscard]] uint64_t ways(uint32_t id) const { return load_shared(ways_[id]); }
    // hash: of the flow. Returns an adjacency's id. group.reason() must be forwarded.
    [[nodiscard]] uint32_t select(Group group, uint32_t hash) const {
        const uint32_t mask = group.bucket_mask();
        return mask == 0 ? group.first() : load_shared(buckets_[group.first() + (hash & mask)]);
    }

  private:
    // nullopt when there is none left.
    std::optional<uint32_t> take_buckets();
    void retire_buckets(Group old);

    Quiescence& quiescence_;
    ReservedArray<Group> groups_;
    ReservedArray<uint32_t> buckets_;
    ReservedArray<uint64_t> ways_;  // Ways::bits, beside groups_
    std::vector<uint32_t> free_ids_;
    std::vector<uint32_t> free_buckets_;  // first buckets of tables
    uint32_t next_id_ = raw(no_room) + 1;
    uint32_t next_bucket_ = 0;
};

}  // namespace millrace::dataplane
