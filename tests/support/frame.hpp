// SPDX-License-Identifier: BSD-3-Clause
// Frames for tests, built in layers from the outside in:
//
//     Frame().ethernet().ipv4({.ttl = 1}).udp({.destination = 53}).payload(32).bytes()
//
// Lengths, next-protocol fields and checksums are computed unless a field forces another value. Defaults
// are documentation addresses (RFC 5737, RFC 3849) and locally administered MAC addresses. Fields are in
// host order, and in network order in the bytes that come out.
#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "millrace/types.hpp"

namespace millrace::test {

using Bytes = std::vector<uint8_t>;

inline constexpr MacAddress router_mac{{0x02, 0, 0, 0, 0, 0x01}};
inline constexpr MacAddress host_mac{{0x02, 0, 0, 0, 0, 0x02}};

enum class EtherType : uint16_t {
    ipv4 = 0x0800,
    arp = 0x0806,
    vlan = 0x8100,
    ipv6 = 0x86dd,
    mpls = 0x8847,
    pppoe = 0x8864,
    qinq = 0x88a8,
    lldp = 0x88cc
};
enum class Protocol : uint8_t {
    hop_by_hop = 0,
    icmp = 1,
    tcp = 6,
    udp = 17,
    routing = 43,
    fragment = 44,
    gre = 47,
    esp = 50,
    authentication = 51,
    icmpv6 = 58,
    none = 59,
    destination_options = 60,
    ospf = 89,
    mobility = 135,
    hip = 139,
    shim6 = 140
};

// Throws std::bad_optional_access on a typing error in a test.
inline IpAddress address(std::string_view text) {
    return IpAddress::parse(text).value();
}

// RFC 1071. Start with the sum of a pseudo-header, or 0. Returns the value to store, host order.
inline uint32_t checksum_add(uint32_t sum, std::span<const uint8_t> data) {
    for (size_t i = 0; i < data.size(); ++i) {
        sum += i % 2 == 0 ? uint32_t{data[i]} << 8 : data[i];
        sum = (sum & 0xffff) + (sum >> 16);
    }
    return sum;
}
inline uint16_t checksum(std::span<const uint8_t> data, uint32_t sum = 0) {
    return static_cast<uint16_t>(~checksum_add(sum, data));
}

struct Ethernet {
    MacAddress destination = router_mac;
    MacAddress source = host_mac;
    std::optional<EtherType> type = {};  // none = what follows; a payload has to say it
};
struct Vlan {
    uint16_t id = 100;
    uint8_t priority = 0;
    EtherType tag = EtherType::vlan;     // the tag's own ethertype
    std::optional<EtherType> type = {};  // what is in it
};
struct Ipv4 {
    IpAddress source = address("192.0.2.1");
    IpAddress destination = address("198.51.100.1");
    uint8_t ttl = 64;
    uint8_t tos = 0;
    uint16_t id = 1;
    bool dont_fragment = false;
    bool more_fragments = false;
    uint16_t fragment_offset = 0;  // in units of 8 bytes
    Bytes options = {};            // padded with zeros to a multiple of 4
    std::optional<Protocol> protocol = {};
    std::optional<uint8_t> version = {};
    std::optional<uint8_t> ihl = {};  // in units of 4 bytes
    std::optional<uint16_t> total_length = {};
    std::optional<uint16_t> header_checksum = {};
};
struct Ipv6 {
    IpAddress source = address("2001:db8:1::1");
    IpAddress destination = address("2001:db8:2::1");
    uint8_t hop_limit = 64;
    uint8_t traffic_class = 0;
    uint32_t flow_label = 0;
    std::optional<Protocol> next_header = {};
    std::optional<uint8_t> version = {};
    std::optional<uint16_t> payload_length = {};
};
// Any IPv6 extension header: body is what follows the next-header and length bytes, padded with zeros to a
// multiple of 8 in all. The length byte is in units of 8 bytes past the first 8, of 4 past the first 8 for
// AH (RFC 4302 2.2), and reserved (0) for the fragment header (RFC 8200 4.5).
struct Extension {
    Protocol type = Protocol::destination_options;
    Bytes body = {1, 4, 0, 0, 0, 0};  // PadN
    std::optional<Protocol> next_header = {};
};
struct Udp {
    uint16_t source = 10000;
    uint16_t destination = 20000;
    std::optional<uint16_t> length = {};
    std::optional<uint16_t> sum = {};
};
struct Tcp {
    uint16_t source = 10000;
    uint16_t destination = 20000;
    uint32_t sequence = 1;
    uint32_t acknowledgement = 0;
    uint8_t flags = 0x02;  // SYN
    uint16_t window = 65535;
    std::optional<uint16_t> sum = {};
};
// ICMP or ICMPv6, by the layer around it.
struct Icmp {
    uint8_t type = 8;  // echo request (IPv4); 128 for IPv6
    uint8_t code = 0;
    uint32_t rest = 0x00010001;  // identifier and sequence number, or MTU, or zero
    std::optional<uint16_t> sum = {};
};
struct Payload {
    Bytes data;
};

// The body of an IPv6 fragment header (RFC 8200 4.5). Offset in units of 8 bytes.
inline Extension ipv6_fragment(uint16_t offset, bool more, uint32_t id = 1) {
    const auto field = static_cast<uint16_t>(offset << 3 | (more ? 1 : 0));
    return {.type = Protocol::fragment,
            .body = {static_cast<uint8_t>(field >> 8), static_cast<uint8_t>(field),
                     static_cast<uint8_t>(id >> 24), static_cast<uint8_t>(id >> 16),
                     static_cast<uint8_t>(id >> 8), static_cast<uint8_t>(id)}};
}

class Frame {
  public:
    using Layer = std::variant<Ethernet, Vlan, Ipv4, Ipv6, Extension, Udp, Tcp, Icmp, Payload>;

