// SPDX-License-Identifier: BSD-3-Clause
// The FIB of one table and family (the caller keeps them apart): a multibit trie with a first stride of 16
// bits and strides of 8 below. A lookup costs one load for prefixes up to /16, two up to /24, one more for
// each further 8 bits.
//
// One control thread changes it while any number of workers look up. An entry is one 32-bit word, a value or
// the index of a child, and every change of an address's result is one store: a lookup finds the old or the
// new value, never anything between. Nodes that were taken out are used again only after Quiescence says so.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <unordered_map>
#include <vector>

#include "dataplane/fib/quiescence.hpp"
#include "dataplane/fib/shared.hpp"
#include "millrace/types.hpp"

namespace millrace::dataplane {

// Values are 31 bits wide; 0 is what an address without a prefix finds.
class LpmTrie {
  public:
    // max_nodes: limit of trie nodes of 1.3 kB each; they are touched as they are used.
    LpmTrie(uint32_t max_nodes, Quiescence& quiescence);

    [[nodiscard]] bool valid() const { return entries_.valid() && depths_.valid() && users_.valid(); }

    // Control thread. Adds or replaces. false: the node limit is reached; the addresses of the prefix, and
    // the others that share the node it would have needed, find 0 (punt) from then on: slower, never wrong.
    bool insert(const Prefix& prefix, uint32_t value);
    // Control thread. false when the prefix is not there.
    bool remove(const Prefix& prefix);

    [[nodiscard]] size_t size() const { return prefixes_.size(); }
    [[nodiscard]] uint32_t nodes_in_use() const { return nodes_in_use_; }
    // How often the node limit has turned a part of the address space into punt.
    [[nodiscard]] uint64_t overflowed() const { return overflowed_; }

    // Any worker that is online. address: 4 or 16 bytes, network order.
    [[nodiscard]] uint32_t lookup(const uint8_t* address) const {
        uint32_t entry = load_shared(entries_[(static_cast<uint32_t>(address[0]) << 8) | address[1]]);
        for (const uint8_t* byte = address + 2; (entry & child_flag) != 0; ++byte) {
            entry = load_shared(entries_[node_base(entry & ~child_flag) + *byte]);
        }
        return entry;
    }

    // Same for many addresses; the loads of different addresses overlap. out has as many elements.
    void lookup_bulk(std::span<const uint8_t* const> addresses, uint32_t* out) const;

  private:
    static constexpr uint32_t child_flag = 1U << 31;
    static constexpr unsigned root_bits = 16;
    static constexpr unsigned node_bits = 8;
    static constexpr size_t root_size = size_t{1} << root_bits;
    static constexpr size_t node_size = size_t{1} << node_bits;
    // Depth of an entry: length + 1 of the prefix that set it; 0 = none. This one can't be replaced.
    static constexpr uint8_t pinned = 255;

    static size_t node_base(uint32_t node) { return root_size + node * node_size; }

    struct Cover {
        uint32_t value = 0;
        uint8_t depth = 0;
    };
    [[nodiscard]] Cover cover_of(const Prefix& prefix) const;
    std::optional<uint32_t> allocate_node(uint32_t fill, uint8_t depth);
    void free_node(uint32_t node);
    template <class Change>
    void for_each_leaf(size_t first, size_t count, const Change& change);
    void pin(size_t entry);
    void collapse(size_t entry, uint32_t node, const Prefix& region);

    Quiescence& quiescence_;
    uint32_t max_nodes_;
    ReservedArray<uint32_t> entries_;  // read by workers
    ReservedArray<uint8_t> depths_;    // control thread only, beside entries_
    ReservedArray<uint32_t> users_;    // control thread only: prefixes that end in or below a node
    std::vector<uint32_t> free_nodes_;
    uint32_t next_node_ = 0;
    uint32_t nodes_in_use_ = 0;
    uint64_t overflowed_ = 0;
    std::unordered_map<Prefix, uint32_t> prefixes_;
    std::array<uint32_t, 129> count_by_length_{};
};

}  // namespace millrace::dataplane
