// SPDX-License-Identifier: BSD-3-Clause
#include "dataplane/fib/adjacency_table.hpp"

namespace millrace::dataplane {

// Twice as many entries as ids: a replaced entry is in use until its grace period ends. A burst of changes
// may use them up all the same.
AdjacencyTable::AdjacencyTable(uint32_t limit, Quiescence& quiescence)
    : quiescence_(quiescence), current_(limit), entries_(size_t{limit} * 2 + first_entry), used_(limit) {
    if (current_.valid() && entries_.valid()) {
        entries_[not_resolved] = Adjacency{};
        entries_[without_room] = Adjacency{.reason = Reason::punt_no_room};
        current_[raw(no_adjacency)] = without_room;
    }
}

AdjacencyId AdjacencyTable::create() {
    if (!free_ids_.empty()) {
        const uint32_t id = free_ids_.back();
        free_ids_.pop_back();
        take_used(AdjacencyId{id});
        return AdjacencyId{id};
    }
    return next_id_ < current_.size() ? AdjacencyId{next_id_++} : no_adjacency;
}

uint32_t AdjacencyTable::take_entry() {
    if (!free_entries_.empty()) {
        const uint32_t entry = free_entries_.back();
        free_entries_.pop_back();
        return entry;
    }
    return next_entry_ < entries_.size() ? next_entry_++ : without_room;
}

void AdjacencyTable::retire_entry(uint32_t entry) {
    if (entry > without_room) {
        quiescence_.retire([this, entry] { free_entries_.push_back(entry); });
    }
}

bool AdjacencyTable::set(AdjacencyId id, const Adjacency& value) {
    if (id == no_adjacency) {
        return false;
    }
    const uint32_t old = current_[raw(id)];
    const uint32_t entry = take_entry();
    if (entry != without_room) {
        entries_[entry] = value;
    }
    store_shared(current_[raw(id)], entry);
    retire_entry(old);
    return entry != without_room;
}

void AdjacencyTable::destroy(AdjacencyId id) {
    if (id == no_adjacency) {
        return;
    }
    retire_entry(current_[raw(id)]);
    store_shared(current_[raw(id)], not_resolved);
    quiescence_.retire([this, id] { free_ids_.push_back(raw(id)); });
}

bool AdjacencyTable::take_used(AdjacencyId id) {
    const std::atomic_ref<uint8_t> used(used_[raw(id)]);
    // No exchange where there is nothing to take: a look at thousands of idle ones takes no line from a
    // worker.
    return used.load(std::memory_order_relaxed) != 0 && used.exchange(0, std::memory_order_relaxed) != 0;
}

}  // namespace millrace::dataplane