    Frame& ethernet(Ethernet h = {}) { return add(h); }
    Frame& vlan(Vlan h = {}) { return add(h); }
    Frame& ipv4(Ipv4 h = {}) { return add(std::move(h)); }
    Frame& ipv6(Ipv6 h = {}) { return add(h); }
    Frame& extension(Extension h = {}) { return add(std::move(h)); }
    Frame& udp(Udp h = {}) { return add(h); }
    Frame& tcp(Tcp h = {}) { return add(h); }
    Frame& icmp(Icmp h = {}) { return add(h); }
    Frame& payload(Bytes data) { return add(Payload{std::move(data)}); }
    // size bytes that count up, so that a shifted copy shows.
    Frame& payload(size_t size) {
        Bytes data(size);
        for (size_t i = 0; i < size; ++i) {
            data[i] = static_cast<uint8_t>(i);
        }
        return payload(std::move(data));
    }
    // Zero bytes after everything, as a switch pads to the Ethernet minimum of 60.
    Frame& pad(size_t whole) {
        pad_ = whole;
        return *this;
    }

    [[nodiscard]] Bytes bytes() const {
        Bytes out;
        for (size_t i = layers_.size(); i-- > 0;) {
            Bytes header = std::visit([&](const auto& h) { return encode(h, i, out); }, layers_[i]);
            out.insert(out.begin(), header.begin(), header.end());
        }
        out.resize(std::max(out.size(), pad_));
        return out;
    }

  private:
    template <class H>
    Frame& add(H h) {
        layers_.emplace_back(std::move(h));
        return *this;
    }

