// SPDX-License-Identifier: BSD-3-Clause
// Walking netlink attributes without reading past their end, and the values in them. Pure, any thread.
#pragma once

#include <linux/netlink.h>
#include <linux/nexthop.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <span>
#include <string>
#include <type_traits>

#include "millrace/types.hpp"

namespace millrace::sync {

using Bytes = std::span<const std::byte>;

// A copy of the T at the beginning of bytes, which may be unaligned; nullopt when they are too few.
template <class T>
[[nodiscard]] std::optional<T> read(Bytes bytes) {
    static_assert(std::is_trivially_copyable_v<T>);
    if (bytes.size() < sizeof(T)) {
        return std::nullopt;
    }
    T value;
    std::memcpy(&value, bytes.data(), sizeof(T));
    return value;
}

// What is behind the first size bytes, padded to a multiple of 4 as netlink does.
[[nodiscard]] Bytes after(Bytes bytes, size_t size);

struct Attribute {
    uint16_t type = 0;  // NLA_F_NESTED and NLA_F_NET_BYTEORDER removed
    Bytes value;
};

class AttributeReader {
  public:
    explicit AttributeReader(Bytes bytes) : rest_(bytes) {}
    // nullopt at the end, and where what is left is no attribute: see malformed().
    [[nodiscard]] std::optional<Attribute> next();
    [[nodiscard]] bool malformed() const { return malformed_; }

  private:
    Bytes rest_;
    bool malformed_ = false;
};

// An element of NHA_GROUP: struct nexthop_grp, whose sixth byte has a name only in headers that know
// Linux 6.12.
struct NexthopGroupEntry {
    uint32_t id;
    uint8_t weight;       // low byte of weight - 1
    uint8_t weight_high;  // high byte; reserved and zero before Linux 6.12
    uint16_t reserved;
};
static_assert(sizeof(NexthopGroupEntry) == sizeof(nexthop_grp));

// Bytes without the terminating zero, which may be missing.
[[nodiscard]] std::string text_of(Bytes value);
// nullopt unless there are 4 or 16 bytes.
[[nodiscard]] std::optional<IpAddress> address_of(Bytes value);
// nullopt unless there are 6 bytes.
[[nodiscard]] std::optional<MacAddress> mac_of(Bytes value);

}  // namespace millrace::sync
