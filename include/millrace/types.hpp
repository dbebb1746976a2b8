// SPDX-License-Identifier: BSD-3-Clause
// Value types that every part shares. Addresses hold their bytes in network order. No type here owns
// anything; all are safe to use on any thread.
#pragma once

#include <arpa/inet.h>
#include <fmt/core.h>

#include <array>
#include <compare>
#include <cstdint>
#include <cstring>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

namespace millrace {

// Look-alike integers. The underlying value is in host order.
enum class Ifindex : uint32_t {};      // the kernel's index of a netdev, in the namespace of the process
enum class PortId : uint16_t {};       // index of a port in the configuration file's order
enum class QueueId : uint16_t {};      // receive or transmit queue of a port
enum class TableId : uint32_t {};      // kernel routing table; RT_TABLE_MAIN = 254
enum class NexthopId : uint32_t {};    // id of a kernel nexthop object (RTA_NH_ID)
enum class GroupId : uint32_t {};      // FIB value; given out by the dataplane; 0 = punt, no route
enum class AdjacencyId : uint32_t {};  // given out by the dataplane

inline constexpr TableId main_table{254};
inline constexpr TableId local_table{255};
inline constexpr GroupId no_route{0};
// What there is no room for in the fast path's tables: left to the kernel.
inline constexpr GroupId no_room{1};
inline constexpr AdjacencyId no_adjacency{0};  // ... for a next hop

template <class E>
requires std::is_enum_v<E>
constexpr auto raw(E e) {
    return static_cast<std::underlying_type_t<E>>(e);
}

enum class Family : uint8_t { ipv4 = 4, ipv6 = 6 };

constexpr unsigned address_bits(Family f) {
    return f == Family::ipv4 ? 32 : 128;
}

struct MacAddress {
    std::array<uint8_t, 6> bytes{};
    auto operator<=>(const MacAddress&) const = default;
    [[nodiscard]] std::string text() const {
        return fmt::format("{:02x}:{:02x}:{:02x}:{:02x}:{:02x}:{:02x}", bytes[0], bytes[1], bytes[2],
                           bytes[3], bytes[4], bytes[5]);
    }
};

struct IpAddress {
    Family family = Family::ipv4;
    std::array<uint8_t, 16> bytes{};  // network order; IPv4 in the first four, the rest zero

    auto operator<=>(const IpAddress&) const = default;
    [[nodiscard]] size_t size() const { return family == Family::ipv4 ? 4 : 16; }
    [[nodiscard]] bool bit(unsigned i) const { return ((bytes[i / 8] >> (7 - i % 8)) & 1) != 0; }
    [[nodiscard]] std::string text() const {
        std::array<char, INET6_ADDRSTRLEN> out{};
        inet_ntop(family == Family::ipv4 ? AF_INET : AF_INET6, bytes.data(), out.data(), out.size());
        return out.data();
    }
    // nullopt when text is no IPv4 or IPv6 address.
    static std::optional<IpAddress> parse(std::string_view text) {
        const std::string s(text);
        IpAddress a;
        if (inet_pton(AF_INET, s.c_str(), a.bytes.data()) == 1) {
            return a;
        }
        a.family = Family::ipv6;
        if (inet_pton(AF_INET6, s.c_str(), a.bytes.data()) == 1) {
            return a;
        }
        return std::nullopt;
    }
    // bytes: 4 or 16 of them, network order.
    static IpAddress from_bytes(Family family, const void* bytes) {
        IpAddress a;
        a.family = family;
        std::memcpy(a.bytes.data(), bytes, a.size());
        return a;
    }
};

struct Prefix {
    IpAddress address;   // host bits are zero
    uint8_t length = 0;  // bits

    // Ordered so that a prefix comes just before the prefixes that it contains.
    auto operator<=>(const Prefix&) const = default;
    [[nodiscard]] std::string text() const { return fmt::format("{}/{}", address.text(), length); }
    [[nodiscard]] bool contains(const IpAddress& a) const {
        if (a.family != address.family) {
            return false;
        }
        return make(a, length).address == address;
    }
    [[nodiscard]] bool is_host() const { return length == address_bits(address.family); }

    // Clears the host bits. length <= address_bits(family).
    static Prefix make(IpAddress a, unsigned length) {
        for (unsigned i = 0; i < a.size(); ++i) {
            const unsigned keep = length > i * 8 ? length - i * 8 : 0;
            if (keep < 8) {
                a.bytes[i] &= static_cast<uint8_t>(0xff00U >> keep);
            }
        }
        return {a, static_cast<uint8_t>(length)};
    }
    // "10.0.0.0/8", or an address alone for a host prefix. nullopt when malformed or with host bits set.
    static std::optional<Prefix> parse(std::string_view text) {
        const auto slash = text.find('/');
        const auto address = IpAddress::parse(text.substr(0, slash));
        if (!address) {
            return std::nullopt;
        }
        unsigned length = address_bits(address->family);
        if (slash != std::string_view::npos) {
            const auto digits = text.substr(slash + 1);
            if (digits.empty() || digits.size() > 3 ||
                digits.find_first_not_of("0123456789") != digits.npos) {
                return std::nullopt;
            }
            const auto given = static_cast<unsigned>(std::stoul(std::string(digits)));
            if (given > length) {
                return std::nullopt;
            }
            length = given;
        }
        const Prefix p = make(*address, length);
        if (p.address != *address) {
            return std::nullopt;
        }
        return p;
    }
};

// FNV-1a over the bytes of a value; for hash tables of the control thread, not for traffic.
inline size_t hash_bytes(const void* data, size_t size, size_t seed = 0xcbf29ce484222325ULL) {
    const auto* p = static_cast<const uint8_t*>(data);
    for (size_t i = 0; i < size; ++i) {
        seed = (seed ^ p[i]) * 0x100000001b3ULL;
    }
    return seed;
}

}  // namespace millrace

template <>
struct std::hash<millrace::IpAddress> {
    size_t operator()(const millrace::IpAddress& a) const noexcept {
        return millrace::hash_bytes(a.bytes.data(), a.size(), 0xcbf29ce484222325ULL + a.size());
    }
};

template <>
struct std::hash<millrace::Prefix> {
    size_t operator()(const millrace::Prefix& p) const noexcept {
        return millrace::hash_bytes(&p.length, 1, std::hash<millrace::IpAddress>{}(p.address));
    }
};