    static void put8(Bytes& b, unsigned v) { b.push_back(static_cast<uint8_t>(v)); }
    static void put16(Bytes& b, unsigned v) {
        put8(b, v >> 8);
        put8(b, v);
    }
    static void put32(Bytes& b, uint32_t v) {
        put16(b, v >> 16);
        put16(b, v);
    }
    static void put(Bytes& b, std::span<const uint8_t> v) { b.insert(b.end(), v.begin(), v.end()); }
    static void set16(Bytes& b, size_t at, unsigned v) {
        b[at] = static_cast<uint8_t>(v >> 8);
        b[at + 1] = static_cast<uint8_t>(v);
    }

    // What the layer after i is called in the header before it.
    [[nodiscard]] uint16_t ethertype_after(size_t i, std::optional<EtherType> forced) const {
        const Layer* next = i + 1 < layers_.size() ? &layers_[i + 1] : nullptr;
        if (forced) {
            return raw(*forced);
        }
        if (next != nullptr && std::holds_alternative<Vlan>(*next)) {
            return raw(std::get<Vlan>(*next).tag);
        }
        return raw(next != nullptr && std::holds_alternative<Ipv6>(*next) ? EtherType::ipv6
                                                                          : EtherType::ipv4);
    }
    [[nodiscard]] uint8_t protocol_after(size_t i, bool v6, std::optional<Protocol> forced) const {
        const Layer* next = i + 1 < layers_.size() ? &layers_[i + 1] : nullptr;
        if (forced) {
            return raw(*forced);
        }
        if (next == nullptr || std::holds_alternative<Payload>(*next)) {
            return raw(v6 ? Protocol::none : Protocol::udp);
        }
        if (std::holds_alternative<Extension>(*next)) {
            return raw(std::get<Extension>(*next).type);
        }
        if (std::holds_alternative<Tcp>(*next)) {
            return raw(Protocol::tcp);
        }
        if (std::holds_alternative<Icmp>(*next)) {
            return raw(v6 ? Protocol::icmpv6 : Protocol::icmp);
        }
        return raw(Protocol::udp);
    }

    // Checksum over header, rest and the pseudo-header of the IP layer around i (RFC 768, 9293, 4443 2.3).
    [[nodiscard]] uint16_t l4_checksum(size_t i, Protocol protocol, Bytes segment, const Bytes& rest) const {
        put(segment, rest);
        while (i-- > 0) {
            const auto* v4 = std::get_if<Ipv4>(&layers_[i]);
            const auto* v6 = std::get_if<Ipv6>(&layers_[i]);
            if (v4 == nullptr && v6 == nullptr) {
                continue;
            }
            if (v4 != nullptr && protocol == Protocol::icmp) {
                return checksum(segment);
            }
            const IpAddress& source = v4 != nullptr ? v4->source : v6->source;
            const IpAddress& destination = v4 != nullptr ? v4->destination : v6->destination;
            const bool icmp6 = v6 != nullptr && protocol == Protocol::icmp;
            Bytes pseudo;
            put(pseudo, std::span(source.bytes).first(source.size()));
            put(pseudo, std::span(destination.bytes).first(destination.size()));
            put32(pseudo, static_cast<uint32_t>(segment.size()));
            put32(pseudo, raw(icmp6 ? Protocol::icmpv6 : protocol));
            return checksum(segment, checksum_add(0, pseudo));
        }
        return checksum(segment);
    }
    [[nodiscard]] bool inside_ipv6(size_t i) const {
        while (i-- > 0) {
            if (std::holds_alternative<Ipv6>(layers_[i]) || std::holds_alternative<Ipv4>(layers_[i])) {
                return std::holds_alternative<Ipv6>(layers_[i]);
            }
        }
        return false;
    }

