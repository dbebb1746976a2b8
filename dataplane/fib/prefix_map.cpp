// SPDX-License-Identifier: BSD-3-Clause
#include "dataplane/fib/prefix_map.hpp"

#include <arpa/inet.h>

#include <algorithm>
#include <cstring>
#include <random>

namespace millrace::dataplane {

namespace {
uint32_t home(uint64_t hash, uint32_t capacity) {
    return static_cast<uint32_t>(((hash & UINT32_MAX) * capacity) >> 32);
}
}  // namespace

// A seed of its own for each run: whoever announces prefixes can't choose them to collide.
PrefixMap::PrefixMap(Family family)
    : family_(family),
      key_words_(address_bits(family) / 32),
      entry_words_(key_words_ + 1),
      seed_((uint64_t{std::random_device{}()} << 32) | std::random_device{}()) {}

PrefixMap::Entry PrefixMap::entry_of(const Prefix& prefix, uint32_t value) const {
    Entry e{};
    std::memcpy(e.words.data(), prefix.address.bytes.data(), key_words_ * sizeof(uint32_t));
    e.words[key_words_] = (value << length_bits) | (prefix.length + 1U);
    return e;
}

PrefixMap::Entry PrefixMap::shortened(Entry entry, unsigned length) const {
    for (unsigned i = 0; i < key_words_; ++i) {
        const unsigned keep = std::clamp(length, i * 32, i * 32 + 32) - i * 32;
        entry.words[i] &= htonl(static_cast<uint32_t>(UINT64_MAX << (32 - keep)));
    }
    entry.words[key_words_] = length + 1;
    return entry;
}

uint64_t PrefixMap::hash(const uint32_t* entry) const {
    constexpr uint64_t odd = 0x9e3779b97f4a7c15ULL;
    const auto mix = [](uint64_t h) {
        h *= odd;
        return h ^ (h >> 32);
    };
    const uint64_t seed = seed_ ^ (entry[key_words_] & length_mask);
    if (key_words_ == 1) {
        return mix(mix(seed ^ entry[0]));
    }
    std::array<uint64_t, 2> halves;
    std::memcpy(halves.data(), entry, sizeof(halves));
    return mix(mix(mix(seed ^ halves[0]) ^ halves[1]));
}

bool PrefixMap::same(const uint32_t* one, const uint32_t* other) const {
    uint32_t different = (one[key_words_] ^ other[key_words_]) & length_mask;
    for (unsigned i = 0; i < key_words_; ++i) {
        different |= one[i] ^ other[i];
    }
    return different == 0;
}

PrefixMap::Place PrefixMap::locate(const Entry& entry, uint64_t h) const {
    const uint32_t number = segment_of(h);
    const Segment& s = segments_[number];
    if (s.capacity == 0) {
        return {number, 0, false};
    }
    uint32_t i = home(h, s.capacity);
    for (;; i = i + 1 == s.capacity ? 0 : i + 1) {
        const uint32_t* at = &s.words[size_t{i} * entry_words_];
        if (at[key_words_] == 0) {
            return {number, i, false};
        }
        if (same(at, entry.words.data())) {
            return {number, i, true};
        }
    }
}

void PrefixMap::grow(Segment& s) {
    Segment larger;
    larger.capacity = std::max(8U, s.capacity + s.capacity / 2);
    larger.words = std::make_unique<uint32_t[]>(size_t{larger.capacity} * entry_words_);
    larger.used = s.used;
    for (uint32_t i = 0; i < s.capacity; ++i) {
        const uint32_t* from = &s.words[size_t{i} * entry_words_];
        if (from[key_words_] == 0) {
            continue;
        }
        uint32_t to = home(hash(from), larger.capacity);
        while (larger.words[size_t{to} * entry_words_ + key_words_] != 0) {
            to = to + 1 == larger.capacity ? 0 : to + 1;
        }
        std::copy_n(from, entry_words_, &larger.words[size_t{to} * entry_words_]);
    }
    bytes_ += size_t{larger.capacity - s.capacity} * entry_words_ * sizeof(uint32_t);
    s = std::move(larger);
}

bool PrefixMap::set(const Prefix& prefix, uint32_t value) {
    const Entry entry = entry_of(prefix, value);
    const uint64_t h = hash(entry.words.data());
    Place place = locate(entry, h);
    Segment& s = segments_[place.segment];
    if (!place.found) {
        if ((s.used + 1) * 4 > s.capacity * 3) {
            grow(s);
            place = locate(entry, h);
        }
        ++s.used;
        ++size_;
        ++count_by_length_[prefix.length];
    }
    std::copy_n(entry.words.data(), entry_words_, &s.words[size_t{place.index} * entry_words_]);
    return !place.found;
}

bool PrefixMap::erase(const Prefix& prefix) {
    const Entry entry = entry_of(prefix, 0);
    const Place place = locate(entry, hash(entry.words.data()));
    if (!place.found) {
        return false;
    }
    Segment& s = segments_[place.segment];
    const auto at = [&](uint32_t i) { return &s.words[size_t{i} * entry_words_]; };
    // Close the gap, so that no search ends at it (Knuth, volume 3, 6.4, algorithm R).
    uint32_t gap = place.index;
    for (uint32_t i = gap;;) {
        i = i + 1 == s.capacity ? 0 : i + 1;
        if (at(i)[key_words_] == 0) {
            break;
        }
        const uint32_t wanted = home(hash(at(i)), s.capacity);
        const bool stays = gap <= i ? gap < wanted && wanted <= i : gap < wanted || wanted <= i;
        if (!stays) {
            std::copy_n(at(i), entry_words_, at(gap));
            gap = i;
        }
    }
    at(gap)[key_words_] = 0;
    --s.used;
    --size_;
    --count_by_length_[prefix.length];
    return true;
}

std::optional<uint32_t> PrefixMap::find(const Prefix& prefix) const {
    const Entry entry = entry_of(prefix, 0);
    const Place place = locate(entry, hash(entry.words.data()));
    if (!place.found) {
        return std::nullopt;
    }
    return segments_[place.segment].words[size_t{place.index} * entry_words_ + key_words_] >> length_bits;
}

// The places of all lengths are on their way at once before the first is looked at.
std::optional<PrefixMap::Cover> PrefixMap::cover(const Prefix& prefix, unsigned min_length) const {
    struct Probe {
        Entry entry;
        uint64_t hash;
    };
    const Entry whole = entry_of(prefix, 0);
    std::array<Probe, 128> probes;
    unsigned count = 0;
    for (unsigned length = prefix.length; length-- > min_length;) {
        if (count_by_length_[length] == 0) {
            continue;
        }
        Probe& probe = probes[count++];
        probe.entry = shortened(whole, length);
        probe.hash = hash(probe.entry.words.data());
        const Segment& s = segments_[segment_of(probe.hash)];
        __builtin_prefetch(s.words.get() + size_t{home(probe.hash, s.capacity)} * entry_words_);
    }
    for (unsigned i = 0; i < count; ++i) {
        const Place place = locate(probes[i].entry, probes[i].hash);
        if (place.found) {
            const uint32_t last =
                segments_[place.segment].words[size_t{place.index} * entry_words_ + key_words_];
            return Cover{last >> length_bits, (last & length_mask) - 1};
        }
    }
    return std::nullopt;
}

}  // namespace millrace::dataplane
