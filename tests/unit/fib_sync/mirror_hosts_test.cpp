// SPDX-License-Identifier: BSD-3-Clause
// Host routes of neighbours on connected prefixes.
#include <gtest/gtest.h>

#include "messages.hpp"
#include "recording_sink.hpp"

namespace millrace::sync::test {
namespace {

using Mirrored = Bench<RecordingSink>;
constexpr const char* host = "192.0.2.9/32";
constexpr const char* forwarded = "forward 10:02:00:00:00:00:09*1";

TEST(MirrorHosts, ComesAndGoesWithTheNeighbour) {
    Mirrored m;
    m.apply({route("192.0.2.0/24", {on(e0)}), route("2001:db8::/64", {on(e0)}, 256)});
    m.apply({neighbour(e0, "192.0.2.9", 9), neighbour(e0, "2001:db8::9", 9)});
    EXPECT_EQ(m.sink.outcome(host), forwarded);
    EXPECT_EQ(m.sink.outcome("2001:db8::9/128"), forwarded);
    EXPECT_TRUE(m.mirror.has_host_route({ip("192.0.2.9"), e0}));
    m.apply({neighbour(e0, "192.0.2.9", 9, NUD_FAILED), removed(neighbour(e0, "2001:db8::9", 9))});
    EXPECT_EQ(m.sink.outcome(host), "none");
    EXPECT_EQ(m.sink.outcome("2001:db8::9/128"), "none");
    EXPECT_EQ(m.sink.outcome("192.0.2.0/24"), "punt_glean");
    EXPECT_FALSE(m.mirror.has_host_route({ip("192.0.2.9"), e0}));
}

TEST(MirrorHosts, DependsOnTheCoveringPrefix) {
    Mirrored m;
    m.apply({neighbour(e0, "192.0.2.9", 9)});
    EXPECT_EQ(m.sink.outcome(host), "none") << "nothing covers it";
    m.apply({route("192.0.0.0/16", {on(e0)})});
    EXPECT_EQ(m.sink.outcome(host), forwarded);
    m.apply({route("192.0.2.0/24", {via("192.0.2.1", e0)})});
    EXPECT_EQ(m.sink.outcome(host), "none") << "the longest match has a gateway";
    m.apply({removed(route("192.0.2.0/24", {via("192.0.2.1", e0)}))});
    EXPECT_EQ(m.sink.outcome(host), forwarded);
    m.apply({route("192.0.2.0/24", {on(e1)})});
    EXPECT_EQ(m.sink.outcome(host), "none") << "connected to another interface";
    m.apply({replacing(route("192.0.2.0/24", {on(e0)}))});
    EXPECT_EQ(m.sink.outcome(host), forwarded);
    m.apply({typed("192.0.2.8/29", RTN_LOCAL, local_table)});
    EXPECT_EQ(m.sink.outcome(host), "none") << "delivered to the router";
    m.apply({removed(typed("192.0.2.8/29", RTN_LOCAL, local_table)), removed(route("192.0.0.0/16", {on(e0)})),
             removed(route("192.0.2.0/24", {on(e0)}))});
    EXPECT_TRUE(m.sink.routes.empty());
}

TEST(MirrorHosts, BelowANexthopObject) {
    Mirrored m;
    m.apply({object(5, on(e0)), by_id("192.0.2.0/24", 5), neighbour(e0, "192.0.2.9", 9)});
    EXPECT_EQ(m.sink.outcome(host), forwarded);
    m.apply({object(5, via("192.0.2.1", e0))});
    EXPECT_EQ(m.sink.outcome(host), "none");
    m.apply({object(5, on(e0))});
    EXPECT_EQ(m.sink.outcome(host), forwarded);
}

TEST(MirrorHosts, KernelRouteOfTheSamePrefixWins) {
    Mirrored m;
    m.apply({route("192.0.2.0/24", {on(e0)}), neighbour(e0, "192.0.2.9", 9)});
    m.apply({typed(host, RTN_BLACKHOLE)});
    EXPECT_EQ(m.sink.outcome(host), "drop_blackhole");
    m.apply({removed(typed(host, RTN_BLACKHOLE))});
    EXPECT_EQ(m.sink.outcome(host), forwarded);
    m.apply({typed(host, RTN_LOCAL, local_table)});
    EXPECT_EQ(m.sink.outcome(host), "punt_local");
}

// `ip addr add 192.0.2.1 peer 192.0.2.9`, `ip route add 192.0.2.9/32 dev e0`.
TEST(MirrorHosts, ConnectedByARouteOfItsOwn) {
    Mirrored m;
    m.apply({route(host, {on(e0)})});
    EXPECT_EQ(m.sink.outcome(host), "punt_glean");
    m.apply({neighbour(e0, "192.0.2.9", 9)});
    EXPECT_EQ(m.sink.outcome(host), forwarded);
    EXPECT_TRUE(m.mirror.has_host_route({ip("192.0.2.9"), e0}));
    m.apply({neighbour(e0, "192.0.2.9", 9, NUD_FAILED)});
    EXPECT_EQ(m.sink.outcome(host), "punt_glean");
    m.apply({neighbour(e0, "192.0.2.9", 9), replacing(route(host, {on(e1)}))});
    EXPECT_EQ(m.sink.outcome(host), "punt_glean") << "another interface's neighbour";
    m.apply({removed(route(host, {on(e1)}))});
    EXPECT_EQ(m.sink.outcome(host), "none");
}

TEST(MirrorHosts, NeverForLinkLocalOrGroups) {
    Mirrored m;
    m.apply({route("fe80::/64", {on(e0)}, 256), route("0.0.0.0/0", {on(e0)}), route("::/0", {on(e0)})});
    m.apply({neighbour(e0, "fe80::9", 9), neighbour(e0, "224.0.0.5", 5, NUD_NOARP),
             neighbour(e0, "255.255.255.255", 5, NUD_NOARP), neighbour(e0, "ff02::1", 5, NUD_NOARP),
             route("2001:db8::/32", {via("fe80::9", e0)})});
    EXPECT_EQ(m.sink.routes.size(), 4U);
    EXPECT_EQ(m.sink.outcome("2001:db8::/32"), forwarded) << "but it is a gateway";
}

TEST(MirrorHosts, SharesTheAdjacencyOfAGateway) {
    Mirrored m;
    m.apply({route("192.0.2.0/24", {on(e0)}), neighbour(e0, "192.0.2.9", 9),
             route("10.0.0.0/8", {via("192.0.2.9", e0)})});
    EXPECT_EQ(m.sink.adjacencies.size(), 1U);
    m.apply({link(e0, "e0", false)});
    EXPECT_EQ(m.sink.outcome(host), "forward 10:punt_link_down*1");
}

}  // namespace
}  // namespace millrace::sync::test
