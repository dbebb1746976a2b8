// SPDX-License-Identifier: BSD-3-Clause
// Messages for tests: as values with documentation addresses, and as netlink bytes.
#pragma once

#include <linux/if.h>
#include <linux/if_addr.h>
#include <linux/neighbour.h>
#include <linux/nexthop.h>
#include <linux/rtnetlink.h>

#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "fib_sync/decode.hpp"
#include "fib_sync/mirror.hpp"

namespace millrace::sync::test {

inline constexpr Ifindex e0{10};
inline constexpr Ifindex e1{11};
inline constexpr Ifindex wan{20};  // a netdev that is no port

inline IpAddress ip(std::string_view text) {
    return *IpAddress::parse(text);
}
inline Prefix net(std::string_view text) {
    return *Prefix::parse(text);
}
inline MacAddress mac(uint8_t last) {
    return {{2, 0, 0, 0, 0, last}};
}

inline LinkMessage link(Ifindex ifindex, std::string name, bool up = true) {
    LinkMessage m;
    m.ifindex = ifindex;
    m.name = std::move(name);
    m.mac = mac(static_cast<uint8_t>(raw(ifindex)));
    m.mtu = 1500;
    m.up = m.carrier = up;
    return m;
}
inline NeighborMessage neighbour(Ifindex ifindex, std::string_view address, uint8_t last_of_mac,
                                 uint16_t state = NUD_REACHABLE) {
    NeighborMessage m;
    m.ifindex = ifindex;
    m.address = ip(address);
    m.mac = mac(last_of_mac);
    m.state = state;
    return m;
}
inline Path via(std::string_view gateway, Ifindex ifindex, uint32_t weight = 1, uint8_t flags = 0) {
    return {.gateway = ip(gateway), .ifindex = ifindex, .weight = weight, .flags = flags};
}
inline Path on(Ifindex ifindex) {
    return {.gateway = std::nullopt, .ifindex = ifindex, .weight = 1, .flags = 0};
}
inline RouteMessage route(std::string_view prefix, std::vector<Path> paths, uint32_t metric = 0) {
    RouteMessage m;
    m.exclusive = true;
    m.table = main_table;
    m.prefix = net(prefix);
    m.type = RTN_UNICAST;
    m.protocol = RTPROT_BGP;
    m.metric = metric;
    m.paths = std::move(paths);
    return m;
}
inline RouteMessage typed(std::string_view prefix, uint8_t type, TableId table = main_table) {
    RouteMessage m = route(prefix, {});
    m.type = type;
    m.table = table;
    return m;
}
inline RouteMessage by_id(std::string_view prefix, uint32_t id, uint32_t metric = 20) {
    RouteMessage m = route(prefix, {}, metric);
    m.nexthop = NexthopId{id};
    return m;
}
inline NexthopMessage object(uint32_t id, Path path) {
    NexthopMessage m;
    m.id = NexthopId{id};
    m.path = path;
    return m;
}
inline NexthopMessage group(uint32_t id, std::vector<NexthopMember> members) {
    NexthopMessage m;
    m.id = NexthopId{id};
    m.members = std::move(members);
    return m;
}
inline AddressMessage address(Ifindex ifindex, std::string_view text) {
    return {.removed = false, .ifindex = ifindex, .address = ip(text)};
}
template <class M>
M removed(M m) {
    m.removed = true;
    return m;
}
inline RouteMessage replacing(RouteMessage m) {
    m.exclusive = false;
    m.replace = true;
    return m;
}
inline RouteMessage appending(RouteMessage m) {
    m.exclusive = false;
    m.append = true;
    return m;
}

// A netlink message, byte for byte.
class Wire {
  public:
    template <class Header>
    Wire(uint16_t type, uint16_t flags, const Header& header) {
        nlmsghdr h{};
        h.nlmsg_type = type;
        h.nlmsg_flags = flags;
        put(&h, sizeof(h));
        put(&header, sizeof(header));
    }
    template <class T>
    Wire& attribute(uint16_t type, const T& value) {
        return raw_attribute(type, &value, sizeof(value));
    }
    Wire& address(uint16_t type, std::string_view text) {
        const IpAddress a = ip(text);
        return raw_attribute(type, a.bytes.data(), a.size());
    }
    Wire& text(uint16_t type, const std::string& value) {
        return raw_attribute(type, value.c_str(), value.size() + 1);
    }
    Wire& raw_attribute(uint16_t type, const void* value, size_t size) {
        const nlattr a{.nla_len = static_cast<uint16_t>(NLA_HDRLEN + size), .nla_type = type};
        put(&a, sizeof(a));
        put(value, size);
        return *this;
    }
    // What inner holds behind its headers becomes the value.
    Wire& nested(uint16_t type, const std::vector<std::byte>& inner) {
        return raw_attribute(static_cast<uint16_t>(type | NLA_F_NESTED), inner.data(), inner.size());
    }
    [[nodiscard]] std::vector<std::byte> bytes() const {
        std::vector<std::byte> all = bytes_;
        const auto size = static_cast<uint32_t>(all.size());
        std::memcpy(all.data(), &size, sizeof(size));
        return all;
    }

  private:
    void put(const void* data, size_t size) {
        const auto* at = static_cast<const std::byte*>(data);
        bytes_.insert(bytes_.end(), at, at + size);
        bytes_.resize(NLMSG_ALIGN(bytes_.size()));
    }
    std::vector<std::byte> bytes_;
};

// Attributes alone, to be nested.
inline void append_attribute(std::vector<std::byte>& to, uint16_t type, const void* value, size_t size) {
    const nlattr a{.nla_len = static_cast<uint16_t>(NLA_HDRLEN + size), .nla_type = type};
    const auto* head = reinterpret_cast<const std::byte*>(&a);
    const auto* body = static_cast<const std::byte*>(value);
    to.insert(to.end(), head, head + sizeof(a));
    to.insert(to.end(), body, body + size);
    to.resize(NLMSG_ALIGN(to.size()));
}
// One hop of RTA_MULTIPATH with its attributes.
inline void append_hop(std::vector<std::byte>& to, uint32_t ifindex, uint8_t hops, uint8_t flags,
                       const std::vector<std::byte>& attributes) {
    const rtnexthop h{.rtnh_len = static_cast<uint16_t>(sizeof(rtnexthop) + attributes.size()),
                      .rtnh_flags = flags,
                      .rtnh_hops = hops,
                      .rtnh_ifindex = static_cast<int>(ifindex)};
    const auto* head = reinterpret_cast<const std::byte*>(&h);
    to.insert(to.end(), head, head + sizeof(h));
    to.insert(to.end(), attributes.begin(), attributes.end());
}

// Two ports that are up, a netdev that is none, and a mirror with a sink.
template <class Sink>
struct Bench {
    Sink sink;
    Mirror mirror{sink, {"e0", "e1"}};

    Bench() {
        apply({link(e0, "e0"), link(e1, "e1"), link(wan, "wan")});
        sink.clear_log();
    }
    void apply(const std::vector<Message>& messages) {
        for (const Message& m : messages) {
            mirror.apply(m);
        }
        mirror.commit();
    }
};

}  // namespace millrace::sync::test
