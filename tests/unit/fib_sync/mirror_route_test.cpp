// SPDX-License-Identifier: BSD-3-Clause
// One route, its outcome; several of one prefix, the kernel's choice.
#include <gtest/gtest.h>

#include "messages.hpp"
#include "recording_sink.hpp"

namespace millrace::sync::test {
namespace {

using Mirrored = Bench<RecordingSink>;
const Path gw = via("192.0.2.1", e0);
const Path gw2 = via("192.0.2.2", e0);
constexpr const char* unresolved = "forward 10:punt_no_neighbour*1";

// Single IPv4 hops that differ in weight are different routes to the kernel, and look the same in its
// messages.
TEST(MirrorRoute, OfTwoThatLookTheSameOneMayBeLeft) {
    Mirrored m;
    const RouteMessage r = route("10.0.0.0/8", {via("192.0.2.1", e0)});
    m.apply({r, appending(r)});
    EXPECT_FALSE(m.mirror.take_doubt());
    m.apply({removed(r)});
    EXPECT_EQ(m.sink.outcome("10.0.0.0/8"), "forward 10:punt_no_neighbour*1");
    EXPECT_TRUE(m.mirror.take_doubt()) << "a dump has to tell whether there is one left";
    m.apply({removed(r)});
    EXPECT_EQ(m.sink.outcome("10.0.0.0/8"), "none");
    EXPECT_FALSE(m.mirror.take_doubt());
}

TEST(MirrorRoute, Outcomes) {
    RouteMessage unsupported = route("10.0.0.0/8", {gw});
    unsupported.unsupported = true;
    RouteMessage dead = route("10.0.0.0/8", {via("192.0.2.1", e0, 1, RTNH_F_DEAD)});
    RouteMessage linkdown = route("10.0.0.0/8", {via("192.0.2.1", e0, 1, RTNH_F_LINKDOWN)});
    RouteMessage tos = route("10.0.0.0/8", {gw});
    tos.tos = 16;
    const struct {
        const char* name;
        RouteMessage message;
        const char* outcome;
    } rows[] = {
        {"gateway", route("10.0.0.0/8", {gw}), unresolved},
        {"other family", route("10.0.0.0/8", {via("fe80::1", e0)}), unresolved},
        {"connected", route("10.0.0.0/8", {on(e0)}), "punt_glean"},
        {"blackhole", typed("10.0.0.0/8", RTN_BLACKHOLE), "drop_blackhole"},
        {"unreachable", typed("10.0.0.0/8", RTN_UNREACHABLE), "punt_unreachable"},
        {"prohibit", typed("10.0.0.0/8", RTN_PROHIBIT), "punt_unreachable"},
        {"throw", typed("10.0.0.0/8", RTN_THROW), "punt_unsupported"},
        {"nat", typed("10.0.0.0/8", RTN_NAT), "punt_unsupported"},
        {"multicast", typed("10.0.0.0/8", RTN_MULTICAST), "punt_unsupported"},
        {"unsupported", unsupported, "punt_unsupported"},
        {"unknown nexthop id", by_id("10.0.0.0/8", 99), "punt_unsupported"},
        {"no port", route("10.0.0.0/8", {via("192.0.2.1", wan)}), "punt_unmanaged"},
        {"connected, no port", route("10.0.0.0/8", {on(wan)}), "punt_unmanaged"},
        {"device that is not known", route("10.0.0.0/8", {via("192.0.2.1", Ifindex{77})}), "punt_unmanaged"},
        {"two", route("10.0.0.0/8", {gw, via("192.0.2.2", e1, 3)}),
         "forward 10:punt_no_neighbour*1 11:punt_no_neighbour*3"},
        {"one of two is no port", route("10.0.0.0/8", {gw, via("192.0.2.2", wan)}), "punt_unmanaged"},
        {"one of two is connected", route("10.0.0.0/8", {gw, on(e1)}), "punt_unsupported"},
        {"one of two is dead", route("10.0.0.0/8", {gw, via("192.0.2.2", e1, 1, RTNH_F_DEAD)}), unresolved},
        {"one of two without carrier: its link tells",
         route("10.0.0.0/8", {gw, via("192.0.2.2", e1, 1, RTNH_F_LINKDOWN)}),
         "forward 10:punt_no_neighbour*1 11:punt_no_neighbour*1"},
        {"both dead",
         route("10.0.0.0/8", {via("192.0.2.1", e0, 1, RTNH_F_DEAD), via("192.0.2.2", e1, 1, RTNH_F_DEAD)}),
         "punt_link_down"},
        {"single and dead", dead, "punt_link_down"},
        {"single without carrier: the adjacency tells", linkdown, unresolved},
        {"tos", tos, "punt_unsupported"},
        {"ipv6", route("2001:db8::/32", {via("fe80::1", e0)}, 1024), unresolved},
    };
    for (const auto& row : rows) {
        SCOPED_TRACE(row.name);
        Mirrored m;
        m.apply({row.message});
        EXPECT_EQ(m.sink.outcome(row.message.prefix), row.outcome);
        EXPECT_EQ(m.sink.routes.size(), 1U);
        m.apply({removed(row.message)});
        EXPECT_TRUE(m.sink.routes.empty());
        EXPECT_TRUE(m.sink.groups.empty());
        EXPECT_TRUE(m.sink.adjacencies.empty());
    }
}

TEST(MirrorRoute, OtherTablesAreNotMirrored) {
    Mirrored m;
    RouteMessage other = route("10.0.0.0/8", {gw});
    other.table = TableId{100};
    m.apply({other});
    EXPECT_TRUE(m.sink.routes.empty());
}

TEST(MirrorRoute, LowestMetricWinsWhateverTheOrder) {
    Mirrored m;
    m.apply({route("10.0.0.0/8", {gw}, 20)});
    m.apply({route("10.0.0.0/8", {on(e0)}, 5), typed("10.0.0.0/8", RTN_BLACKHOLE)});
    EXPECT_EQ(m.sink.outcome("10.0.0.0/8"), "drop_blackhole");
    m.apply({removed(typed("10.0.0.0/8", RTN_BLACKHOLE))});
    EXPECT_EQ(m.sink.outcome("10.0.0.0/8"), "punt_glean");
    m.apply({removed(route("10.0.0.0/8", {on(e0)}, 5))});
    EXPECT_EQ(m.sink.outcome("10.0.0.0/8"), unresolved);
}

TEST(MirrorRoute, AppendReplaceDeletePrependOfOneKey) {
    Mirrored m;
    for (uint8_t i = 1; i <= 4; ++i) {
        m.apply({neighbour(e0, "192.0.2." + std::to_string(i), i)});
    }
    const auto hop = [](int i) { return route("10.0.0.0/8", {via("192.0.2." + std::to_string(i), e0)}); };
    const auto winner = [&] { return m.sink.outcome("10.0.0.0/8").substr(8); };
    m.apply({hop(1), appending(hop(2)), appending(hop(3))});
    EXPECT_EQ(winner(), "10:02:00:00:00:00:01*1");
    m.apply({replacing(hop(4))});  // 4 2 3
    EXPECT_EQ(winner(), "10:02:00:00:00:00:04*1");
    m.apply({removed(hop(2))});  // 4 3
    EXPECT_EQ(winner(), "10:02:00:00:00:00:04*1");
    RouteMessage prepended = hop(1);
    prepended.exclusive = false;
    m.apply({prepended});  // 1 4 3
    EXPECT_EQ(winner(), "10:02:00:00:00:00:01*1");
    m.apply({removed(hop(1)), removed(hop(4))});
    EXPECT_EQ(winner(), "10:02:00:00:00:00:03*1");
    EXPECT_FALSE(m.mirror.take_doubt());
    m.apply({removed(hop(2))});
    EXPECT_TRUE(m.mirror.take_doubt()) << "a removal that does not fit";
    EXPECT_FALSE(m.mirror.take_doubt());
    m.apply({hop(2)});  // NLM_F_EXCL: the kernel has nothing else of this key
    EXPECT_EQ(winner(), "10:02:00:00:00:00:02*1");
    m.apply({removed(hop(2))});
    EXPECT_EQ(m.sink.outcome("10.0.0.0/8"), "none");
}

TEST(MirrorRoute, Ipv6PathsOfOneKeyAreOneRoute) {
    Mirrored m;
    const auto paths = [](std::vector<Path> p) { return route("2001:db8::/32", std::move(p), 1024); };
    const Path a = via("fe80::1", e0);
    const Path b = via("fe80::2", e1);
    const char* both = "forward 10:punt_no_neighbour*1 11:punt_no_neighbour*1";
    m.apply({paths({a})});
    m.apply({appending(paths({b, a}))});  // the whole route, as kernels announce it
    EXPECT_EQ(m.sink.outcome("2001:db8::/32"), both);
    m.apply({removed(paths({b}))});
    EXPECT_EQ(m.sink.outcome("2001:db8::/32"), unresolved);
    m.apply({appending(paths({b, a}))});
    EXPECT_EQ(m.sink.outcome("2001:db8::/32"), both);
    m.apply({appending(paths({on(e0)}))});  // not part of a multipath route: which one is taken?
    EXPECT_EQ(m.sink.outcome("2001:db8::/32"), "punt_unsupported");
    m.apply({replacing(paths({a}))});
    EXPECT_EQ(m.sink.outcome("2001:db8::/32"), "punt_unsupported");
    m.apply({removed(paths({a}))});
    EXPECT_EQ(m.sink.outcome("2001:db8::/32"), "punt_glean");
    m.apply({removed(paths({on(e0)}))});
    EXPECT_EQ(m.sink.outcome("2001:db8::/32"), "none");
}

// A second router's advertisement, or a gateway beside one, is announced as a path that stands alone.
TEST(MirrorRoute, Ipv6RoutesOfOneKeyThatStandAlone) {
    const auto advertised = [](Path p) {
        RouteMessage m = route("::/0", {std::move(p)}, 1024);
        m.protocol = RTPROT_RA;
        m.exclusive = false;
        return m;
    };
    Mirrored m;
    const Path a = via("fe80::1", e0);
    const Path b = via("fe80::2", e1);
    m.apply({advertised(a), advertised(b)});
    EXPECT_EQ(m.sink.outcome("::/0"), "punt_unsupported");
    EXPECT_FALSE(m.mirror.take_doubt());
    m.apply({removed(advertised(a)), removed(advertised(b)), route("::/0", {a}, 1024), advertised(b)});
    EXPECT_EQ(m.sink.outcome("::/0"), "punt_unsupported") << "a static one and an advertised one";
    m.apply({removed(advertised(b))});
    EXPECT_EQ(m.sink.outcome("::/0"), unresolved);
    RouteMessage alone = route("::/0", {b}, 1024);
    alone.exclusive = false;
    m.apply({alone});
    EXPECT_EQ(m.sink.outcome("::/0"), "punt_unsupported")
        << "one path, neither appended nor in place of another";
    EXPECT_FALSE(m.mirror.take_doubt());
}

// The kernel has no way twice: what is told to be a route of one path is no path of a multipath route any
// more.
TEST(MirrorRoute, Ipv6PathThatLeftItsMultipathRoute) {
    Mirrored m;
    const auto paths = [](std::vector<Path> p) { return route("2001:db8::/32", std::move(p), 1024); };
    m.apply({paths({via("fe80::1", e0), via("fe80::2", e1)})});
    RouteMessage alone = paths({via("fe80::1", e0)});
    alone.exclusive = false;
    m.apply({alone});
    EXPECT_EQ(m.sink.outcome("2001:db8::/32"), unresolved);
    EXPECT_TRUE(m.mirror.take_doubt());
}

TEST(MirrorRoute, RoutesBySourceHaveAKeyOfTheirOwn) {
    RouteMessage plain = route("::/0", {via("fe80::1", e0)}, 100);
    plain.exclusive = false;
    RouteMessage by_source = route("::/0", {via("fe80::2", e1)}, 100);
    by_source.source = net("2001:db8:a::/48");
    // The key of each is new to the kernel, whichever comes first.
    plain.exclusive = by_source.exclusive = true;
    for (const bool plain_first : {true, false}) {
        Mirrored m;
        m.apply(plain_first ? std::vector<Message>{plain, by_source}
                            : std::vector<Message>{by_source, plain});
        EXPECT_EQ(m.sink.outcome("::/0"), "punt_unsupported");
        m.apply({removed(by_source)});
        EXPECT_EQ(m.sink.outcome("::/0"), unresolved);
        m.apply({by_source, removed(plain)});
        EXPECT_EQ(m.sink.outcome("::/0"), "punt_unsupported");
        m.apply({removed(by_source)});
        EXPECT_EQ(m.sink.outcome("::/0"), "none");
        EXPECT_FALSE(m.mirror.take_doubt());
    }
    // A worse metric, and other sources beside it.
    Mirrored m;
    RouteMessage other = by_source;
    other.metric = 512;
    other.source = net("2001:db8:b::/48");
    m.apply({plain, other, by_source, removed(other)});
    EXPECT_EQ(m.sink.outcome("::/0"), "punt_unsupported");
    m.apply({removed(by_source)});
    EXPECT_EQ(m.sink.outcome("::/0"), unresolved);
}

TEST(MirrorRoute, Ipv6MultipathReplacesMoreThanIsTold) {
    Mirrored m;
    const auto paths = [](std::vector<Path> p) { return route("2001:db8::/32", std::move(p), 1024); };
    m.apply({paths({via("fe80::1", e0)}), appending(paths({on(e1)}))});
    EXPECT_FALSE(m.mirror.take_doubt());
    m.apply({replacing(paths({via("fe80::1", e0), via("fe80::2", e1)}))});
    EXPECT_EQ(m.sink.outcome("2001:db8::/32"), "punt_unsupported");
    EXPECT_TRUE(m.mirror.take_doubt()) << "the kernel dropped the other one";
}

TEST(MirrorRoute, RouterPreferencesAreTheKernels) {
    Mirrored m;
    RouteMessage low = route("::/0", {on(e0)}, 1024);
    low.preference = 3;
    RouteMessage medium = route("::/0", {on(e1)}, 1024);
    m.apply({low, appending(medium)});
    EXPECT_EQ(m.sink.outcome("::/0"), "punt_unsupported");
}

TEST(MirrorRoute, AnyTosPuntsThePrefix) {
    Mirrored m;
    RouteMessage tos = route("10.0.0.0/8", {gw}, 100);
    tos.tos = 16;
    m.apply({route("10.0.0.0/8", {gw}), tos});
    EXPECT_EQ(m.sink.outcome("10.0.0.0/8"), "punt_unsupported");
    m.apply({removed(tos)});
    EXPECT_EQ(m.sink.outcome("10.0.0.0/8"), unresolved);
}

TEST(MirrorRoute, LocalTable) {
    Mirrored m;
    m.apply({typed("192.0.2.7/32", RTN_LOCAL, local_table),
             typed("192.0.2.255/32", RTN_BROADCAST, local_table),
             typed("2001:db8::/128", RTN_ANYCAST, local_table), typed("127.0.0.0/8", RTN_LOCAL, local_table),
             typed("ff00::/8", RTN_MULTICAST, local_table)});
    EXPECT_EQ(m.sink.locals, (std::set<IpAddress>{ip("192.0.2.7"), ip("192.0.2.255"), ip("2001:db8::")}));
    for (const char* prefix :
         {"192.0.2.7/32", "192.0.2.255/32", "2001:db8::/128", "127.0.0.0/8", "ff00::/8"}) {
        EXPECT_EQ(m.sink.outcome(prefix), "punt_local") << prefix;
    }
    m.apply({route("192.0.2.7/32", {gw})});
    EXPECT_EQ(m.sink.outcome("192.0.2.7/32"), "punt_local");
    m.apply({removed(typed("192.0.2.7/32", RTN_LOCAL, local_table))});
    EXPECT_EQ(m.sink.outcome("192.0.2.7/32"), unresolved);
    EXPECT_FALSE(m.sink.locals.contains(ip("192.0.2.7")));
}

TEST(MirrorRoute, LocalPrefixBeatsLongerRoutesOfTheMainTable) {
    Mirrored m;
    m.apply({route("198.51.100.128/25", {gw}), route("198.51.100.0/23", {gw})});
    m.apply({typed("198.51.100.0/24", RTN_LOCAL, local_table)});
    EXPECT_EQ(m.sink.outcome("198.51.100.128/25"), "punt_local");
    EXPECT_EQ(m.sink.outcome("198.51.100.0/23"), unresolved);
    m.apply({removed(typed("198.51.100.0/24", RTN_LOCAL, local_table))});
    EXPECT_EQ(m.sink.outcome("198.51.100.128/25"), unresolved);
}

TEST(MirrorRoute, AddressAndLocalRouteAreOneLocal) {
    Mirrored m;
    m.apply({address(e0, "192.0.2.7"), typed("192.0.2.7/32", RTN_LOCAL, local_table)});
    EXPECT_EQ(m.sink.locals.size(), 1U);
    m.apply({removed(typed("192.0.2.7/32", RTN_LOCAL, local_table))});
    EXPECT_EQ(m.sink.locals.size(), 1U);
    m.apply({address(e1, "192.0.2.7"), removed(address(e0, "192.0.2.7"))});
    EXPECT_EQ(m.sink.locals.size(), 1U);
    m.apply({removed(address(e1, "192.0.2.7"))});
    EXPECT_TRUE(m.sink.locals.empty());
}

TEST(MirrorRoute, DeleteAndAddInOneBatchIsAReplace) {
    Mirrored m;
    m.apply({route("10.0.0.0/8", {gw})});
    m.sink.clear_log();
    m.apply({removed(route("10.0.0.0/8", {gw})), route("10.0.0.0/8", {gw2})});
    for (const std::string& call : m.sink.calls) {
        EXPECT_FALSE(call.starts_with("remove_route")) << call;
    }
    m.sink.clear_log();
    m.apply({removed(route("10.0.0.0/8", {gw2})), route("10.0.0.0/8", {gw2})});
    EXPECT_EQ(m.sink.call_count, 0U);
}

TEST(MirrorRoute, SamePathsShareAGroup) {
    Mirrored m;
    m.apply({route("10.0.0.0/8", {gw}), route("10.1.0.0/16", {gw}), route("10.2.0.0/16", {gw2})});
    EXPECT_EQ(m.sink.group_of("10.0.0.0/8"), m.sink.group_of("10.1.0.0/16"));
    EXPECT_NE(m.sink.group_of("10.0.0.0/8"), m.sink.group_of("10.2.0.0/16"));
    EXPECT_EQ(m.sink.adjacencies.size(), 2U);
    m.apply({removed(route("10.0.0.0/8", {gw}))});
    EXPECT_EQ(m.sink.groups.size(), 2U);
    m.apply({removed(route("10.1.0.0/16", {gw}))});
    EXPECT_EQ(m.sink.groups.size(), 1U);
    EXPECT_EQ(m.sink.adjacencies.size(), 1U);
}

TEST(MirrorLink, DownComesFirstAndAtOnce) {
    Mirrored m;
    m.apply({neighbour(e0, "192.0.2.1", 1), neighbour(e0, "192.0.2.2", 2), route("10.0.0.0/8", {gw}),
             route("10.1.0.0/16", {gw2}), route("10.2.0.0/16", {via("192.0.2.3", e1)})});
    m.sink.clear_log();
    m.mirror.apply(link(e0, "e0", false));
    ASSERT_EQ(m.sink.calls.size(), 3U) << "before any commit";
    EXPECT_TRUE(m.sink.calls[0].starts_with("set_adjacency") && m.sink.calls[0].ends_with("punt_link_down"));
    EXPECT_TRUE(m.sink.calls[1].starts_with("set_adjacency") && m.sink.calls[1].ends_with("punt_link_down"));
    EXPECT_EQ(m.sink.calls[2], "set_interface e0 down");
    m.sink.clear_log();
    m.apply({link(e0, "e0")});
    ASSERT_EQ(m.sink.calls.size(), 3U);
    EXPECT_EQ(m.sink.calls[0], "set_interface e0 up");
    EXPECT_EQ(m.sink.outcome("10.0.0.0/8"), "forward 10:02:00:00:00:00:01*1");
}

TEST(MirrorLink, CarrierAndMaster) {
    Mirrored m;
    m.apply({neighbour(e0, "192.0.2.1", 1), route("10.0.0.0/8", {gw})});
    LinkMessage l = link(e0, "e0");
    l.carrier = false;
    m.apply({l});
    EXPECT_EQ(m.sink.outcome("10.0.0.0/8"), "forward 10:punt_link_down*1");
    l = link(e0, "e0");
    l.master = Ifindex{5};
    m.apply({l});
    EXPECT_EQ(m.sink.outcome("10.0.0.0/8"), "forward 10:punt_link_down*1");
    m.apply({link(e0, "e0")});
    EXPECT_EQ(m.sink.outcome("10.0.0.0/8"), "forward 10:02:00:00:00:00:01*1");
}

TEST(MirrorLink, AppearsIsRenamedAndGoes) {
    Mirrored m;
    m.apply({removed(link(e0, "e0")), route("10.0.0.0/8", {gw}), object(5, gw), by_id("10.5.0.0/16", 5)});
    EXPECT_EQ(m.sink.outcome("10.0.0.0/8"), "punt_unmanaged");
    EXPECT_EQ(m.sink.outcome("10.5.0.0/16"), "punt_unmanaged");
    EXPECT_FALSE(m.sink.interfaces.contains(e0));
    m.apply({link(e0, "e0")});
    EXPECT_EQ(m.sink.outcome("10.0.0.0/8"), unresolved);
    EXPECT_EQ(m.sink.outcome("10.5.0.0/16"), unresolved);
    m.apply({link(e0, "other")});
    EXPECT_EQ(m.sink.outcome("10.0.0.0/8"), "punt_unmanaged");
    EXPECT_EQ(m.sink.outcome("10.5.0.0/16"), "punt_unmanaged");
    EXPECT_FALSE(m.sink.interfaces.contains(e0));
}

TEST(MirrorLink, MtuAndMacAreOneCall) {
    Mirrored m;
    LinkMessage l = link(e0, "e0");
    l.mtu = 1400;
    m.apply({l});
    EXPECT_EQ(m.sink.call_count, 1U);
    EXPECT_EQ(m.sink.interfaces[e0].mtu, 1400U);
    m.sink.clear_log();
    m.apply({l});
    EXPECT_EQ(m.sink.call_count, 0U);
}

}  // namespace
}  // namespace millrace::sync::test