    [[nodiscard]] Bytes encode(const Ethernet& h, size_t i, const Bytes&) const {
        Bytes b;
        put(b, h.destination.bytes);
        put(b, h.source.bytes);
        put16(b, ethertype_after(i, h.type));
        return b;
    }
    [[nodiscard]] Bytes encode(const Vlan& h, size_t i, const Bytes&) const {
        Bytes b;
        put16(b, static_cast<unsigned>(h.priority << 13 | h.id));
        put16(b, ethertype_after(i, h.type));
        return b;
    }
    [[nodiscard]] Bytes encode(const Ipv4& h, size_t i, const Bytes& rest) const {
        Bytes options = h.options;
        options.resize((options.size() + 3) / 4 * 4);
        const auto size = static_cast<unsigned>(20 + options.size());
        Bytes b;
        put8(b, static_cast<unsigned>(h.version.value_or(4) << 4 | h.ihl.value_or(size / 4)));
        put8(b, h.tos);
        put16(b, h.total_length.value_or(static_cast<uint16_t>(size + rest.size())));
        put16(b, h.id);
        put16(b, (h.dont_fragment ? 0x4000U : 0U) | (h.more_fragments ? 0x2000U : 0U) | h.fragment_offset);
        put8(b, h.ttl);
        put8(b, protocol_after(i, false, h.protocol));
        put16(b, 0);
        put(b, std::span(h.source.bytes).first(4));
        put(b, std::span(h.destination.bytes).first(4));
        put(b, options);
        set16(b, 10, h.header_checksum.value_or(checksum(b)));
        return b;
    }
    [[nodiscard]] Bytes encode(const Ipv6& h, size_t i, const Bytes& rest) const {
        Bytes b;
        put32(b, uint32_t{h.version.value_or(6)} << 28 | uint32_t{h.traffic_class} << 20 | h.flow_label);
        put16(b, h.payload_length.value_or(static_cast<uint16_t>(rest.size())));
        put8(b, protocol_after(i, true, h.next_header));
        put8(b, h.hop_limit);
        put(b, h.source.bytes);
        put(b, h.destination.bytes);
        return b;
    }
    [[nodiscard]] Bytes encode(const Extension& h, size_t i, const Bytes&) const {
        Bytes body = h.body;
        body.resize((body.size() + 2 + 7) / 8 * 8 - 2);
        unsigned length = h.type == Protocol::fragment ? 0 : static_cast<unsigned>(body.size() + 2) / 8 - 1;
        if (h.type == Protocol::authentication) {
            length *= 2;
        }
        Bytes b;
        put8(b, protocol_after(i, true, h.next_header));
        put8(b, length);
        put(b, body);
        return b;
    }
    [[nodiscard]] Bytes encode(const Udp& h, size_t i, const Bytes& rest) const {
        Bytes b;
        put16(b, h.source);
        put16(b, h.destination);
        put16(b, h.length.value_or(static_cast<uint16_t>(8 + rest.size())));
        put16(b, 0);
        const uint16_t sum = l4_checksum(i, Protocol::udp, b, rest);
        set16(b, 6, h.sum.value_or(sum == 0 ? 0xffff : sum));
        return b;
    }
    [[nodiscard]] Bytes encode(const Tcp& h, size_t i, const Bytes& rest) const {
        Bytes b;
        put16(b, h.source);
        put16(b, h.destination);
        put32(b, h.sequence);
        put32(b, h.acknowledgement);
        put8(b, 5U << 4);
        put8(b, h.flags);
        put16(b, h.window);
        put32(b, 0);
        set16(b, 16, h.sum.value_or(l4_checksum(i, Protocol::tcp, b, rest)));
        return b;
    }
    [[nodiscard]] Bytes encode(const Icmp& h, size_t i, const Bytes& rest) const {
        Bytes b;
        put8(b, inside_ipv6(i) && h.type == 8 ? 128 : h.type);
        put8(b, h.code);
        put16(b, 0);
        put32(b, h.rest);
        set16(b, 2, h.sum.value_or(l4_checksum(i, Protocol::icmp, b, rest)));
        return b;
    }
    [[nodiscard]] static Bytes encode(const Payload& h, size_t, const Bytes&) { return h.data; }

    std::vector<Layer> layers_;
    size_t pad_ = 0;
};

}  // namespace millrace::test
