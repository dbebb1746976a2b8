// SPDX-License-Identifier: BSD-3-Clause
// The FIB of one table and family (the caller keeps them apart): a root, which takes an address's first bits
// in one or two loads, and compressed nodes of 6 bits below; see trie_node.hpp. The shortest prefixes are
// kept apart, in a table by the first bits for whatever finds nothing else: a default route that comes or
// goes writes 64 words (IPv4) or 4096 (IPv6).
//
// IPv4: a root of 2^24 entries, as DIR-24-8 has it (Gupta, Lin and McKeown, INFOCOM 1998): up to /24 one
// load. IPv6: the first 12 bits choose a block, the next 18 one of its entries: a /48 costs three steps
// below. Blocks are given out as prefixes come, up to a number far above the dozen that a real table needs,
// since each takes 1 MB; below the first 12 bits of later ones are nodes, and three steps more.
//
// One control thread changes it while any number of workers look up. A node is replaced as a whole or an
// entry of it by one store: a lookup finds the old or the new result, never anything between. Nodes that were
// taken out are used again only after Quiescence says so.
//
// When the memory limit is reached, what does not fit punts: the root entry above it is hidden behind
// "no room", and shown again when all prefixes that did not fit are in. Slower meanwhile, never wrong.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <set>
#include <span>
#include <vector>

#include "dataplane/fib/key.hpp"
#include "dataplane/fib/node_pool.hpp"
#include "dataplane/fib/prefix_map.hpp"
#include "dataplane/fib/quiescence.hpp"
#include "dataplane/fib/shared.hpp"
#include "dataplane/fib/trie_node.hpp"
#include "millrace/types.hpp"

namespace millrace::dataplane {

// Values are 23 bits wide; no_route is what an address without a prefix finds, no_room one whose prefixes did
// not fit.
class LpmTrie {
  public:
    static constexpr uint32_t max_value = trie::max_value;

    enum class Lookup : uint8_t { scalar, avx512 };
    static bool has_avx512();

    // limit: bytes of nodes, which are touched as they are used; the root is beside them. lookup: avx512 only
    // where the CPU has it.
    LpmTrie(Family family, size_t limit, Quiescence& quiescence);

    // While nobody looks up. avx512, where the CPU has it, is what a new trie uses.
    void select(Lookup lookup) { avx512_ = lookup == Lookup::avx512; }

    [[nodiscard]] bool valid() const { return first_.valid() && root_.valid() && pool_.valid(); }

    // Control thread. Adds or replaces. false: the limit is reached; the prefix, and others that share its
    // root entry, find no_room until there is room again.
    bool insert(const Prefix& prefix, uint32_t value);
    // Control thread. false when the prefix is not there.
    bool remove(const Prefix& prefix);
    // Control thread, now and then: releases nodes whose grace period has ended, and takes in what did not
    // fit before.
    void settle();

    struct Usage {
        size_t prefixes;
        size_t root_bytes;   // of the root, as far as it may be in use
        size_t node_bytes;   // in nodes that are in use or wait for the end of their grace period
        size_t index_bytes;  // in what the control thread keeps beside them
        size_t punting;      // root entries (IPv4 /24, IPv6 /30 or /12) that punt for want of room
    };
    [[nodiscard]] Usage usage() const;
    // Control thread. What punts for want of room: prefixes of root entries, in no order; and a number that
    // is another one whenever they have changed.
    [[nodiscard]] std::vector<Prefix> without_room() const;
    [[nodiscard]] uint64_t room_version() const { return room_version_; }

    // Control thread. The value that the prefix itself was given.
    [[nodiscard]] std::optional<uint32_t> find(const Prefix& prefix) const { return prefixes_.find(prefix); }
    // Control thread. Calls visit(prefix, value) for about limit prefixes; cursors as in sink.hpp.
    template <class Visit>
    size_t scan(size_t cursor, size_t limit, const Visit& visit) const {
        size_t visited = 0;
        while (cursor < PrefixMap::segment_count && visited < limit) {
            prefixes_.for_each(cursor++, [&](const Prefix& prefix, uint32_t value) {
                visit(prefix, value);
                ++visited;
            });
        }
        return cursor < PrefixMap::segment_count ? cursor : 0;
    }

    // Any worker that is online.
    [[nodiscard]] uint32_t lookup(const IpAddress& address) const;
    // Same for many addresses of the trie's family, IPv4 in host order; the loads of different addresses
    // overlap. out has as many elements.
    void lookup_bulk(std::span<const uint32_t> addresses, uint32_t* out) const;
    void lookup_bulk(std::span<const Key> addresses, uint32_t* out) const;

  private:
    static constexpr unsigned first_bits4 = 6;
    static constexpr unsigned root_bits4 = 24;
    static constexpr unsigned first_bits6 = 12;
    static constexpr unsigned root_bits6 = 30;
    static constexpr unsigned finish_bits6 = 60;  // up to here the upper half of an address is enough
    static constexpr unsigned block_bits = root_bits6 - first_bits6;
    static constexpr uint32_t max_blocks = 32;
    static constexpr size_t lookups_at_once = 32;

