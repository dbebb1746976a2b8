// SPDX-License-Identifier: BSD-3-Clause
#include "tests/fuzz/classifier_model.hpp"

#include <algorithm>

namespace millrace::test {
namespace {

using Bytes = std::span<const uint8_t>;
using Reason = millrace_steer_reason;

IpAddress address(const char* text) {
    return IpAddress::parse(text).value();
}
Prefix net(const char* text) {
    return Prefix::parse(text).value();
}

unsigned word(Bytes b, size_t at) {
    return static_cast<unsigned>(b[at]) << 8 | b[at + 1];
}

bool in(const std::vector<Prefix>& prefixes, const IpAddress& a) {
    return std::any_of(prefixes.begin(), prefixes.end(),
                       [&](const Prefix& p) { return p.address.family == a.family && p.contains(a); });
}

bool is_own(const IpAddress& a) {
    const auto& own = model_own_addresses();
    return std::find(own.begin(), own.end(), a) != own.end();
}

bool has_prefix(const IpAddress& a) {
    return in(model_policy().prefixes, a);
}

bool has_protocol(unsigned protocol) {
    const auto& protocols = model_policy().protocols;
    return std::find(protocols.begin(), protocols.end(), protocol) != protocols.end();
}

bool has_port(unsigned protocol, unsigned port) {
    const auto& ports = model_policy().l4_ports;
    return std::find(ports.begin(), ports.end(),
                     std::pair<uint8_t, uint16_t>(static_cast<uint8_t>(protocol),
                                                  static_cast<uint16_t>(port))) != ports.end();
}

constexpr unsigned tcp = 6;
constexpr unsigned udp = 17;

// A datagram to a DHCP client: the first bytes of its UDP header are there, and say so.
bool to_client(Bytes header, unsigned port) {
    return header.size() >= 4 && word(header, 2) == port;
}

// The policy's ports. rest: from the header of the protocol on.
Reason by_port(unsigned protocol, Bytes rest) {
    if (protocol != tcp && protocol != udp) {
        return MILLRACE_STEER_REDIRECT;
    }
    if (rest.size() < 4) {
        return MILLRACE_STEER_TRUNCATED;
    }
    return has_port(protocol, word(rest, 0)) || has_port(protocol, word(rest, 2)) ? MILLRACE_STEER_KEEP_L4PORT
                                                                                  : MILLRACE_STEER_REDIRECT;
}

Reason ipv4(Bytes p, uint32_t flags) {
    constexpr size_t header = 20;
    if (p.size() < header) {
        return MILLRACE_STEER_TRUNCATED;
    }
    if (p[0] >> 4 != 4 || (p[0] & 15) < 5) {
        return MILLRACE_STEER_IP_HEADER;
    }
    if ((p[0] & 15) > 5) {
        return MILLRACE_STEER_IP_OPTIONS;
    }
    const IpAddress source = IpAddress::from_bytes(Family::ipv4, &p[12]);
    const IpAddress destination = IpAddress::from_bytes(Family::ipv4, &p[16]);
    for (const IpAddress& a : {source, destination}) {
        static const std::vector<Prefix> martians = {net("0.0.0.0/8"), net("127.0.0.0/8"),
                                                     net("169.254.0.0/16"), net("224.0.0.0/4"),
                                                     net("240.0.0.0/4")};
        if (in(martians, a)) {
            return MILLRACE_STEER_MARTIAN;
        }
    }
    if (is_own(destination)) {
        return MILLRACE_STEER_LOCAL;
    }
    if (is_own(source)) {
        return MILLRACE_STEER_MARTIAN;
    }
    if (p[8] < 2) {
        return MILLRACE_STEER_TTL;
    }
    const unsigned protocol = p[9];
    const bool more = (p[6] & 0x20) != 0;
    const unsigned offset = word(p, 6) & 0x1fff;
    const Bytes rest = p.subspan(header);
    if (protocol == udp && offset == 0 && to_client(rest, 68)) {
        return MILLRACE_STEER_DHCP;
    }
    if ((flags & MILLRACE_FLAG_KEEP_ALL4) != 0) {
        return MILLRACE_STEER_KEEP_FAMILY;
    }
    if ((flags & MILLRACE_FLAG_KEEP4) != 0 && (has_prefix(source) || has_prefix(destination))) {
        return MILLRACE_STEER_KEEP_PREFIX;
    }
    if ((flags & MILLRACE_FLAG_KEEP_PROTOCOL) != 0 && has_protocol(protocol)) {
        return MILLRACE_STEER_KEEP_PROTOCOL;
    }
    if ((flags & MILLRACE_FLAG_KEEP_L4) == 0) {
        return MILLRACE_STEER_REDIRECT;
    }
    if (more || offset != 0) {
        return protocol == tcp || protocol == udp ? MILLRACE_STEER_KEEP_L4PORT : MILLRACE_STEER_REDIRECT;
    }
    return by_port(protocol, rest);
}

Reason ipv6(Bytes p, uint32_t flags) {
    constexpr size_t header = 40;
    constexpr unsigned fragment = 44;
    if (p.size() < header) {
        return MILLRACE_STEER_TRUNCATED;
    }
    if (p[0] >> 4 != 6) {
        return MILLRACE_STEER_IP_HEADER;
    }
    const unsigned next = p[6];
    const Bytes rest = p.subspan(header);
    if (next == 58) {
        if (rest.empty()) {
            return MILLRACE_STEER_TRUNCATED;
        }
        const unsigned type = rest[0];
        if ((type >= 130 && type <= 137) || type == 143 || (type >= 151 && type <= 153)) {
            return MILLRACE_STEER_ND;
        }
    }
    if (next == 0) {
        return MILLRACE_STEER_IP_OPTIONS;
    }
    const IpAddress source = IpAddress::from_bytes(Family::ipv6, &p[8]);
    const IpAddress destination = IpAddress::from_bytes(Family::ipv6, &p[24]);
    for (const IpAddress& a : {source, destination}) {
        static const std::vector<Prefix> martians = {net("fe80::/10"), net("ff00::/8"), net("::/80")};
        if (in(martians, a)) {
            return MILLRACE_STEER_MARTIAN;
        }
    }
    if (is_own(destination)) {
        return MILLRACE_STEER_LOCAL;
    }
    if (p[7] < 2) {
        return MILLRACE_STEER_TTL;
    }
    const bool first_fragment = next == fragment && rest.size() >= 8 && rest[0] == udp && word(rest, 2) < 8;
    if ((next == udp && to_client(rest, 546)) || (first_fragment && to_client(rest.subspan(8), 546))) {
        return MILLRACE_STEER_DHCP;
    }
    if ((flags & MILLRACE_FLAG_KEEP_ALL6) != 0) {
        return MILLRACE_STEER_KEEP_FAMILY;
    }
    if ((flags & MILLRACE_FLAG_KEEP6) != 0 && (has_prefix(source) || has_prefix(destination))) {
        return MILLRACE_STEER_KEEP_PREFIX;
    }
    const std::initializer_list<unsigned> extensions = {43, 44, 51, 60, 135, 139, 140};
    const bool extended = std::find(extensions.begin(), extensions.end(), next) != extensions.end();
    if ((flags & MILLRACE_FLAG_KEEP_PROTOCOL) != 0 && (extended || has_protocol(next))) {
        return MILLRACE_STEER_KEEP_PROTOCOL;
    }
    if ((flags & MILLRACE_FLAG_KEEP_L4) == 0) {
        return MILLRACE_STEER_REDIRECT;
    }
    return extended ? MILLRACE_STEER_KEEP_L4PORT : by_port(next, rest);
}

}  // namespace

const KeepConfig& model_policy() {
    static const KeepConfig policy = {
        .prefixes = {net("203.0.113.0/25"), net("10.0.0.0/8"), net("192.0.2.77/32"), net("2001:db8:77::/48"),
                     net("2001:db8:1::99/128")},
        .protocols = {1, 47, 58, 89, 255},
        .l4_ports = {{6, 179}, {6, 65535}, {17, 53}, {17, 64}}};
    return policy;
}

const std::vector<IpAddress>& model_own_addresses() {
    static const std::vector<IpAddress> addresses = {address("192.0.2.1"), address("10.0.0.1"),
                                                     address("2001:db8::1"), address("2001:db8:77::1")};
    return addresses;
}

millrace_steer_reason model(std::span<const uint8_t> frame, uint32_t flags) {
    if ((flags & MILLRACE_FLAG_ENABLED) == 0) {
        return MILLRACE_STEER_DISABLED;
    }
    if (frame.size() > model_max_frame) {
        return MILLRACE_STEER_TOO_LONG;
    }
    if (!std::equal(model_mac.bytes.begin(), model_mac.bytes.end(), frame.begin())) {
        return MILLRACE_STEER_NOT_OUR_MAC;
    }
    const unsigned type = word(frame, 12);
    const Bytes packet = frame.subspan(14);
    return type == 0x0800   ? ipv4(packet, flags)
           : type == 0x86dd ? ipv6(packet, flags)
                            : MILLRACE_STEER_NOT_IP;
}

}  // namespace millrace::test
