// SPDX-License-Identifier: BSD-3-Clause
// How LpmTrie comes back from its memory limit.
#include <endian.h>

#include <algorithm>
#include <cstring>

#include "dataplane/fib/lpm_trie.hpp"

namespace millrace::dataplane {

namespace {
constexpr unsigned changes_at_once = 1000;  // about a millisecond
constexpr size_t segments_at_once = 64;     // the same, of a full table
}  // namespace

// A change that did not fit is tried again when nodes have been released. It may take nodes to remove a
// prefix: when the table has shrunk by a sixteenth and still nothing moves, the hidden trees are given up,
// and built anew from the prefixes.
void LpmTrie::heal() {
    if (hidden_.empty()) {
        return;
    }
    if (next_collected_ < PrefixMap::segment_count) {
        collect_missing();
        return;
    }
    if (pool_.releases() == releases_at_failure_) {
        if (closed_.empty() && prefixes_.size() * 16 < size_at_failure_ * 15) {
            rebuild_hidden();
        }
        return;
    }
    unsigned left = changes_at_once;
    size_t tried = 0;
    while (tried < hidden_.size() && left > 0) {
        tried = heal_next(left) ? 0 : tried + 1;
    }
    if (hidden_.empty()) {
        size_at_failure_ = 0;
    } else if (tried == hidden_.size()) {
        releases_at_failure_ = pool_.releases();
    }
}

// The hidden entries in turn, from where the last call ended. true: the entry is shown again.
bool LpmTrie::heal_next(unsigned& left) {
    auto it = hidden_.lower_bound(heal_next_);
    it = it == hidden_.end() ? hidden_.begin() : it;
    auto& [number, hidden] = *it;
    heal_next_ = number + 1;
    for (; !hidden.missing.empty() && left > 0; --left) {
        const auto prefix = hidden.missing.begin();
        if (!change_root(number, change_for(*prefix))) {
            return false;
        }
        hidden.missing.erase(prefix);
    }
    if (!hidden.missing.empty()) {
        return false;
    }
    store_shared(root_entry(number), hidden.entry);
    hidden_.erase(it);
    ++room_version_;
    return true;
}

std::vector<Prefix> LpmTrie::without_room() const {
    const bool ipv4 = root_bits_ == root_bits4;
    std::vector<uint64_t> block_of(blocks_);  // the first bits that lead there
    for (uint32_t first = 0; !ipv4 && first < 1U << first_bits6; ++first) {
        if (const uint32_t entry = first_[2 * size_t{first}]; is_block(entry)) {
            block_of[entry & ~block_flag] = first;
        }
    }
    std::vector<Prefix> prefixes;
    prefixes.reserve(hidden_.size());
    for (const auto& [number, hidden] : hidden_) {
        uint64_t bits = number;
        if (number >= first_.size()) {
            const auto index = static_cast<uint32_t>(number - first_.size());
            bits = ipv4 ? index
                        : block_of[index >> block_bits] << block_bits | (index & ((1U << block_bits) - 1));
        }
        const unsigned length = position_of(number);
        const uint64_t high = htobe64(bits << (64 - length));
        prefixes.push_back({{.family = ipv4 ? Family::ipv4 : Family::ipv6}, static_cast<uint8_t>(length)});
        std::memcpy(prefixes.back().address.bytes.data(), &high, sizeof(high));
    }
    return prefixes;
}

void LpmTrie::retire_tree(uint32_t entry) {
    if (!trie::is_child(entry)) {
        return;
    }
    const uint32_t* node = pool_.at(trie::child(entry));
    for (unsigned i = trie::bitmap_words; i < trie::words(trie::bitmap(node)); ++i) {
        retire_tree(node[i]);
    }
    retire(entry);
}

void LpmTrie::rebuild_hidden() {
    for (auto& [number, hidden] : hidden_) {
        retire_tree(hidden.entry);
        hidden.entry = 0;
    }
    size_at_failure_ = prefixes_.size();
    next_collected_ = 0;
}

// No entry is shown before all prefixes have been collected; what changes meanwhile changes the hidden trees.
void LpmTrie::collect_missing() {
    const size_t end = std::min(next_collected_ + segments_at_once, PrefixMap::segment_count);
    for (; next_collected_ < end; ++next_collected_) {
        prefixes_.for_each(next_collected_, [this](const Prefix& prefix, uint32_t) {
            if (is_short(prefix)) {
                return;
            }
            const Range range = range_of(Key::of(prefix.address), prefix.length);
            const uint32_t first = range.first;
            const uint32_t last = first + range.count - 1;
            if (first == last && root_entry(first) != trie::no_room) {
                return;
            }
            const auto end_of = hidden_.upper_bound(last);
            for (auto it = hidden_.lower_bound(first); it != end_of; ++it) {
                it->second.missing.insert(prefix);
            }
        });
    }
    releases_at_failure_ = pool_.releases() - 1;  // there is something new to try
}

}  // namespace millrace::dataplane
