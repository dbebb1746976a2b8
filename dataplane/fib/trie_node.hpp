// SPDX-License-Identifier: BSD-3-Clause
// What LpmTrie is made of.
//
// An entry is one 32-bit word: a child's unit in the pool, or a leaf: the value and the depth of the prefix
// that set it, which is its length + 1. The word 0 is "no prefix".
//
// A node stands for 64 slots, the next 6 bits of an address. Neighbouring slots with one and the same entry
// share it: a bitmap says where each run of them begins, the entries of the runs follow (Poptrie, SIGCOMM
// 2015, does so with leaves). Bitmap and number of entries never change once readers know the node.
#pragma once

#include <array>
#include <bit>
#include <cstdint>
#include <cstring>

#include "dataplane/fib/shared.hpp"
#include "millrace/types.hpp"

namespace millrace::dataplane::trie {

inline constexpr unsigned stride = 6;
inline constexpr unsigned slots = 1U << stride;
inline constexpr unsigned bitmap_words = 2;

inline constexpr uint32_t child_flag = 1U << 31;
inline constexpr unsigned depth_bits = 8;
inline constexpr uint32_t max_value = (1U << (31 - depth_bits)) - 1;

constexpr uint32_t leaf(uint32_t value, unsigned length) {
    return (value << depth_bits) | (length + 1);
}
// What addresses find whose prefixes did not fit, and no shorter prefix instead: of no prefix's depth.
inline constexpr uint32_t no_room = leaf(raw(millrace::no_room), UINT8_MAX - 1);
constexpr bool is_child(uint32_t entry) {
    return (entry & child_flag) != 0;
}
constexpr uint32_t child(uint32_t entry) {
    return entry & ~child_flag;
}
constexpr uint32_t depth(uint32_t entry) {
    return entry & ((1U << depth_bits) - 1);
}
constexpr uint32_t value(uint32_t entry) {
    return entry >> depth_bits;
}

inline uint64_t bitmap(const uint32_t* node) {
    return load_shared(*reinterpret_cast<const uint64_t*>(node));
}
// Where the entry of a slot (modulo 64) is, in words from the node's start. Bit 0 of a bitmap is always set.
inline size_t entry_at(uint64_t bitmap, uint64_t slot) {
    return bitmap_words - 1 + static_cast<size_t>(std::popcount(bitmap << (~slot % slots)));
}
// A worker's step down.
inline uint32_t entry(const uint32_t* node, uint64_t slot) {
    return load_shared(node[entry_at(bitmap(node), slot)]);
}
inline unsigned words(uint64_t bitmap) {
    return bitmap_words + static_cast<unsigned>(std::popcount(bitmap));
}

using Slots = std::array<uint32_t, slots>;

// Control thread only.
inline uint64_t unpack(const uint32_t* node, Slots& out) {
    const uint64_t starts = bitmap(node);
    const uint32_t* entry = node + bitmap_words - 1;
    for (unsigned i = 0; i < slots; ++i) {
        entry += (starts >> i) & 1;
        out[i] = *entry;
    }
    return starts;
}
inline uint64_t starts_of(const Slots& in) {
    uint64_t starts = 1;
    for (unsigned i = 1; i < slots; ++i) {
        starts |= uint64_t{in[i] != in[i - 1]} << i;
    }
    return starts;
}

}  // namespace millrace::dataplane::trie
