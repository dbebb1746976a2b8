// SPDX-License-Identifier: BSD-3-Clause
// Adjacencies: how to reach a next hop right now. An id is stable for as long as the next hop is in use; what
// it says is an immutable entry that one store replaces, however many groups and prefixes lead to it.
#pragma once

#include <cstdint>
#include <vector>

#include <rte_prefetch.h>

#include "dataplane/fib/quiescence.hpp"
#include "dataplane/fib/shared.hpp"
#include "millrace/reason.hpp"
#include "millrace/types.hpp"

namespace millrace::dataplane {

struct alignas(32) Adjacency {
    std::array<uint8_t, 12> l2{};               // destination and source MAC, as they go on the wire
    uint32_t mtu = 0;                           // bytes of layer 3, IPv4
    uint32_t mtu6 = 0;                          // the same, IPv6
    uint16_t port = 0;                          // PortId
    Reason reason = Reason::punt_no_neighbour;  // forwarded = usable
};
static_assert(sizeof(Adjacency) == 32);

class AdjacencyTable {
  public:
    // limit: ids that can exist at a time.
    AdjacencyTable(uint32_t limit, Quiescence& quiescence);
    [[nodiscard]] bool valid() const { return current_.valid() && entries_.valid() && used_.valid(); }

    // Control thread. no_adjacency is never given out: create() returns it when the limit is reached, and it
    // stays "no room" whatever is set.
    AdjacencyId create();
    // False: too many entries wait for the end of their grace period; until it is set again, it has no room.
    bool set(AdjacencyId id, const Adjacency& value);
    void destroy(AdjacencyId id);
    // Ids that are taken, some of them for good, of how many.
    [[nodiscard]] size_t in_use() const { return next_id_ - free_ids_.size(); }
    [[nodiscard]] size_t limit() const { return current_.size(); }
    // Is at least a sixteenth of it free?
    [[nodiscard]] bool roomy() const {
        return (current_.size() - next_id_ + free_ids_.size()) * 16 >= current_.size();
    }
    // True once after mark_used().
    bool take_used(AdjacencyId id);

    // Any worker that is online. id: below the limit.
    [[nodiscard]] const Adjacency& get(uint32_t id) const { return entries_[load_shared(current_[id])]; }
    void prefetch(uint32_t id) const { rte_prefetch0(&current_[id]); }
    // ... that forwards a packet over it. Stores only where nothing is stored yet: the line stays shared.
    void mark_used(uint32_t id) const {
        const std::atomic_ref<uint8_t> used(const_cast<uint8_t&>(used_[id]));
        if (used.load(std::memory_order_relaxed) == 0) {
            used.store(1, std::memory_order_relaxed);
        }
    }

  private:
    uint32_t take_entry();
    void retire_entry(uint32_t entry);

    Quiescence& quiescence_;
    ReservedArray<uint32_t> current_;   // id -> entry; read by workers
    ReservedArray<Adjacency> entries_;  // immutable once published; 0 = not resolved, 1 = no room
    ReservedArray<uint8_t> used_;       // by id; set by workers, cleared by the control thread
    std::vector<uint32_t> free_ids_;
    std::vector<uint32_t> free_entries_;
    uint32_t next_id_ = 1;
    static constexpr uint32_t not_resolved = 0;
    static constexpr uint32_t without_room = 1;
    static constexpr uint32_t first_entry = 2;
    uint32_t next_entry_ = first_entry;
};

}  // namespace millrace::dataplane
