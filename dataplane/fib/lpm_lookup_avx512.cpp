// SPDX-License-Identifier: BSD-3-Clause
// The lookups of lpm_lookup.cpp with AVX-512, for CPUs that count bits in vectors (Ice Lake, Zen 4 and
// later). The elements of a gather are aligned words, each read at once.
#ifndef __clang__
// In GCC 12's own header: GCC bug 105593.
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif
#include <immintrin.h>

#include <bit>

#include "dataplane/fib/lpm_trie.hpp"

#define MILLRACE_AVX512 [[gnu::target("avx512f,avx512bw,avx512dq,avx512vl,avx512vpopcntdq")]]

namespace millrace::dataplane {

namespace {

constexpr size_t lanes4 = 16;
constexpr size_t lanes6 = 8;

// For each 64-bit lane of a node's unit and a slot (modulo 64): how many entries the node has
// up to that slot.
MILLRACE_AVX512 inline __m512i ranks(const uint32_t* nodes, __mmask8 mask, __m512i unit, __m512i slot) {
    const __m512i bitmap =
        _mm512_mask_i64gather_epi64(_mm512_setzero_si512(), mask, _mm512_slli_epi64(unit, 1), nodes, 8);
    const __m512i shift = _mm512_andnot_si512(slot, _mm512_set1_epi64(trie::slots - 1));
    return _mm512_popcnt_epi64(_mm512_sllv_epi64(bitmap, shift));
}

// One step down for those of 8 lanes that hold a child; position: bits above it.
MILLRACE_AVX512 inline __m256i step6(const uint32_t* nodes, __m256i entry, __m512i high, unsigned position) {
    const __mmask8 deeper = _mm256_movepi32_mask(entry);
    const __m256i unit = _mm256_and_si256(entry, _mm256_set1_epi32(static_cast<int>(~trie::child_flag)));
    const __m512i slot =
        _mm512_srl_epi64(high, _mm_cvtsi32_si128(static_cast<int>(64 - trie::stride - position)));
    const __m256i rank = _mm512_cvtepi64_epi32(ranks(nodes, deeper, _mm512_cvtepu32_epi64(unit), slot));
    const __m256i at = _mm256_add_epi32(_mm256_slli_epi32(unit, 2), rank);
    return _mm256_mmask_i32gather_epi32(entry, deeper, at, nodes + trie::bitmap_words - 1, 4);
}

}  // namespace

bool LpmTrie::has_avx512() {
    return __builtin_cpu_supports("avx512bw") != 0 && __builtin_cpu_supports("avx512dq") != 0 &&
           __builtin_cpu_supports("avx512vl") != 0 && __builtin_cpu_supports("avx512vpopcntdq") != 0;
}

// What is longer than /24 is rare: those addresses are taken one by one. That, and the table of short
// prefixes in registers, spares the others gathers.
MILLRACE_AVX512 void LpmTrie::burst_avx512(const uint32_t* addresses, uint32_t* out) const {
    static_assert(lookups_at_once == 2 * lanes4);
    const uint32_t* const root = &root_[0];
    __m512i keys[2];
    __m512i entries[2];
    __mmask16 none[2];
    uint32_t deeper = 0;
    for (size_t v = 0; v < 2; ++v) {
        keys[v] = _mm512_loadu_si512(addresses + v * lanes4);
        entries[v] = _mm512_i32gather_epi32(_mm512_srli_epi32(keys[v], 32 - root_bits4), root, 4);
    }
    for (size_t v = 0; v < 2; ++v) {
        deeper |= uint32_t{_mm512_movepi32_mask(entries[v])} << (v * lanes4);
        none[v] = _mm512_testn_epi32_mask(entries[v], entries[v]);
        _mm512_storeu_si512(out + v * lanes4, _mm512_srli_epi32(entries[v], trie::depth_bits));
    }
    if ((none[0] | none[1]) != 0) {
        static_assert(1U << first_bits4 == 4 * lanes4);
        const uint32_t* const shorter = &first_[0];
        const __m512i table[4] = {_mm512_loadu_si512(shorter), _mm512_loadu_si512(shorter + lanes4),
                                  _mm512_loadu_si512(shorter + 2 * lanes4),
                                  _mm512_loadu_si512(shorter + 3 * lanes4)};
        for (size_t v = 0; v < 2; ++v) {
            const __m512i first = _mm512_srli_epi32(keys[v], 32 - first_bits4);
            const __m512i found =
                _mm512_mask_blend_epi32(_mm512_test_epi32_mask(first, _mm512_set1_epi32(2 * lanes4)),
                                        _mm512_permutex2var_epi32(table[0], first, table[1]),
                                        _mm512_permutex2var_epi32(table[2], first, table[3]));
            _mm512_mask_storeu_epi32(out + v * lanes4, none[v], _mm512_srli_epi32(found, trie::depth_bits));
        }
    }
    if (deeper != 0) [[unlikely]] {
        std::array<uint32_t, lookups_at_once> left;
        _mm512_storeu_si512(&left[0], entries[0]);
        _mm512_storeu_si512(&left[lanes4], entries[1]);
        for (; deeper != 0; deeper &= deeper - 1) {
            const auto i = static_cast<unsigned>(std::countr_zero(deeper));
            uint32_t entry = trie::entry(pool_.at(trie::child(left[i])), addresses[i] >> 2);
            if (trie::is_child(entry)) {
                entry = trie::entry(pool_.at(trie::child(entry)), addresses[i] << 4);
            }
            out[i] = trie::value(entry == 0 ? shorter_of(addresses[i]) : entry);
        }
    }
}

MILLRACE_AVX512 void LpmTrie::burst_avx512(const Key* addresses, uint32_t* out) const {
    constexpr size_t vectors = lookups_at_once / lanes6;
    const uint32_t* const root = &root_[0];
    const uint32_t* const nodes = pool_.at(0);
    __m512i high[vectors];
    __m256i entries[vectors];
    __m256i shorter[vectors];
    __mmask8 any = 0;
    const __m512i even = _mm512_set_epi64(14, 12, 10, 8, 6, 4, 2, 0);
    for (size_t v = 0; v < vectors; ++v) {
        const Key* from = addresses + v * lanes6;
        high[v] = _mm512_permutex2var_epi64(_mm512_loadu_si512(from), even, _mm512_loadu_si512(from + 4));
        const __m512i first = _mm512_i64gather_epi64(_mm512_srli_epi64(high[v], 64 - first_bits6), &first_[0],
                                                     sizeof(uint64_t));
        entries[v] = _mm512_cvtepi64_epi32(first);
        shorter[v] = _mm512_cvtepi64_epi32(_mm512_srli_epi64(first, 32));
        any |= _mm256_movepi32_mask(entries[v]);
    }
    if (any != 0) [[unlikely]] {
        for (unsigned position = first_bits6; position < root_bits6; position += trie::stride) {
            for (size_t v = 0; v < vectors; ++v) {
                entries[v] = step6(nodes, entries[v], high[v], position);
            }
        }
    }
    uint32_t deeper = 0;
    for (size_t v = 0; v < vectors; ++v) {
        const __mmask8 block =
            _mm256_cmpeq_epi32_mask(_mm256_srli_epi32(entries[v], 30), _mm256_set1_epi32(1));
        const __m256i within = _mm512_cvtepi64_epi32(
            _mm512_srli_epi64(_mm512_slli_epi64(high[v], first_bits6), 64 - block_bits));
        const __m256i at = _mm256_or_si256(_mm256_slli_epi32(entries[v], block_bits), within);
        entries[v] = _mm256_mmask_i32gather_epi32(entries[v], block, at, root, 4);
        deeper |= uint32_t{_mm256_movepi32_mask(entries[v])} << (v * lanes6);
    }
    constexpr int few = 4;  // addresses not worth the vectors
    unsigned position = root_bits6;
    for (; std::popcount(deeper) > few && position < finish_bits6; position += trie::stride) {
        deeper = 0;
        for (size_t v = 0; v < vectors; ++v) {
            entries[v] = step6(nodes, entries[v], high[v], position);
            deeper |= uint32_t{_mm256_movepi32_mask(entries[v])} << (v * lanes6);
        }
    }
    std::array<uint32_t, lookups_at_once> left;
    for (size_t v = 0; v < vectors; ++v) {
        const __mmask8 none = _mm256_testn_epi32_mask(entries[v], entries[v]);
        const __m256i found = _mm256_mask_mov_epi32(entries[v], none, shorter[v]);
        _mm256_storeu_si256(reinterpret_cast<__m256i*>(out + v * lanes6),
                            _mm256_srli_epi32(found, trie::depth_bits));
        _mm256_storeu_si256(reinterpret_cast<__m256i*>(&left[v * lanes6]), entries[v]);
    }
    for (; deeper != 0; deeper &= deeper - 1) {
        const auto i = static_cast<unsigned>(std::countr_zero(deeper));
        out[i] = finish(addresses[i], position, left[i], shorter_of(addresses[i]));
    }
}

template <class T>
MILLRACE_AVX512 size_t LpmTrie::bursts_avx512(std::span<const T> addresses, uint32_t* out) const {
    size_t done = 0;
    for (; done + lookups_at_once <= addresses.size(); done += lookups_at_once) {
        consistently([&] { burst_avx512(&addresses[done], out + done); });
    }
    return done;
}
template size_t LpmTrie::bursts_avx512(std::span<const uint32_t> addresses, uint32_t* out) const;
template size_t LpmTrie::bursts_avx512(std::span<const Key> addresses, uint32_t* out) const;

}  // namespace millrace::dataplane
