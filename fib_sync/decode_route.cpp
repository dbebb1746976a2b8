// SPDX-License-Identifier: BSD-3-Clause
#include "fib_sync/decode_route.hpp"

#include <linux/rtnetlink.h>
#include <sys/socket.h>

#include <algorithm>
#include <utility>

namespace millrace::sync {
namespace {

constexpr int64_t ms_a_tick = 10;  // of rta_expires, which is in 1/100 s (USER_HZ)

// Lightweight tunnels and label swapping: the packet that leaves is not the one that came.
bool is_encapsulation(uint16_t type) {
    return type == RTA_ENCAP || type == RTA_ENCAP_TYPE || type == RTA_NEWDST;
}

// struct rtvia: family in host order, then the address.
std::optional<IpAddress> via_of(Bytes value) {
    const auto family = read<uint16_t>(value);
    if (!family) {
        return std::nullopt;
    }
    const auto address = address_of(value.subspan(sizeof(uint16_t)));
    if (!address || *family != (address->family == Family::ipv4 ? AF_INET : AF_INET6)) {
        return std::nullopt;
    }
    return address;
}

uint32_t mix(uint32_t seed, const Attribute& a) {
    const size_t h =
        hash_bytes(a.value.data(), a.value.size(), hash_bytes(&a.type, sizeof(a.type), seed + 1));
    return static_cast<uint32_t>(h ^ (h >> 32));
}

// ip_dst_mtu_maybe_forward: a route's own MTU limits what is forwarded over it. nullopt = malformed.
std::optional<bool> has_mtu(Bytes metrics) {
    AttributeReader reader(metrics);
    bool found = false;
    while (const auto a = reader.next()) {
        found = found || a->type == RTAX_MTU;
    }
    return reader.malformed() ? std::nullopt : std::optional(found);
}

// The attributes of one rtnexthop. False = malformed.
bool read_hop(Bytes attributes, Path& path, bool& encapsulation) {
    AttributeReader reader(attributes);
    while (const auto a = reader.next()) {
        if (a->type == RTA_GATEWAY || a->type == RTA_VIA) {
            path.gateway = a->type == RTA_VIA ? via_of(a->value) : address_of(a->value);
            if (!path.gateway) {
                return false;
            }
        } else if (is_encapsulation(a->type)) {
            encapsulation = true;
        }
    }
    return !reader.malformed();
}

bool read_multipath(Bytes value, RouteMessage& m) {
    while (!value.empty()) {
        const auto hop = read<rtnexthop>(value);
        if (!hop || hop->rtnh_len < sizeof(rtnexthop) || hop->rtnh_len > value.size()) {
            return false;
        }
        Path path{.gateway = std::nullopt,
                  .ifindex = Ifindex{static_cast<uint32_t>(hop->rtnh_ifindex)},
                  .weight = hop->rtnh_hops + 1U,
                  .flags = hop->rtnh_flags};
        if (!read_hop(value.first(hop->rtnh_len).subspan(sizeof(rtnexthop)), path, m.encapsulation)) {
            return false;
        }
        m.paths.push_back(path);
        value = after(value, hop->rtnh_len);
    }
    return true;
}

struct Reading {
    RouteMessage& m;
    Path single;
    IpAddress destination;
    IpAddress source;
    bool has_single = false;
    bool has_multipath = false;
};

// False = malformed. address: its family is the route's.
bool read_address(Bytes value, IpAddress& address) {
    const auto found = address_of(value);
    if (!found || found->family != address.family) {
        return false;
    }
    address = *found;
    return true;
}

// The name of the attribute when its value is malformed, else empty.
std::string_view read_attribute(const Attribute& a, Reading& r) {
    const auto number = read<uint32_t>(a.value);
    switch (a.type) {
        case RTA_DST:
            return read_address(a.value, r.destination) ? "" : "RTA_DST";
        case RTA_SRC:
            return read_address(a.value, r.source) ? "" : "RTA_SRC";
        case RTA_CACHEINFO: {
            const auto info = read<rta_cacheinfo>(a.value);
            r.m.lifetime_ms = info ? int64_t{info->rta_expires} * ms_a_tick : 0;
            return info ? "" : "RTA_CACHEINFO";
        }
        case RTA_TABLE:
            r.m.table = TableId{number.value_or(0)};
            return number ? "" : "RTA_TABLE";
        case RTA_PRIORITY:
            r.m.metric = number.value_or(0);
            return number ? "" : "RTA_PRIORITY";
        case RTA_NH_ID:
            r.m.nexthop = NexthopId{number.value_or(0)};
            return number ? "" : "RTA_NH_ID";
        case RTA_OIF:
            r.single.ifindex = Ifindex{number.value_or(0)};
            r.has_single = true;
            return number ? "" : "RTA_OIF";
        case RTA_GATEWAY:
        case RTA_VIA:
            r.single.gateway = a.type == RTA_VIA ? via_of(a.value) : address_of(a.value);
            r.has_single = true;
            return r.single.gateway ? "" : a.type == RTA_VIA ? "RTA_VIA" : "RTA_GATEWAY";
        case RTA_MULTIPATH:
            r.has_multipath = true;
            return read_multipath(a.value, r.m) ? "" : "RTA_MULTIPATH";
        case RTA_PREF:
            r.m.preference = read<uint8_t>(a.value).value_or(0);
            return a.value.empty() ? "RTA_PREF" : "";
        case RTA_METRICS: {
            const auto mtu = has_mtu(a.value);
            r.m.unsupported = r.m.unsupported || mtu.value_or(false);
            r.m.rest = mix(r.m.rest, a);
            return mtu ? "" : "RTA_METRICS";
        }
        case RTA_PREFSRC:
        case RTA_FLOW:
            r.m.rest = mix(r.m.rest, a);
            return {};
        default:
            r.m.encapsulation = r.m.encapsulation || is_encapsulation(a.type);
            return {};
    }
}

}  // namespace

Result<std::optional<Message>> decode_route(std::string_view name, bool removed, uint16_t flags,
                                            Bytes payload) {
    const auto header = read<rtmsg>(payload);
    if (!header) {
        return bad(name, "header");
    }
    const bool ipv4 = header->rtm_family == AF_INET;
    if ((!ipv4 && header->rtm_family != AF_INET6) || (header->rtm_flags & RTM_F_CLONED) != 0) {
        return std::nullopt;
    }
    RouteMessage m;
    m.removed = removed;
    m.replace = (flags & NLM_F_REPLACE) != 0;
    m.append = (flags & NLM_F_APPEND) != 0;
    m.exclusive = (flags & NLM_F_EXCL) != 0;
    m.table = TableId{header->rtm_table};
    m.tos = header->rtm_tos;
    m.type = header->rtm_type;
    m.protocol = header->rtm_protocol;
    m.scope = header->rtm_scope;
    m.flags = header->rtm_flags;
    if (std::max(header->rtm_dst_len, header->rtm_src_len) > (ipv4 ? 32 : 128)) {
        return bad(name, "prefix length");
    }

    Reading r{.m = m, .single = {}, .destination = {}, .source = {}};
    r.destination.family = r.source.family = ipv4 ? Family::ipv4 : Family::ipv6;
    r.single.flags = static_cast<uint8_t>(header->rtm_flags & 0xffU);
    AttributeReader reader(after(payload, sizeof(rtmsg)));
    while (const auto a = reader.next()) {
        if (const auto wrong = read_attribute(*a, r); !wrong.empty()) {
            return bad(name, wrong);
        }
    }
    if (reader.malformed()) {
        return bad(name, "attribute");
    }
    if (r.has_single && !r.has_multipath) {
        m.paths.push_back(r.single);
    }
    m.prefix = Prefix::make(r.destination, header->rtm_dst_len);
    if (header->rtm_src_len != 0) {
        m.source = Prefix::make(r.source, header->rtm_src_len);
    }
    return Message(std::move(m));
}

}  // namespace millrace::sync
