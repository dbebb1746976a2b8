// SPDX-License-Identifier: BSD-3-Clause
#include <gtest/gtest.h>

#include <linux/if_link.h>

#include <random>

#include "fib_sync/attributes.hpp"
#include "messages.hpp"

namespace millrace::sync::test {
namespace {

struct Case {
    const char* name;
    std::vector<std::byte> bytes;
    std::optional<Message> expected;  // nullopt = ignored
};

template <class H>
H header(auto fill) {
    H h{};
    fill(h);
    return h;
}
rtmsg rt(uint8_t family, uint8_t length, uint8_t type = RTN_UNICAST, unsigned flags = 0) {
    return header<rtmsg>([&](rtmsg& r) {
        r.rtm_family = family;
        r.rtm_dst_len = length;
        r.rtm_table = RT_TABLE_MAIN;
        r.rtm_protocol = RTPROT_BGP;
        r.rtm_type = type;
        r.rtm_flags = flags;
    });
}
RouteMessage plain(std::string_view prefix, std::vector<Path> paths, uint32_t metric = 0) {
    RouteMessage m = route(prefix, std::move(paths), metric);
    m.exclusive = false;
    return m;
}
std::vector<std::byte> attribute_bytes(uint16_t type, std::string_view address_text) {
    std::vector<std::byte> out;
    const IpAddress a = ip(address_text);
    append_attribute(out, type, a.bytes.data(), a.size());
    return out;
}
std::array<std::byte, 18> via6(std::string_view text) {
    std::array<std::byte, 18> v{};
    const uint16_t family = AF_INET6;
    std::memcpy(v.data(), &family, 2);
    std::memcpy(v.data() + 2, ip(text).bytes.data(), 16);
    return v;
}
std::vector<std::byte> multipath() {
    std::vector<std::byte> out;
    append_hop(out, 10, 0, 0, attribute_bytes(RTA_GATEWAY, "192.0.2.1"));
    std::vector<std::byte> other_family;
    const auto via = via6("2001:db8::1");
    append_attribute(other_family, RTA_VIA, via.data(), via.size());
    append_hop(out, 11, 255, RTNH_F_DEAD | RTNH_F_LINKDOWN, other_family);
    append_hop(out, 11, 1, 0, {});
    return out;
}

std::vector<Case> cases() {
    const ifinfomsg up = header<ifinfomsg>([](ifinfomsg& h) {
        h.ifi_index = 10;
        h.ifi_flags = IFF_UP | IFF_LOWER_UP;
    });
    const ifinfomsg bridge_port = header<ifinfomsg>([](ifinfomsg& h) {
        h.ifi_family = AF_BRIDGE;
        h.ifi_index = 10;
    });
    const auto ifa = [](uint8_t family) {
        return header<ifaddrmsg>([&](ifaddrmsg& h) {
            h.ifa_family = family;
            h.ifa_index = 10;
        });
    };
    const auto nd = [](uint8_t family, uint16_t state, uint8_t flags = 0) {
        return header<ndmsg>([&](ndmsg& h) {
            h.ndm_family = family;
            h.ndm_ifindex = 10;
            h.ndm_state = state;
            h.ndm_flags = flags;
        });
    };
    const auto nh = [](uint8_t family, unsigned flags = 0) {
        return header<nhmsg>([&](nhmsg& h) {
            h.nh_family = family;
            h.nh_flags = flags;
        });
    };
    std::vector<std::byte> kind;
    append_attribute(kind, IFLA_INFO_KIND, "veth", 5);
    std::vector<std::byte> mtu;
    const uint32_t number = 1400;
    append_attribute(mtu, RTAX_MTU, &number, sizeof(number));
    std::vector<std::byte> advmss;
    append_attribute(advmss, RTAX_ADVMSS, &number, sizeof(number));

    LinkMessage expected_link = link(e0, "e0");
    expected_link.mtu = 1400;
    expected_link.kind = "veth";
    expected_link.master = Ifindex{7};
    NeighborMessage managed = neighbour(e0, "192.0.2.9", 9);
    managed.flags = NTF_EXT_LEARNED;
    managed.flags_ext = NTF_EXT_MANAGED;
    managed.protocol = 11;
    NeighborMessage no_mac = neighbour(e0, "2001:db8::9", 0, NUD_FAILED);
    no_mac.mac.reset();
    RouteMessage table = plain("198.51.100.0/24", {via("192.0.2.1", e0)}, 20);
    table.table = TableId{1000};
    table.tos = 16;
    table.replace = true;
    RouteMessage with_id = by_id("::/0", 7, 1024);
    with_id.exclusive = false;
    with_id.append = true;
    with_id.paths = {via("fe80::1", e0)};
    RouteMessage encapsulation = plain("198.51.100.0/24", {on(e0)});
    encapsulation.encapsulation = true;
    RouteMessage one_encapsulated = plain("198.51.100.0/24", {on(e0), on(e1)});
    one_encapsulated.encapsulation = true;
    std::vector<std::byte> encap_type;
    const uint16_t mpls = 1;
    append_attribute(encap_type, RTA_ENCAP_TYPE, &mpls, sizeof(mpls));
    std::vector<std::byte> one_encapsulated_hops;
    append_hop(one_encapsulated_hops, 10, 0, 0, {});
    append_hop(one_encapsulated_hops, 11, 0, 0, encap_type);
    NexthopMessage encapsulated_nexthop = object(9, via("192.0.2.1", e0));
    encapsulated_nexthop.encapsulation = true;
    RouteMessage linkdown = plain("198.51.100.0/24", {on(e0)});
    linkdown.flags = RTNH_F_LINKDOWN;
    linkdown.paths[0].flags = RTNH_F_LINKDOWN;
    NexthopMessage blackhole = object(9, {});
    blackhole.blackhole = true;
    NexthopMessage fdb = object(9, {});
    fdb.path.gateway = ip("192.0.2.1");
    fdb.unsupported = true;
    NexthopMessage unknown_group = group(9, {{NexthopId{1}, 1}});
    unknown_group.unsupported = true;

    rtmsg tos = rt(AF_INET, 24);
    tos.rtm_tos = 16;
    tos.rtm_table = RT_TABLE_COMPAT;
    rtmsg source = rt(AF_INET6, 64);
    source.rtm_src_len = 64;
    RouteMessage source_specific = plain("2001:db8::/64", {on(e0)});
    source_specific.source = net("2001:db8:1::/64");
    const std::vector<NexthopGroupEntry> grp = {{.id = 1, .weight = 0, .weight_high = 0, .reserved = 0},
                                                {.id = 2, .weight = 255, .weight_high = 0, .reserved = 0},
                                                {.id = 3, .weight = 255, .weight_high = 255, .reserved = 0}};

    std::vector<Case> all;
    const auto add = [&](const char* name, const Wire& w, std::optional<Message> expected) {
        all.push_back({name, w.bytes(), std::move(expected)});
    };
    add("link",
        Wire(RTM_NEWLINK, 0, up)
            .text(IFLA_IFNAME, "e0")
            .attribute(IFLA_MTU, uint32_t{1400})
            .attribute(IFLA_ADDRESS, mac(10).bytes)
            .attribute(IFLA_MASTER, uint32_t{7})
            .nested(IFLA_LINKINFO, kind),
        expected_link);
    add("bridge port", Wire(RTM_DELLINK, 0, bridge_port).text(IFLA_IFNAME, "e0"), std::nullopt);
    add("address",
        Wire(RTM_NEWADDR, 0, ifa(AF_INET)).address(IFA_ADDRESS, "192.0.2.2").address(IFA_LOCAL, "192.0.2.1"),
        address(e0, "192.0.2.1"));
    add("address 6", Wire(RTM_DELADDR, 0, ifa(AF_INET6)).address(IFA_ADDRESS, "2001:db8::1"),
        removed(address(e0, "2001:db8::1")));
    add("neighbour",
        Wire(RTM_NEWNEIGH, 0, nd(AF_INET, NUD_REACHABLE))
            .address(NDA_DST, "192.0.2.9")
            .attribute(NDA_LLADDR, mac(9).bytes),
        neighbour(e0, "192.0.2.9", 9));
    add("managed neighbour",
        Wire(RTM_NEWNEIGH, 0, nd(AF_INET, NUD_REACHABLE, NTF_EXT_LEARNED))
            .address(NDA_DST, "192.0.2.9")
            .attribute(NDA_LLADDR, mac(9))
            .attribute(NDA_PROTOCOL, uint8_t{11})
            .attribute(NDA_FLAGS_EXT, uint32_t{NTF_EXT_MANAGED}),
        managed);
    add("neighbour without mac",
        Wire(RTM_NEWNEIGH, 0, nd(AF_INET6, NUD_FAILED)).address(NDA_DST, "2001:db8::9"), no_mac);
    add("proxy neighbour", Wire(RTM_NEWNEIGH, 0, nd(AF_INET, 0, NTF_PROXY)).address(NDA_DST, "192.0.2.9"),
        std::nullopt);
    add("bridge fdb", Wire(RTM_NEWNEIGH, 0, nd(AF_BRIDGE, NUD_REACHABLE)).attribute(NDA_LLADDR, mac(9).bytes),
        std::nullopt);
    add("nexthop",
        Wire(RTM_NEWNEXTHOP, 0, nh(AF_INET6, RTNH_F_ONLINK))
            .attribute(NHA_ID, uint32_t{9})
            .attribute(NHA_OIF, uint32_t{10})
            .address(NHA_GATEWAY, "fe80::1"),
        object(9, via("fe80::1", e0, 1, RTNH_F_ONLINK)));
    add("nexthop group",
        Wire(RTM_NEWNEXTHOP, 0, nh(AF_UNSPEC))
            .attribute(NHA_ID, uint32_t{9})
            .raw_attribute(NHA_GROUP, grp.data(), grp.size() * sizeof(NexthopGroupEntry))
            .attribute(NHA_GROUP_TYPE, uint16_t{NEXTHOP_GRP_TYPE_RES}),
        group(9, {{NexthopId{1}, 1}, {NexthopId{2}, 256}, {NexthopId{3}, 65536}}));
    add("nexthop group of a new type",
        Wire(RTM_NEWNEXTHOP, 0, nh(AF_UNSPEC))
            .attribute(NHA_ID, uint32_t{9})
            .attribute(NHA_GROUP_TYPE, uint16_t{2})
            .raw_attribute(NHA_GROUP, grp.data(), sizeof(NexthopGroupEntry)),
        unknown_group);
    add("blackhole nexthop",
        Wire(RTM_NEWNEXTHOP, 0, nh(AF_INET))
            .attribute(NHA_ID, uint32_t{9})
            .raw_attribute(NHA_BLACKHOLE, nullptr, 0),
        blackhole);
    add("fdb nexthop",
        Wire(RTM_DELNEXTHOP, 0, nh(AF_INET))
            .attribute(NHA_ID, uint32_t{9})
            .raw_attribute(NHA_FDB, nullptr, 0)
            .address(NHA_GATEWAY, "192.0.2.1"),
        removed(fdb));
    add("route with metric, table, tos",
        Wire(RTM_NEWROUTE, NLM_F_REPLACE, tos)
            .address(RTA_DST, "198.51.100.0")
            .attribute(RTA_TABLE, uint32_t{1000})
            .attribute(RTA_PRIORITY, uint32_t{20})
            .address(RTA_GATEWAY, "192.0.2.1")
            .attribute(RTA_OIF, uint32_t{10}),
        table);
    add("route by id with its hop",
        Wire(RTM_NEWROUTE, NLM_F_APPEND, rt(AF_INET6, 0))
            .attribute(RTA_NH_ID, uint32_t{7})
            .attribute(RTA_PRIORITY, uint32_t{1024})
            .address(RTA_GATEWAY, "fe80::1")
            .attribute(RTA_OIF, uint32_t{10}),
        with_id);
    add("route over the other family",
        Wire(RTM_DELROUTE, 0, rt(AF_INET, 24))
            .address(RTA_DST, "198.51.100.0")
            .attribute(RTA_VIA, via6("2001:db8::1"))
            .attribute(RTA_OIF, uint32_t{10}),
        removed(plain("198.51.100.0/24", {via("2001:db8::1", e0)})));
    add("multipath",
        Wire(RTM_NEWROUTE, 0, rt(AF_INET, 24))
            .address(RTA_DST, "198.51.100.0")
            .nested(RTA_MULTIPATH, multipath()),
        plain("198.51.100.0/24", {via("192.0.2.1", e0),
                                  via("2001:db8::1", e1, 256, RTNH_F_DEAD | RTNH_F_LINKDOWN),
                                  {std::nullopt, e1, 2, 0}}));
    add("no carrier",
        Wire(RTM_NEWROUTE, 0, rt(AF_INET, 24, RTN_UNICAST, RTNH_F_LINKDOWN))
            .address(RTA_DST, "198.51.100.0")
            .attribute(RTA_OIF, uint32_t{10}),
        linkdown);
    add("blackhole", Wire(RTM_NEWROUTE, 0, rt(AF_INET, 24, RTN_BLACKHOLE)).address(RTA_DST, "198.51.100.0"),
        [] {
            auto m = plain("198.51.100.0/24", {});
            m.type = RTN_BLACKHOLE;
            return m;
        }());
    add("host bits are cleared",
        Wire(RTM_NEWROUTE, 0, rt(AF_INET, 24))
            .address(RTA_DST, "198.51.100.77")
            .attribute(RTA_OIF, uint32_t{10}),
        plain("198.51.100.0/24", {on(e0)}));
    add("encapsulation",
        Wire(RTM_NEWROUTE, 0, rt(AF_INET, 24))
            .address(RTA_DST, "198.51.100.0")
            .attribute(RTA_OIF, uint32_t{10})
            .attribute(RTA_ENCAP_TYPE, uint16_t{1}),
        encapsulation);
    add("encapsulation on one of two paths",
        Wire(RTM_NEWROUTE, 0, rt(AF_INET, 24))
            .address(RTA_DST, "198.51.100.0")
            .nested(RTA_MULTIPATH, one_encapsulated_hops),
        one_encapsulated);
    add("nexthop with an encapsulation",
        Wire(RTM_NEWNEXTHOP, 0, nh(AF_INET))
            .attribute(NHA_ID, uint32_t{9})
            .attribute(NHA_OIF, uint32_t{10})
            .address(NHA_GATEWAY, "192.0.2.1")
            .attribute(NHA_ENCAP_TYPE, uint16_t{1}),
        encapsulated_nexthop);
    add("source-specific",
        Wire(RTM_NEWROUTE, 0, source)
            .address(RTA_DST, "2001:db8::")
            .address(RTA_SRC, "2001:db8:1::")
            .attribute(RTA_OIF, uint32_t{10}),
        source_specific);
    add("cached",
        Wire(RTM_NEWROUTE, 0, rt(AF_INET, 24, RTN_UNICAST, RTM_F_CLONED)).address(RTA_DST, "198.51.100.0"),
        std::nullopt);
    add("MPLS", Wire(RTM_NEWROUTE, 0, rt(AF_MPLS, 20)), std::nullopt);
    add("unknown attribute",
        Wire(RTM_NEWROUTE, 0, rt(AF_INET, 0)).attribute(RTA_OIF, uint32_t{10}).attribute(999, uint64_t{1}),
        plain("0.0.0.0/0", {on(e0)}));
    add("a rule", Wire(RTM_NEWRULE, 0, rt(AF_INET, 0)), std::nullopt);
    return all;
}

TEST(Decode, Table) {
    for (const Case& c : cases()) {
        SCOPED_TRACE(c.name);
        const auto got = decode(c.bytes);
        ASSERT_TRUE(got.has_value()) << got.error().text();
        EXPECT_TRUE(*got == c.expected);
    }
}

TEST(Decode, RouteMtuIsUnsupportedAndOtherMetricsAreNot) {
    const uint32_t number = 1400;
    for (const uint16_t metric : {uint16_t{RTAX_MTU}, uint16_t{RTAX_ADVMSS}}) {
        std::vector<std::byte> metrics;
        append_attribute(metrics, metric, &number, sizeof(number));
        const auto got = decode(Wire(RTM_NEWROUTE, 0, rt(AF_INET, 0))
                                    .attribute(RTA_OIF, 10U)
                                    .nested(RTA_METRICS, metrics)
                                    .bytes());
        ASSERT_TRUE(got.has_value() && got->has_value());
        EXPECT_EQ(std::get<RouteMessage>(**got).unsupported, metric == RTAX_MTU);
    }
}

TEST(Decode, SourceAddressTellsRoutesApart) {
    const auto with_source = [](const char* source) {
        const auto got = decode(Wire(RTM_NEWROUTE, 0, rt(AF_INET, 0))
                                    .attribute(RTA_OIF, 10U)
                                    .address(RTA_PREFSRC, source)
                                    .bytes());
        return std::get<RouteMessage>(**got).rest;
    };
    EXPECT_EQ(with_source("192.0.2.1"), with_source("192.0.2.1"));
    EXPECT_NE(with_source("192.0.2.1"), with_source("192.0.2.2"));
}

TEST(Decode, MalformedNamesMessageAndAttribute) {
    const struct {
        Wire wire;
        const char* what;
    } bad[] = {
        {Wire(RTM_NEWROUTE, 0, rt(AF_INET, 33)), "RTM_NEWROUTE: malformed prefix length"},
        {Wire(RTM_NEWROUTE, 0, rt(AF_INET, 24)).address(RTA_DST, "2001:db8::"),
         "RTM_NEWROUTE: malformed RTA_DST"},
        {Wire(RTM_DELROUTE, 0, rt(AF_INET, 24)).attribute(RTA_OIF, uint16_t{1}),
         "RTM_DELROUTE: malformed RTA_OIF"},
        {Wire(RTM_NEWROUTE, 0, rt(AF_INET, 24)).attribute(RTA_MULTIPATH, uint32_t{0}),
         "RTM_NEWROUTE: malformed RTA_MULTIPATH"},
        {Wire(RTM_NEWNEIGH, 0, header<ndmsg>([](ndmsg& h) { h.ndm_family = AF_INET; })),
         "RTM_NEWNEIGH: malformed NDA_DST"},
        {Wire(RTM_NEWNEXTHOP, 0, nhmsg{}).attribute(NHA_GROUP, uint32_t{1}),
         "RTM_NEWNEXTHOP: malformed NHA_GROUP"},
        {Wire(RTM_NEWNEXTHOP, 0, nhmsg{}), "RTM_NEWNEXTHOP: malformed NHA_ID"},
        {Wire(RTM_NEWLINK, 0, uint32_t{0}), "RTM_NEWLINK: malformed header"},
    };
    for (const auto& b : bad) {
        const auto got = decode(b.wire.bytes());
        ASSERT_FALSE(got.has_value()) << b.what;
        EXPECT_EQ(got.error().what, b.what);
    }
}

// Each length and each of the lengths inside: ASan sees a read past the end, since each copy has its own
// allocation of exactly that size.
TEST(Decode, TruncatedAtEveryByte) {
    for (const Case& c : cases()) {
        for (size_t size = 0; size < c.bytes.size(); ++size) {
            std::vector<std::byte> cut(c.bytes.begin(), c.bytes.begin() + static_cast<ptrdiff_t>(size));
            cut.shrink_to_fit();
            EXPECT_FALSE(decode(cut).has_value()) << c.name << " cut at " << size;
            if (size >= sizeof(nlmsghdr)) {
                const auto length = static_cast<uint32_t>(size);
                std::memcpy(cut.data(), &length, sizeof(length));
                (void)decode(cut);  // may be a shorter valid message
            }
        }
    }
}

TEST(Decode, FlippedBytes) {
    const auto seed = std::random_device{}();
    SCOPED_TRACE(testing::Message() << "seed " << seed);
    std::mt19937 random(seed);
    size_t understood = 0;
    for (const Case& c : cases()) {
        for (int i = 0; i < 3000; ++i) {
            std::vector<std::byte> bytes = c.bytes;
            for (auto n = 1 + random() % 3; n > 0; --n) {
                bytes[random() % bytes.size()] = static_cast<std::byte>(random() & 0xff);
            }
            understood += decode(bytes).has_value() ? 1 : 0;
        }
    }
    EXPECT_GT(understood, 0U);
}

}  // namespace
}  // namespace millrace::sync::test
