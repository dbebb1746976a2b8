// SPDX-License-Identifier: BSD-3-Clause
// What is decided about a packet on its way through the forwarder: one function for each question, called for
// each packet by the workers, and for a single one by explain.
#pragma once

#include <cstdint>

#include "dataplane/fib/adjacency_table.hpp"
#include "dataplane/fib/group_table.hpp"
#include "dataplane/forward/ip_input.hpp"
#include "millrace/reason.hpp"
#include "millrace/sink.hpp"

namespace millrace::dataplane {

// data: of a frame with so many bytes.
inline Reason check_frame(const uint8_t* data, uint32_t length, IpPacket& packet) {
    if (length < ethernet_header) {
        return Reason::drop_truncated;
    }
    switch (read16(data + 12)) {
        case 0x0800:
            return check_ipv4(data + ethernet_header, length - ethernet_header, packet);
        case 0x86dd:
            return check_ipv6(data + ethernet_header, length - ethernet_header, packet);
        default:
            return Reason::punt_not_ip;
    }
}

// RFC 3704, as fib_validate_source does it: of the ways to a source, one of these must be there.
inline uint64_t ways_wanted(ReversePath filter, PortId ingress) {
    return filter == ReversePath::loose ? Ways::unicast : Ways::over(ingress);
}
// group: the FIB's value for the source. forwarded: it passes.
inline Reason check_source(const GroupTable& groups, uint32_t group, uint64_t wanted) {
    const uint64_t ways = groups.ways(group);
    if ((ways & wanted) != 0) [[likely]] {
        return Reason::forwarded;
    }
    // A route that is not understood may be a good one.
    const Reason route = groups.get(group).reason();
    return ways == 0 && kernel_carries_on(route) ? route : Reason::punt_reverse_path;
}

inline uint32_t mtu_of(const Adjacency& adjacency, const IpPacket& packet) {
    return packet.is_ipv6 ? adjacency.mtu6 : adjacency.mtu;
}
// ingress: PortId.
inline Reason check_adjacency(const Adjacency& adjacency, const IpPacket& packet, uint16_t ingress) {
    if (adjacency.reason != Reason::forwarded) {
        return adjacency.reason;
    }
    if (packet.length > mtu_of(adjacency, packet)) {
        return Reason::punt_too_big;
    }
    return adjacency.port == ingress ? Reason::punt_hairpin : Reason::forwarded;
}

}  // namespace millrace::dataplane
