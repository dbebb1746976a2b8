// SPDX-License-Identifier: BSD-3-Clause
// rtnetlink bytes -> values. Pure: no socket, no state, any thread. Never reads past the bytes given.
//
// An attribute that is not known here is skipped, unless it is known to change where a packet goes or how
// it looks (a route's own MTU, ...): then the value is marked unsupported, or as an
// encapsulation, and the mirror leaves the prefix to the kernel.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <variant>
#include <vector>

#include "millrace/result.hpp"
#include "millrace/types.hpp"

namespace millrace::sync {

struct LinkMessage {
    bool removed = false;
    Ifindex ifindex{};
    std::string name;
    MacAddress mac;        // all zero where the device has none of 6 bytes
    uint32_t mtu = 0;      // bytes, layer 3
    bool up = false;       // IFF_UP
    bool carrier = false;  // IFF_LOWER_UP
    Ifindex master{};      // bridge, bond or VRF that the device belongs to; 0 = none
    std::string kind;      // IFLA_INFO_KIND: "veth", "vlan", ...; empty for hardware

    bool operator==(const LinkMessage&) const = default;
};

struct AddressMessage {
    bool removed = false;
    Ifindex ifindex{};
    IpAddress address;  // the router's own (IFA_LOCAL where there is one)

    bool operator==(const AddressMessage&) const = default;
};

struct NeighborMessage {
    bool removed = false;
    Ifindex ifindex{};
    IpAddress address;
    std::optional<MacAddress> mac;  // only addresses of 6 bytes
    uint16_t state = 0;             // NUD_* of linux/neighbour.h
    uint8_t flags = 0;              // NTF_*
    uint32_t flags_ext = 0;         // NTF_EXT_*
    uint8_t protocol = 0;           // RTPROT_* of who made the entry; 0 = nobody said

    bool operator==(const NeighborMessage&) const = default;
};

// One way out: of a route without a nexthop object, or of a nexthop object.
struct Path {
    std::optional<IpAddress> gateway;  // may be of the other family (RFC 8950); none = directly connected
    Ifindex ifindex{};
    uint32_t weight = 1;  // 1 to 65536
    uint8_t flags = 0;    // RTNH_F_* of linux/rtnetlink.h

    bool operator==(const Path&) const = default;
};

struct NexthopMember {
    NexthopId id{};
    uint32_t weight = 1;  // 1 to 65536

    bool operator==(const NexthopMember&) const = default;
};

struct NexthopMessage {
    bool removed = false;
    NexthopId id{};
    bool blackhole = false;
    bool unsupported = false;            // fdb, a group type that is not known
    bool encapsulation = false;          // a lightweight tunnel
    Path path;                           // where members is empty and blackhole false
    std::vector<NexthopMember> members;  // a group; resilient groups too

    bool operator==(const NexthopMessage&) const = default;
};

struct RouteMessage {
    bool removed = false;
    bool replace = false;    // NLM_F_REPLACE
    bool append = false;     // NLM_F_APPEND
    bool exclusive = false;  // NLM_F_EXCL: the kernel had no other route of this key
    bool unsupported = false;
    bool encapsulation = false;  // a lightweight tunnel, or labels to be swapped, on a path
    TableId table{};
    Prefix prefix;
    Prefix source;  // of the packets that it is for; length 0 = of all
    uint8_t tos = 0;
    uint8_t type = 0;        // RTN_*
    uint8_t protocol = 0;    // RTPROT_*
    uint8_t scope = 0;       // RT_SCOPE_*
    uint8_t preference = 0;  // RFC 4191 router preference as in RTA_PREF; IPv6
    uint32_t metric = 0;
    uint32_t flags = 0;  // RTM_F_* and, for a single path, RTNH_F_*
    uint32_t rest =
        0;  // hash of what tells two routes apart but does not steer packets (source address, ...)
    int64_t lifetime_ms = 0;  // left when the kernel told it; negative = it is over; 0 = without end
    NexthopId nexthop{};      // 0 = none
    std::vector<Path> paths;  // also given beside a nexthop id (net.ipv4.nexthop_compat_mode=1)

    bool operator==(const RouteMessage&) const = default;
};

using Message = std::variant<LinkMessage, AddressMessage, NeighborMessage, NexthopMessage, RouteMessage>;

// one_message: one netlink message, header included. nullopt = nothing that the mirror follows (another
// type or family, a bridge's fdb, a proxy entry, a cached route). Error = malformed: names message and
// attribute.
[[nodiscard]] Result<std::optional<Message>> decode(std::span<const std::byte> one_message);

}  // namespace millrace::sync
