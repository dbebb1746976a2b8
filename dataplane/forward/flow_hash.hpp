// SPDX-License-Identifier: BSD-3-Clause
// Which member of a nexthop group a packet takes: the same one for all packets of a flow (RFC 2992).
// Addresses, protocol and ports; for fragments, and where the ports can't be seen at a fixed place, layer 3
// alone, so that all fragments of a datagram take one path.
#pragma once

#include <netinet/in.h>

#include <array>
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
inline uint32_t finish_hash(uint32_t crc) {
    const uint64_t product = uint64_t{crc} * 0x9e3779b97f4a7c15ULL;
    return static_cast<uint32_t>(product >> 32);
}

// ip: a header that check_ipv4 or check_ipv6 let through; packet: what it found.
inline uint32_t flow_hash(const uint8_t* ip, const IpPacket& packet) {
    const uint32_t header = packet.is_ipv6 ? ipv6_header : ipv4_header;
    const uint8_t protocol = packet.is_ipv6 ? ip[6] : ip[9];
    // More Fragments or an offset (RFC 791 3.1); an IPv6 fragment header is another protocol number anyway.
    const bool fragment = !packet.is_ipv6 && (read16(ip + 6) & 0x3fff) != 0;
    // Source and destination, eight bytes at a time; a header in a frame is not aligned to that.
    std::array<uint64_t, 4> addresses;
    const size_t words = packet.is_ipv6 ? 4 : 1;
    std::memcpy(addresses.data(), packet.is_ipv6 ? ip + 8 : ip + 12, words * sizeof(uint64_t));
    uint32_t crc = rte_hash_crc_1byte(protocol, 0);
    for (size_t i = 0; i < words; ++i) {
        crc = rte_hash_crc_8byte(addresses[i], crc);
    }
    if (!fragment && has_ports(protocol) && packet.length >= header + 4) {
        uint32_t ports = 0;
        std::memcpy(&ports, ip + header, sizeof(ports));
        crc = rte_hash_crc_4byte(ports, crc);
    }
    return finish_hash(crc);
}

}  // namespace millrace::dataplane
