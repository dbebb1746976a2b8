// SPDX-License-Identifier: BSD-3-Clause
// An address as a number in host order: what IPv6 lookups take, and what the trie is walked by.
#pragma once

#include <endian.h>

#include <cstdint>
#include <cstring>

#include "millrace/types.hpp"

namespace millrace::dataplane {

struct Key {
    uint64_t high = 0;  // IPv4: the address in its upper 32 bits
    uint64_t low = 0;

    // bytes: 16 of them, network order.
    static Key from_bytes(const void* bytes) {
        Key k;
        std::memcpy(&k.high, bytes, sizeof(k.high));
        std::memcpy(&k.low, static_cast<const uint8_t*>(bytes) + sizeof(k.high), sizeof(k.low));
        k.high = be64toh(k.high);
        k.low = be64toh(k.low);
        return k;
    }
    static Key of(const IpAddress& address) { return from_bytes(address.bytes.data()); }

    // width <= 32 bits from bit from on, the highest being 0; bits past the end are zero.
    [[nodiscard]] uint32_t bits(unsigned from, unsigned width) const {
        uint64_t v = from < 64 ? high << from : low << (from - 64);
        if (from > 0 && from < 64) {
            v |= low >> (64 - from);
        }
        return static_cast<uint32_t>(v >> (64 - width));
    }
};

}  // namespace millrace::dataplane
