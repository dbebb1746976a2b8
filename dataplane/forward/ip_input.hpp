// SPDX-License-Identifier: BSD-3-Clause
// The checks of an IP packet before it may be forwarded, in the order of RFC 1812 5.2.2 and RFC 8200 3, and
// the rewrite when it is. Nothing here changes a packet that is not forwarded: a punted one goes back as
// received.
#pragma once

#include <netinet/in.h>

#include <bit>
#include <cstdint>
#include <cstring>

#include "millrace/reason.hpp"

namespace millrace::dataplane {

inline constexpr uint32_t ethernet_header = 14;
inline constexpr uint32_t ipv4_header = 20;
inline constexpr uint32_t ipv6_header = 40;
inline constexpr uint32_t ipv4_address = 4;

inline uint16_t read16(const uint8_t* p) {  // network order -> value
    return static_cast<uint16_t>((p[0] << 8) | p[1]);
}

inline uint32_t read32(const uint8_t* p) {  // network order -> value
    uint32_t v = 0;
    std::memcpy(&v, p, sizeof(v));
    return ntohl(v);
}

// What the forwarder needs to know of a packet that passed its checks.
struct IpPacket {
    const uint8_t* destination = nullptr;  // in the frame; 4 or 16 bytes
    uint32_t length = 0;                   // bytes of layer 3; the frame may be longer by padding
    bool is_ipv6 = false;
};

// One's complement sum over the 20 bytes of a header without options, in memory order: 0xffff when the
// checksum is right, on either endianness (RFC 1071 2(B)).
inline bool ipv4_checksum_ok(const uint8_t* header) {
    uint32_t words[5];
    std::memcpy(words, header, sizeof(words));
    uint64_t sum = 0;
    for (const uint32_t w : words) {
        sum += w;
    }
    sum = (sum & 0xffffffff) + (sum >> 32);
    sum = (sum & 0xffff) + (sum >> 16);
    sum = (sum & 0xffff) + (sum >> 16);
    sum = (sum & 0xffff) + (sum >> 16);
    return sum == 0xffff;
}

// ip: the layer-3 header; available: bytes from there to the end of the frame.
inline Reason check_ipv4(const uint8_t* ip, uint32_t available, IpPacket& out) {
    if (available < ipv4_header) {
        return Reason::drop_truncated;  // RFC 1812 5.2.2 (1)
    }
    if ((ip[0] >> 4) != 4) {
        return Reason::drop_ip_version;  // (3)
    }
    if ((ip[0] & 0xf) < 5) {
        return Reason::drop_ip_length;  // (4)
    }
    if ((ip[0] & 0xf) > 5) {
        return Reason::punt_ip_options;  // 5.3.13: the kernel knows them
    }
    if (!ipv4_checksum_ok(ip)) {
        return Reason::drop_ip_checksum;  // (2)
    }
    const uint32_t total = read16(ip + 2);
    if (total < ipv4_header || total > available) {
        return Reason::drop_ip_length;  // (5)
    }
    if (ip[8] <= 1) {
        return Reason::punt_ttl;  // 5.3.1: Time Exceeded is the kernel's to send
    }
    out = {ip + 16, total, false};
    return Reason::forwarded;
}

inline Reason check_ipv6(const uint8_t* ip, uint32_t available, IpPacket& out) {
    if (available < ipv6_header) {
        return Reason::drop_truncated;
    }
    if ((ip[0] >> 4) != 6) {
        return Reason::drop_ip_version;
    }
    if (ip[6] == IPPROTO_HOPOPTS) {
        return Reason::punt_ip_options;  // RFC 8200 4.3; a jumbogram (RFC 2675) is one of these
    }
    const uint32_t total = ipv6_header + read16(ip + 4);
    if (total > available) {
        return Reason::drop_ip_length;
    }
    if (ip[7] <= 1) {
        return Reason::punt_ttl;  // RFC 4443 3.3
    }
    out = {ip + 24, total, true};
    return Reason::forwarded;
}

// TTL - 1 and the checksum that follows from it (RFC 1624 eqn. 3, with the high byte of one word changed by
// one). The carry is folded as the kernel does, so that 0xffff and 0x0000 come out as the kernel's would.
inline void decrement_ttl_ipv4(uint8_t* ip) {
    uint16_t check = 0;
    std::memcpy(&check, ip + 10, sizeof(check));
    constexpr uint32_t one = std::endian::native == std::endian::little ? 0x0001 : 0x0100;
    const uint32_t sum = check + one;
    check = static_cast<uint16_t>(sum + (sum >= 0xffff ? 1 : 0));
    std::memcpy(ip + 10, &check, sizeof(check));
    --ip[8];
}

inline void decrement_hop_limit_ipv6(uint8_t* ip) {
    --ip[7];
}

}  // namespace millrace::dataplane
