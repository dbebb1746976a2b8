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
    EXPECT_EQ(rib.longest_match(ip("10.1.2.3")), rib.find(net("10.1.0.0/16")));
    EXPECT_EQ(rib.longest_match(ip("10.2.2.3")), rib.find(net("10.0.0.0/8")));
    EXPECT_EQ(rib.longest_match(ip("192.0.2.1")), rib.find(net("0.0.0.0/0")));
    EXPECT_EQ(rib.longest_match(ip("2001:db8::1")), rib.find(net("2001:db8::/32")));
    EXPECT_EQ(rib.longest_match(ip("2001:db9::1")), rib.find(net("::/0")));
    rib.find(net("10.1.0.0/16"))->routed = false;
    rib.count_length(net("10.1.0.0/16"), false);
    EXPECT_EQ(rib.longest_match(ip("10.1.2.3")), rib.find(net("10.0.0.0/8")));
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
