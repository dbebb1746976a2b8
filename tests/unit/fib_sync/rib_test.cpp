// SPDX-License-Identifier: BSD-3-Clause
// The neighbour and prefix indexes that the mirror's host routes rest on.
#include <gtest/gtest.h>

#include "fib_sync/rib.hpp"
#include "messages.hpp"

namespace millrace::sync::test {
namespace {

TEST(Rib, LongestMatchLeavesTheHostPrefixOut) {
    Rib rib;
    for (const char* prefix :
         {"0.0.0.0/0", "10.0.0.0/8", "10.1.0.0/16", "10.1.2.3/32", "::/0", "2001:db8::/32"}) {
        rib.at(net(prefix)).routed = true;
        rib.count_length(net(prefix), true);
    }
    EXPECT_EQ(rib.longest_match(ip("10.1.2.3")), net("10.1.0.0/16"));
    EXPECT_EQ(rib.longest_match(ip("10.2.2.3")), net("10.0.0.0/8"));
    EXPECT_EQ(rib.longest_match(ip("192.0.2.1")), net("0.0.0.0/0"));
    EXPECT_EQ(rib.longest_match(ip("2001:db8::1")), net("2001:db8::/32"));
    EXPECT_EQ(rib.longest_match(ip("2001:db9::1")), net("::/0"));
    rib.find(net("10.1.0.0/16"))->routed = false;
    rib.count_length(net("10.1.0.0/16"), false);
    EXPECT_EQ(rib.longest_match(ip("10.1.2.3")), net("10.0.0.0/8"));
}

Route by_gateway(uint32_t metric, const char* gateway) {
    Route r;
    r.metric = metric;
    r.paths = {via(gateway, e0)};
    return r;
}

TEST(RouteStore, HoldsEachRouteOnce) {
    RouteStore store;
    const RouteId a = store.hold(by_gateway(1, "192.0.2.1"));
    const RouteId b = store.hold(by_gateway(1, "192.0.2.2"));
    EXPECT_NE(a, b);
    EXPECT_NE(a, RouteId{});
    EXPECT_EQ(store.hold(by_gateway(1, "192.0.2.1")), a);
    EXPECT_EQ(store.size(), 2U);
    store.release(a);
    EXPECT_EQ(store.get(a), by_gateway(1, "192.0.2.1"));
    store.release(a);
    EXPECT_EQ(store.size(), 1U);
    EXPECT_EQ(store.hold(by_gateway(2, "192.0.2.1")), a) << "the place is used again";
    EXPECT_EQ(store.get(b), by_gateway(1, "192.0.2.2"));
}

TEST(RouteStore, EveryRouteOfItsOwn) {
    RouteStore store;
    std::vector<RouteId> ids;
    for (uint32_t metric = 0; metric < 10'000; ++metric) {
        ids.push_back(store.hold(by_gateway(metric, "192.0.2.1")));
    }
    EXPECT_EQ(store.size(), 10'000U);
    for (uint32_t metric = 0; metric < 10'000; ++metric) {
        ASSERT_EQ(store.get(ids[metric]).metric, metric);
        store.release(ids[metric]);
    }
    EXPECT_EQ(store.size(), 0U);
}

TEST(RouteStore, CountsTheUsesOfNexthopObjects) {
    RouteStore store;
    Route r;
    r.nexthop = NexthopId{7};
    const RouteId a = store.hold(r);
    store.hold(r);
    r.metric = 3;
    const RouteId b = store.hold(r);
    EXPECT_EQ(store.uses(NexthopId{7}), 2U);
    store.release(a);
    store.release(b);
    EXPECT_EQ(store.uses(NexthopId{7}), 1U);
    store.release(a);
    EXPECT_EQ(store.uses(NexthopId{7}), 0U);
}

// Whatever happens to prefixes, a route that none has is not kept.
TEST(Rib, LeavesNoRouteBehind) {
    Rib rib;
    const auto apply = [&](const RouteMessage& m) { rib.apply(rib.at(m.prefix), m, false); };
    for (uint32_t i = 0; i < 50; ++i) {
        apply(replacing(route("10.0.0.0/8", {via("192.0.2.1", e0)}, i % 3)));
        apply(replacing(route("10.0.0.0/8", {via("192.0.2.2", e0)}, i % 5)));
        apply(appending(route("2001:db8::/32", {via("fe80::1", e0)}, 1024)));
        apply(appending(route("2001:db8::/32", {via("fe80::2", e1)}, 1024)));
        apply(removed(route("2001:db8::/32", {via("fe80::1", e0)}, 1024)));
    }
    EXPECT_EQ(rib.routes().size(), 6U);
    rib.set_generation(9);
    rib.table().visit(nullptr, [&](const Prefix& prefix, PrefixEntry& entry) {
        EXPECT_TRUE(rib.sweep(prefix, entry));
        EXPECT_FALSE(entry.has_route());
        return Visit::erase;
    });
    EXPECT_EQ(rib.routes().size(), 0U);
    EXPECT_EQ(rib.table().size(), 0U);
}

TEST(PrefixTable, OrdersAsPrefixesDo) {
    PrefixTable<int> table;
    const std::vector<const char*> ordered = {
        "0.0.0.0/0", "9.0.0.0/8",     "10.0.0.0/8",    "10.0.0.0/9",      "10.0.1.0/24", "200.0.0.0/8",
        "::/0",      "2001:db8::/32", "2001:db8::/48", "2001:db8::1/128", "fe80::/64"};
    for (size_t i = 0; i < ordered.size(); ++i) {
        table.at(net(ordered[(i * 7) % ordered.size()])) = static_cast<int>((i * 7) % ordered.size());
    }
    for (size_t after = 0; after <= ordered.size(); ++after) {
        size_t next = after;
        const Prefix from = after == 0 ? Prefix{} : net(ordered[after - 1]);
        table.visit(after == 0 ? nullptr : &from, [&](const Prefix& prefix, const int& value) {
            EXPECT_EQ(prefix, net(ordered.at(next)));
            EXPECT_EQ(value, static_cast<int>(next));
            ++next;
            return Visit::next;
        });
        EXPECT_EQ(next, ordered.size());
    }
    table.visit(nullptr,
                [](const Prefix&, int& value) { return value % 2 == 0 ? Visit::erase : Visit::next; });
    EXPECT_EQ(table.size(), 5U);
    EXPECT_EQ(table.size(Family::ipv4), 3U);
    EXPECT_EQ(table.find(net("10.0.0.0/8")), nullptr);
    EXPECT_EQ(*table.find(net("10.0.0.0/9")), 3);
}

TEST(Neighbours, WithinAPrefix) {
    Neighbours table;
    for (const char* a : {"10.0.0.255", "10.0.1.0", "10.0.1.9", "10.0.1.255", "10.0.2.0"}) {
        table.apply(neighbour(e0, a, 1), 1);
        table.apply(neighbour(e1, a, 1), 1);
    }
    table.apply(neighbour(e0, "::a00:109", 1), 1);
    const auto within = [&](const char* prefix) {
        size_t n = 0;
        table.within(net(prefix), [&](const NeighborKey&, const Neighbor&) { ++n; });
        return n;
    };
    EXPECT_EQ(within("10.0.1.0/24"), 6U);
    EXPECT_EQ(within("10.0.1.9/32"), 2U);
    EXPECT_EQ(within("0.0.0.0/0"), 10U);
    EXPECT_EQ(within("::/0"), 1U);
    EXPECT_EQ(within("10.0.3.0/24"), 0U);
}

}  // namespace
}  // namespace millrace::sync::test
