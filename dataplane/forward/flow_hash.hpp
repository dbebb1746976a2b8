// SPDX-License-Identifier: BSD-3-Clause
// Which member of a nexthop group a packet takes: the same one for all packets of a flow (RFC 2992), in both
// directions, and for the ICMP errors about them. Addresses, protocol and ports; for fragments, and where the
// ports can't be seen at a fixed place, layer 3 alone, so that all fragments of a datagram take one path.
//
// An error quotes the packet that it is about (RFC 792, RFC 4443 2.4). Hashed over that packet, and with both
// ends of a flow counting alike, it meets the flow's own member, whichever way the quoted packet was going: a
// server behind an anycast address hears of its own path MTU (RFC 7690). The kernel does so too
// (ip_multipath_l3_keys).
#pragma once

#include <netinet/in.h>

#include <cstdint>
#include <cstring>

#include "dataplane/forward/ip_input.hpp"

#include <rte_hash_crc.h>

namespace millrace::dataplane {

inline bool has_ports(uint8_t protocol) {
    return protocol == IPPROTO_TCP || protocol == IPPROTO_UDP || protocol == IPPROTO_SCTP ||
           protocol == IPPROTO_UDPLITE || protocol == IPPROTO_DCCP;
}

// CRC-32C mixes its low bits less than a bucket mask wants when only ports differ; one multiplication spreads
// them.
inline uint32_t finish_hash(uint64_t ends) {
    return static_cast<uint32_t>(ends * 0x9e3779b97f4a7c15ULL >> 32);
}

// An IP header and so many bytes of what follows it, itself included.
struct FlowHeader {
    const uint8_t* ip;
    uint32_t length;
    bool is_ipv6;

    [[nodiscard]] uint32_t header() const { return is_ipv6 ? ipv6_header : (ip[0] & 0xfU) * 4; }
    [[nodiscard]] uint8_t protocol() const { return is_ipv6 ? ip[6] : ip[9]; }
    // More Fragments or an offset (RFC 791 3.1); an IPv6 fragment header is another protocol number anyway.
    [[nodiscard]] bool fragment() const { return !is_ipv6 && (read16(ip + 6) & 0x3fff) != 0; }
};

// One end of a flow. address: 4 or 16 bytes; port: as it is in memory, or 0.
inline uint32_t hash_end(const uint8_t* address, bool is_ipv6, uint16_t port, uint32_t seed) {
    if (!is_ipv6) {
        uint32_t word = 0;
        std::memcpy(&word, address, sizeof(word));
        return rte_hash_crc_8byte(uint64_t{port} << 32 | word, seed);
    }
    uint64_t words[2];
    std::memcpy(words, address, sizeof(words));
    return rte_hash_crc_2byte(port, rte_hash_crc_8byte(words[1], rte_hash_crc_8byte(words[0], seed)));
}

inline uint32_t hash_flow(const FlowHeader& flow) {
    const uint32_t header = flow.header();
    const uint8_t protocol = flow.protocol();
    uint16_t ports[2] = {0, 0};
    if (has_ports(protocol) && !flow.fragment() && flow.length >= header + sizeof(ports)) {
        std::memcpy(ports, flow.ip + header, sizeof(ports));
    }
    const uint32_t size = flow.is_ipv6 ? 16 : ipv4_address;
    const uint8_t* source = flow.ip + (flow.is_ipv6 ? 8 : 12);
    // A sum is the same whichever end comes first.
    return finish_hash(uint64_t{hash_end(source, flow.is_ipv6, ports[0], protocol)} +
                       hash_end(source + size, flow.is_ipv6, ports[1], protocol));
}

inline bool is_icmp_error(const FlowHeader& packet, uint8_t type) {
    // RFC 4443 2.1 keeps 0 to 127 for errors; those that are defined quote a packet. RFC 792 and RFC 1122
    // 3.2.2 name IPv4's: unreachable, source quench, redirect, time exceeded, parameter problem.
    return packet.is_ipv6 ? type >= 1 && type <= 4
                          : type == 3 || type == 4 || type == 5 || type == 11 || type == 12;
}

// The packet that an ICMP error quotes; any other packet itself.
inline FlowHeader flow_of(const FlowHeader& packet) {
    constexpr uint32_t icmp_header = 8;
    const uint32_t begin = packet.header() + icmp_header;
    const uint32_t least = packet.is_ipv6 ? ipv6_header : ipv4_header;
    const uint8_t icmp = packet.is_ipv6 ? uint8_t{IPPROTO_ICMPV6} : uint8_t{IPPROTO_ICMP};
    if (packet.protocol() != icmp || packet.fragment() || packet.length < begin + least ||
        !is_icmp_error(packet, packet.ip[packet.header()])) {
        return packet;
    }
    const FlowHeader quoted{packet.ip + begin, packet.length - begin, packet.is_ipv6};
    const bool whole = (quoted.ip[0] >> 4) == (packet.is_ipv6 ? 6 : 4) && quoted.header() >= least;
    return whole ? quoted : packet;
}

// ip: a header that check_ipv4 or check_ipv6 let through; packet: what it found.
inline uint32_t flow_hash(const uint8_t* ip, const IpPacket& packet) {
    return hash_flow(flow_of({ip, packet.length, packet.is_ipv6}));
}

}  // namespace millrace::dataplane
