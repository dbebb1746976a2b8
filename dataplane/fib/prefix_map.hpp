// SPDX-License-Identifier: BSD-3-Clause
// The prefixes of one FIB and their values, for the control thread: what a removed prefix gives way to can't
// be read from the trie. Open addressing in many small segments: 8 bytes an IPv4 entry, 20 an IPv6 one, and
// growing one segment is a matter of microseconds.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "millrace/types.hpp"

namespace millrace::dataplane {

class PrefixMap {
  public:
    explicit PrefixMap(Family family);

    // value: 23 bits. true when the prefix is new.
    bool set(const Prefix& prefix, uint32_t value);
    // false when the prefix is not there.
    bool erase(const Prefix& prefix);
    [[nodiscard]] std::optional<uint32_t> find(const Prefix& prefix) const;

    struct Cover {
        uint32_t value;
        unsigned length;
    };
    // The longest prefix that contains this one, shorter than it, with at least min_length bits.
    [[nodiscard]] std::optional<Cover> cover(const Prefix& prefix, unsigned min_length) const;

    // Calls visit(prefix, value) for those of one segment out of segment_count. A prefix stays in its
    // segment.
    static constexpr size_t segment_count = 1024;
    template <class Visit>
    void for_each(size_t segment, const Visit& visit) const {
        const Segment& s = segments_[segment];
        for (size_t i = 0; i < s.capacity; ++i) {
            const uint32_t* at = &s.words[i * entry_words_];
            if (at[key_words_] != 0) {
                visit(Prefix{IpAddress::from_bytes(family_, at),
                             static_cast<uint8_t>((at[key_words_] & length_mask) - 1)},
                      at[key_words_] >> length_bits);
            }
        }
    }

    [[nodiscard]] size_t size() const { return size_; }
    [[nodiscard]] size_t bytes() const { return bytes_; }

  private:
    static constexpr unsigned length_bits = 8;
    static constexpr uint32_t length_mask = (1U << length_bits) - 1;
    struct Segment {
        std::unique_ptr<uint32_t[]> words;
        uint32_t capacity = 0;  // entries
        uint32_t used = 0;
    };
    // An entry: the address as key_words_ words, then value and length; 0 in the last = empty.
    struct Entry {
        std::array<uint32_t, 5> words;
    };
    struct Place {
        uint32_t segment;
        uint32_t index;
        bool found;
    };
    // The segment is chosen by the hash's highest bits, the place in it by the lowest.
    static constexpr unsigned segment_bits = 10;
    static_assert(segment_count == size_t{1} << segment_bits);
    static uint32_t segment_of(uint64_t hash) { return static_cast<uint32_t>(hash >> (64 - segment_bits)); }
    [[nodiscard]] uint64_t hash(const uint32_t* entry) const;
    [[nodiscard]] Entry entry_of(const Prefix& prefix, uint32_t value) const;
    [[nodiscard]] Entry shortened(Entry entry, unsigned length) const;
    [[nodiscard]] bool same(const uint32_t* one, const uint32_t* other) const;
    [[nodiscard]] Place locate(const Entry& entry, uint64_t h) const;
    void grow(Segment& segment);

    Family family_;
    unsigned key_words_;
    unsigned entry_words_;
    uint64_t seed_;
    std::array<Segment, segment_count> segments_;
    std::array<uint32_t, 129> count_by_length_{};
    size_t size_ = 0;
    size_t bytes_ = 0;
};

}  // namespace millrace::dataplane
