// SPDX-License-Identifier: BSD-3-Clause
// The workers' half of LpmTrie. One level for all addresses at a time, without a branch on what an address
// finds: the cache misses of different addresses overlap, and none waits for a mispredicted one.
#include <algorithm>

#include "dataplane/fib/lpm_trie.hpp"

namespace millrace::dataplane {

namespace {

// One step down; a leaf stays what it is, and reads the pool's first node meanwhile.
uint32_t step(const uint32_t* nodes, uint32_t entry, uint64_t slot) {
    const auto deeper = static_cast<uint32_t>(static_cast<int32_t>(entry) >> 31);
    const uint32_t* node = nodes + NodePool::unit_words * size_t{trie::child(entry) & deeper};
    const uint32_t found = trie::entry(node, slot);
    return (found & deeper) | (entry & ~deeper);
}

// A pass of its own before the step: it is short enough for all nodes to be on their way at once.
void prefetch(const uint32_t* nodes, uint32_t entry) {
    const auto deeper = static_cast<uint32_t>(static_cast<int32_t>(entry) >> 31);
    __builtin_prefetch(nodes + NodePool::unit_words * size_t{trie::child(entry) & deeper});
}

// shorter: the leaf for addresses that found nothing.
uint32_t result(uint32_t entry, uint32_t shorter) {
    return trie::value(entry | (shorter & (0U - static_cast<uint32_t>(entry == 0))));
}
}  // namespace

void LpmTrie::bulk(std::span<const uint32_t> addresses, uint32_t* out) const {
    const uint32_t* const root = &root_[0];
    const uint32_t* const nodes = pool_.at(0);
    std::array<uint32_t, lookups_at_once> found;
    const size_t count = addresses.size();
    uint32_t any = 0;
    for (size_t i = 0; i < count; ++i) {
        found[i] = load_shared(root[addresses[i] >> (32 - root_bits4)]);
        any |= found[i];
    }
    if (trie::is_child(any)) {
        for (size_t i = 0; i < count; ++i) {
            prefetch(nodes, found[i]);
        }
        for (size_t i = 0; i < count; ++i) {
            if (trie::is_child(found[i])) [[unlikely]] {
                found[i] = step(nodes, found[i], addresses[i] >> 2);
                found[i] = step(nodes, found[i], addresses[i] << 4);
            }
        }
    }
    for (size_t i = 0; i < count; ++i) {
        out[i] = result(found[i], shorter_of(addresses[i]));
    }
}

void LpmTrie::bulk(std::span<const Key> addresses, uint32_t* out) const {
    const uint32_t* const root = &root_[0];
    const uint32_t* const nodes = pool_.at(0);
    std::array<uint32_t, lookups_at_once> found;
    const size_t count = addresses.size();
    for (size_t i = 0; i < count; ++i) {
        const uint64_t high = addresses[i].high;
        found[i] = load_shared(first_[high >> (64 - first_bits6) << 1]);
        if (is_block(found[i])) {
            __builtin_prefetch(root + in_block(found[i], high));
        }
    }
    uint32_t any = 0;
    for (size_t i = 0; i < count; ++i) {
        const uint64_t high = addresses[i].high;
        if (is_block(found[i])) {
            found[i] = load_shared(root[in_block(found[i], high)]);
        } else if (trie::is_child(found[i])) [[unlikely]] {
            for (unsigned position = first_bits6; position < root_bits6; position += trie::stride) {
                found[i] = step(nodes, found[i], high >> (64 - trie::stride - position));
            }
        }
        any |= found[i];
    }
    for (unsigned position = root_bits6; trie::is_child(any) && position < finish_bits6;
         position += trie::stride) {
        any = 0;
        for (size_t i = 0; i < count; ++i) {
            prefetch(nodes, found[i]);
        }
        for (size_t i = 0; i < count; ++i) {
            found[i] = step(nodes, found[i], addresses[i].high >> (64 - trie::stride - position));
            any |= found[i];
        }
    }
    for (size_t i = 0; i < count; ++i) {
        const uint32_t shorter = shorter_of(addresses[i]);
        out[i] = trie::is_child(found[i]) ? finish(addresses[i], finish_bits6, found[i], shorter)
                                          : result(found[i], shorter);
    }
}

uint32_t LpmTrie::finish(const Key& address, unsigned position, uint32_t entry, uint32_t shorter) const {
    for (; trie::is_child(entry); position += trie::stride) {
        entry = step(pool_.at(0), entry, address.bits(position, trie::stride));
    }
    return result(entry, shorter);
}

template <class T>
void LpmTrie::lookup_all(std::span<const T> addresses, uint32_t* out) const {
    constexpr size_t few = 4;  // not worth a vector
    size_t done = avx512_ ? bursts_avx512(addresses, out) : 0;
    if (const size_t left = addresses.size() - done; avx512_ && left > few) {
        std::array<T, lookups_at_once> filled{};
        std::array<uint32_t, lookups_at_once> found;
        std::copy_n(addresses.begin() + static_cast<std::ptrdiff_t>(done), left, filled.begin());
        bursts_avx512(std::span<const T>(filled), found.data());
        std::copy_n(found.begin(), left, out + done);
        return;
    }
    while (done < addresses.size()) {
        const auto part = addresses.subspan(done, std::min(lookups_at_once, addresses.size() - done));
        consistently([&] { bulk(part, out + done); });
        done += part.size();
    }
}

void LpmTrie::lookup_bulk(std::span<const uint32_t> addresses, uint32_t* out) const {
    lookup_all(addresses, out);
}
void LpmTrie::lookup_bulk(std::span<const Key> addresses, uint32_t* out) const {
    lookup_all(addresses, out);
}

uint32_t LpmTrie::lookup(const IpAddress& address) const {
    const Key key = Key::of(address);
    uint32_t out = 0;
    if (root_bits_ == root_bits4) {
        const auto number = static_cast<uint32_t>(key.high >> 32);
        lookup_bulk({&number, 1}, &out);
    } else {
        lookup_bulk({&key, 1}, &out);
    }
    return out;
}

}  // namespace millrace::dataplane