    // By an address's first bits, in first_. IPv4: the leaf of the longest prefix that is not longer than
    // those bits. IPv6: two words, before that leaf a block of the root, a node, or else what a trie's entry
    // may be.
    static constexpr uint32_t block_flag = 1U << 30;  // no leaf: those have shorter prefixes
    static constexpr bool is_block(uint32_t entry) { return entry >> 30 == 1; }
    // Where a block entry leads for an address.
    static constexpr uint32_t in_block(uint32_t entry, uint64_t high) {
        return ((entry & ~block_flag) << block_bits) +
               (static_cast<uint32_t>(high >> (64 - root_bits6)) & ((1U << block_bits) - 1));
    }

    // Leaves whose depth is within a range become another one, wherever the prefix covers them.
    struct Change {
        Key key;
        unsigned length;
        uint32_t from;
        uint32_t to;
        uint32_t leaf;

        [[nodiscard]] bool meant(uint32_t entry) const {
            return trie::depth(entry) >= from && trie::depth(entry) <= to;
        }
    };
    // A root entry that punts, and what it will be.
    struct Hidden {
        uint32_t entry;
        std::set<Prefix> missing;  // prefixes whose last change did not fit
    };
    // Root entries by number: first those of first_, then those of root_.
    struct Range {
        uint32_t first;
        uint32_t count;
    };
    struct Retired {
        uint32_t unit;
        uint32_t words;
    };
    struct Batch {
        uint64_t token;
        std::vector<Retired> nodes;
    };

    [[nodiscard]] bool is_short(const Prefix& prefix) const { return prefix.length <= first_bits_; }
    [[nodiscard]] Range range_of(const Key& key, unsigned length) const;
    [[nodiscard]] uint32_t& root_entry(uint32_t number) {
        return number < first_.size() ? first_[2 * size_t{number}] : root_[number - first_.size()];
    }
    [[nodiscard]] unsigned position_of(uint32_t number) const {
        return number < first_.size() ? first_bits_ : root_bits_;
    }
    [[nodiscard]] Change change_for(const Prefix& prefix) const;
    void open_block(const Key& key);
    void change_short(const Change& change);
    bool change_long(const Prefix& prefix, const Change& change);
    bool change_root(uint32_t number, const Change& change);
    std::optional<uint32_t> changed(uint32_t entry, unsigned position, const Change& change);
    void prefetch_child(uint32_t entry) const;
    std::optional<uint32_t> changed_below(uint32_t entry, unsigned position, const Change& change);
    std::optional<uint32_t> changed_node(uint32_t entry, unsigned position, const Change& change);
    std::optional<uint32_t> changed_slot(uint32_t entry, unsigned position, const Change& change);
    std::optional<uint32_t> spliced(uint32_t entry, unsigned slot, uint32_t now);
    std::optional<uint32_t> pack(uint32_t entry, uint64_t old_starts, const trie::Slots& slots);
    void free_unpublished(uint32_t entry);
    void retire(uint32_t entry);
    void reclaim();
    void heal();
    bool heal_next(unsigned& left);
    void retire_tree(uint32_t entry);
    void rebuild_hidden();
    void collect_missing();
    // Up to lookups_at_once addresses.
    void bulk(std::span<const uint32_t> addresses, uint32_t* out) const;
    void bulk(std::span<const Key> addresses, uint32_t* out) const;
    // Just as many.
    void burst_avx512(const uint32_t* addresses, uint32_t* out) const;
    void burst_avx512(const Key* addresses, uint32_t* out) const;
    // Returns how many it has looked up: the last ones may not fill a burst.
    template <class T>
    size_t bursts_avx512(std::span<const T> addresses, uint32_t* out) const;
    template <class T>
    void lookup_all(std::span<const T> addresses, uint32_t* out) const;
    // The leaves of short prefixes are not read at the same time as the trie. Had one changed between, an
    // address could find what was never in force together. Then all is read again.
    template <class Read>
    void consistently(const Read& read) const {
        uint64_t version = 0;
        do {
            version = load_shared(short_version_);
            read();
            std::atomic_thread_fence(std::memory_order_acquire);
        } while (load_shared(short_version_) != version);
    }
    // The value, from an entry and the bits above it on.
    [[nodiscard]] uint32_t finish(const Key& address, unsigned position, uint32_t entry,
                                  uint32_t shorter) const;
    [[nodiscard]] uint32_t shorter_of(uint32_t address) const {
        return load_shared(first_[address >> (32 - first_bits4)]);
    }
    [[nodiscard]] uint32_t shorter_of(const Key& address) const {
        return load_shared(first_[(address.high >> (64 - first_bits6) << 1) + 1]);
    }

    Quiescence& quiescence_;
    bool avx512_;
    unsigned first_bits_;
    unsigned root_bits_;
    // Read by workers.
    ReservedArray<uint32_t> first_;
    uint64_t short_version_ = 0;  // raised before a leaf in first_ changes
    ReservedArray<uint32_t> root_;
    NodePool pool_;
    // Control thread only.
    PrefixMap prefixes_;
    uint32_t blocks_ = 0;
    bool loose_ = false;                 // nodes may hold more entries than they need
    std::map<uint32_t, Hidden> hidden_;  // by number of the root entry
    uint64_t room_version_ = 0;
    uint32_t heal_next_ = 0;
    uint64_t releases_at_failure_ = 0;
    size_t size_at_failure_ = 0;                        // prefixes
    size_t next_collected_ = PrefixMap::segment_count;  // segment of prefixes_; the end = all are
    std::vector<Retired> open_;
    std::deque<Batch> closed_;
};

}  // namespace millrace::dataplane
