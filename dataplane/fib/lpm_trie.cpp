// SPDX-License-Identifier: BSD-3-Clause
#include "dataplane/fib/lpm_trie.hpp"

#include <algorithm>

namespace millrace::dataplane {

namespace {
constexpr size_t nodes_in_batch = 256;
constexpr uint32_t prefetch_ahead = 16;
}  // namespace

LpmTrie::LpmTrie(Family family, size_t limit, Quiescence& quiescence)
    : quiescence_(quiescence),
      avx512_(has_avx512()),
      first_bits_(family == Family::ipv4 ? first_bits4 : first_bits6),
      root_bits_(family == Family::ipv4 ? root_bits4 : root_bits6),
      first_(family == Family::ipv4 ? size_t{1} << first_bits4 : size_t{2} << first_bits6),
      root_(family == Family::ipv4 ? size_t{1} << root_bits4 : size_t{max_blocks} << block_bits),
      pool_(limit),
      prefixes_(family) {
    if (pool_.valid()) {
        *pool_.at(0) = 1;  // bitmap of a node with one entry: lookups that have ended may go on reading it
    }
}

LpmTrie::Usage LpmTrie::usage() const {
    const size_t entries = root_bits_ == root_bits4 ? root_.size() : size_t{blocks_} << block_bits;
    return {prefixes_.size(), entries * sizeof(uint32_t), pool_.bytes_in_use(), prefixes_.bytes(),
            hidden_.size()};
}

bool LpmTrie::insert(const Prefix& prefix, uint32_t value) {
    prefixes_.set(prefix, value);
    const uint32_t leaf = trie::leaf(value, prefix.length);
    const Change change{Key::of(prefix.address), prefix.length, 0, trie::depth(leaf), leaf};
    bool fits = true;
    if (is_short(prefix)) {
        change_short(change);
    } else {
        open_block(change.key);
        fits = change_long(prefix, change);
    }
    if (open_.size() >= nodes_in_batch) {
        settle();
    }
    return fits;
}

bool LpmTrie::remove(const Prefix& prefix) {
    if (!prefixes_.erase(prefix)) {
        return false;
    }
    const Change change = change_for(prefix);
    if (is_short(prefix)) {
        change_short(change);
    } else {
        change_long(prefix, change);
    }
    if (open_.size() >= nodes_in_batch) {
        settle();
    }
    return true;
}

void LpmTrie::settle() {
    reclaim();
    heal();
}

// What the prefix, as it is now, asks of the trie. It can be asked again and again, and in any order with
// other prefixes: once each prefix has been asked for after its last change, the trie is right.
LpmTrie::Change LpmTrie::change_for(const Prefix& prefix) const {
    const uint32_t depth = prefix.length + 1U;
    if (const auto value = prefixes_.find(prefix)) {
        return {Key::of(prefix.address), prefix.length, 0, depth, trie::leaf(*value, prefix.length)};
    }
    const unsigned least = is_short(prefix) ? 0 : first_bits_ + 1;
    const auto cover = prefixes_.cover(prefix, least);
    return {Key::of(prefix.address), prefix.length, depth, depth,
            cover ? trie::leaf(cover->value, cover->length) : 0};
}

void LpmTrie::change_short(const Change& change) {
    // A lookup that sees one of the stores sees this one too, and begins again: what it read in the trie may
    // be older than the last change there.
    store_shared(short_version_, short_version_ + 1);
    const size_t first = change.key.bits(0, first_bits_);
    const size_t count = size_t{1} << (first_bits_ - change.length);
    for (size_t i = first; i < first + count; ++i) {
        uint32_t& shorter = root_bits_ == root_bits4 ? first_[i] : first_[2 * i + 1];
        if (change.meant(shorter)) {
            store_shared(shorter, change.leaf);
        }
    }
}

// IPv6: a block for what begins like the key, when nothing is there yet.
void LpmTrie::open_block(const Key& key) {
    if (root_bits_ != root_bits6 || blocks_ == max_blocks) {
        return;
    }
    uint32_t& entry = root_entry(key.bits(0, first_bits6));
    if (entry == 0) {
        store_shared(entry, block_flag | blocks_++);
    }
}

// What a prefix longer than the first bits covers of the root.
LpmTrie::Range LpmTrie::range_of(const Key& key, unsigned length) const {
    const auto numbers = static_cast<uint32_t>(first_.size());
    const uint32_t count = length < root_bits_ ? 1U << (root_bits_ - length) : 1;
    if (root_bits_ == root_bits4) {
        return {numbers + key.bits(0, root_bits4), count};
    }
    const uint32_t first = key.bits(0, first_bits6);
    const uint32_t entry = first_[2 * size_t{first}];
    return is_block(entry) ? Range{numbers + in_block(entry, key.high), count} : Range{first, 1};
}

bool LpmTrie::change_long(const Prefix& prefix, const Change& change) {
    const Range range = range_of(change.key, change.length);
    const bool whole = change.length <= position_of(range.first);  // covers each of the entries as a whole
    bool fits = true;
    for (uint32_t number = range.first; number < range.first + range.count; ++number) {
        uint32_t& entry = root_entry(number);
        if (number + prefetch_ahead < range.first + range.count) {
            prefetch_child(root_entry(number + prefetch_ahead));
        }
        if (!trie::is_child(entry) && entry != trie::no_room && (whole || !change.meant(entry))) {
            if (change.meant(entry)) {
                store_shared(entry, change.leaf);
            }
            continue;
        }
        if (change_root(number, change)) {
            continue;
        }
        fits = false;
        releases_at_failure_ = pool_.releases();
        size_at_failure_ = std::max(size_at_failure_, prefixes_.size());
        const auto [hidden, is_new] = hidden_.try_emplace(number);
        if (is_new) {
            hidden->second.entry = entry;
            store_shared(entry, trie::no_room);
            ++room_version_;
        }
        hidden->second.missing.insert(prefix);
    }
    return fits;
}

bool LpmTrie::change_root(uint32_t number, const Change& change) {
    const auto hidden = hidden_.empty() ? hidden_.end() : hidden_.find(number);
    uint32_t& entry = hidden == hidden_.end() ? root_entry(number) : hidden->second.entry;
    const auto now = changed(entry, position_of(number), change);
    if (!now) {
        return false;
    }
    if (*now != entry) {
        const uint32_t before = entry;
        store_shared(entry, *now);
        retire(before);
    }
    return true;
}

// What an entry becomes; position: bits above it. nullopt: no room. Entries of nodes below may have changed
// in place then, which is no harm, since the same change will be asked for again.
std::optional<uint32_t> LpmTrie::changed(uint32_t entry, unsigned position, const Change& change) {
    if (trie::is_child(entry)) {
        return change.length <= position ? changed_below(entry, position, change)
                                         : changed_node(entry, position, change);
    }
    if (!change.meant(entry)) {
        return entry;
    }
    return change.length <= position ? change.leaf : changed_node(entry, position, change);
}

void LpmTrie::prefetch_child(uint32_t entry) const {
    if (trie::is_child(entry)) {
        __builtin_prefetch(pool_.at(trie::child(entry)));
    }
}

// For a node that the prefix covers as a whole, of which there can be thousands: most have nothing to change.
std::optional<uint32_t> LpmTrie::changed_below(uint32_t entry, unsigned position, const Change& change) {
    uint32_t* node = pool_.at(trie::child(entry));
    const uint64_t starts = trie::bitmap(node);
    bool same = true;
    for (unsigned i = trie::bitmap_words; i < trie::words(starts); ++i) {
        prefetch_child(node[i]);
    }
    for (unsigned i = trie::bitmap_words; i < trie::words(starts); ++i) {
        const uint32_t before = node[i];
        const auto now = changed(before, position + trie::stride, change);
        if (!now) {
            return std::nullopt;
        }
        if (*now != before) {
            store_shared(node[i], *now);
            retire(before);
            same = false;
        }
    }
    if (same) {
        return entry;
    }
    trie::Slots slots;
    trie::unpack(node, slots);
    return pack(entry, starts, slots);
}

std::optional<uint32_t> LpmTrie::changed_node(uint32_t entry, unsigned position, const Change& change) {
    const unsigned end = position + trie::stride;
    if (change.length >= end && !loose_) {
        return changed_slot(entry, position, change);
    }
    trie::Slots slots;
    uint32_t* node = trie::is_child(entry) ? pool_.at(trie::child(entry)) : nullptr;
    uint64_t starts = 0;
    if (node == nullptr) {
        slots.fill(entry);
    } else {
        starts = trie::unpack(node, slots);
    }
    const unsigned first = change.key.bits(position, trie::stride);
    const unsigned count = change.length < end ? 1U << (end - change.length) : 1;
    for (unsigned i = first; i < first + count; ++i) {
        const auto now = changed(slots[i], end, change);
        if (!now) {
            return std::nullopt;
        }
        if (*now != slots[i] && trie::is_child(slots[i])) {
            // A child has no neighbour of the same kind: its entry is its own.
            store_shared(node[trie::entry_at(starts, i)], *now);
            retire(slots[i]);
        }
        slots[i] = *now;
    }
    const auto packed = pack(entry, starts, slots);
    if (!packed && trie::is_child(slots[first]) &&
        (node == nullptr || node[trie::entry_at(starts, first)] != slots[first])) {
        free_unpublished(slots[first]);
    }
    return packed;
}

// The same for a change of one slot, as most are.
std::optional<uint32_t> LpmTrie::changed_slot(uint32_t entry, unsigned position, const Change& change) {
    const unsigned slot = change.key.bits(position, trie::stride);
    uint32_t* node = trie::is_child(entry) ? pool_.at(trie::child(entry)) : nullptr;
    uint32_t* at = node == nullptr ? nullptr : node + trie::entry_at(trie::bitmap(node), slot);
    const uint32_t before = at == nullptr ? entry : *at;
    const auto now = changed(before, position + trie::stride, change);
    if (!now) {
        return std::nullopt;
    }
    if (*now == before) {
        return entry;
    }
    if (trie::is_child(before)) {
        store_shared(*at, *now);
        retire(before);
        if (trie::is_child(*now)) {
            return entry;
        }
    }
    const auto result = spliced(entry, slot, *now);
    if (!result && trie::is_child(*now)) {
        free_unpublished(*now);
    }
    return result;
}

// The entry for a node like this one (or of this leaf alone), with another entry for one slot.
std::optional<uint32_t> LpmTrie::spliced(uint32_t entry, unsigned slot, uint32_t now) {
    uint32_t* old = trie::is_child(entry) ? pool_.at(trie::child(entry)) : nullptr;
    const uint64_t old_starts = old == nullptr ? 1 : trie::bitmap(old);
    const uint32_t* const entries = old == nullptr ? &entry : old + trie::bitmap_words;
    const size_t count = static_cast<size_t>(std::popcount(old_starts));
    const uint64_t begin = uint64_t{1} << slot;
    const uint64_t end = slot + 1 < trie::slots ? begin << 1 : 0;  // where the next run begins
    const bool begins = (old_starts & begin) != 0;
    const bool ends = end == 0 || (old_starts & end) != 0;

    // Entries that stay: those before `kept` and those from `after` on.
    const size_t run = trie::entry_at(old_starts, slot) - trie::bitmap_words;
    const size_t kept = run + (begins ? 0 : 1);
    size_t after = run + (ends ? 1 : 0);
    const bool joins_left = kept > 0 && entries[kept - 1] == now;
    const bool joins_right = after < count && entries[after] == now;
    const bool own = !joins_left && !joins_right;
    if (old != nullptr && own && begins && ends) {
        store_shared(old[trie::bitmap_words + run], now);
        return entry;
    }
    after += joins_left && joins_right ? 1 : 0;
    const size_t total = kept + (own ? 1 : 0) + count - after;
    if (total == 1 && !trie::is_child(now)) {
        return now;
    }
    const auto unit = pool_.allocate(trie::bitmap_words + static_cast<unsigned>(total));
    if (!unit) {
        if (old != nullptr && begins && ends) {
            loose_ = true;
            store_shared(old[trie::bitmap_words + run], now);
            return entry;
        }
        return std::nullopt;
    }
    uint64_t starts = old_starts | begin | end;
    starts &= ~((joins_left ? begin : 0) | (joins_right ? end : 0));
    uint32_t* node = pool_.at(*unit);
    std::memcpy(node, &starts, sizeof(starts));
    uint32_t* to = std::copy_n(entries, kept, node + trie::bitmap_words);
    if (own) {
        *to++ = now;
    }
    std::copy(entries + after, entries + count, to);
    return *unit | trie::child_flag;
}

// The entry for a node with these slots; the one that has been there when it can hold them.
std::optional<uint32_t> LpmTrie::pack(uint32_t entry, uint64_t old_starts, const trie::Slots& slots) {
    const uint64_t starts = trie::starts_of(slots);
    if (starts == 1 && !trie::is_child(slots[0])) {
        return slots[0];
    }
    const auto unit = starts == old_starts ? std::nullopt : pool_.allocate(trie::words(starts));
    if (!unit) {
        // Without room, a node may hold more entries than it needs.
        if ((starts & ~old_starts) != 0) {
            return std::nullopt;
        }
        loose_ = loose_ || starts != old_starts;
        uint32_t* node = pool_.at(trie::child(entry));
        for (uint64_t left = old_starts; left != 0; left &= left - 1) {
            const auto i = static_cast<unsigned>(std::countr_zero(left));
            uint32_t& at = node[trie::entry_at(old_starts, i)];
            if (at != slots[i]) {
                store_shared(at, slots[i]);
            }
        }
        return entry;
    }
    uint32_t* node = pool_.at(*unit);
    std::memcpy(node, &starts, sizeof(starts));
    uint32_t* at = node + trie::bitmap_words;
    for (uint64_t left = starts; left != 0; left &= left - 1) {
        *at++ = slots[static_cast<unsigned>(std::countr_zero(left))];
    }
    return *unit | trie::child_flag;
}

// A subtree that no reader has ever seen: it has one node on each level.
void LpmTrie::free_unpublished(uint32_t entry) {
    const uint32_t* node = pool_.at(trie::child(entry));
    const unsigned words = trie::words(trie::bitmap(node));
    for (unsigned i = trie::bitmap_words; i < words; ++i) {
        if (trie::is_child(node[i])) {
            free_unpublished(node[i]);
        }
    }
    pool_.release(trie::child(entry), words);
}

void LpmTrie::retire(uint32_t entry) {
    if (trie::is_child(entry)) {
        const uint32_t unit = trie::child(entry);
        open_.push_back({unit, trie::words(trie::bitmap(pool_.at(unit)))});
    }
}

void LpmTrie::reclaim() {
    if (!open_.empty()) {
        closed_.push_back({quiescence_.start(), std::move(open_)});
        open_.clear();
    }
    while (!closed_.empty() && quiescence_.passed(closed_.front().token)) {
        for (const Retired& node : closed_.front().nodes) {
            pool_.release(node.unit, node.words);
        }
        closed_.pop_front();
    }
}

}  // namespace millrace::dataplane
