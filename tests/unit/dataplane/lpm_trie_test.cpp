// SPDX-License-Identifier: BSD-3-Clause
#include "dataplane/fib/lpm_trie.hpp"

#include <gtest/gtest.h>

namespace millrace::dataplane {
namespace {

Prefix prefix(const char* text) {
    return Prefix::parse(text).value();
}

uint32_t lookup(const LpmTrie& trie, const char* address) {
    return trie.lookup(IpAddress::parse(address).value());
}

struct Trie {
    explicit Trie(Family family = Family::ipv4, size_t limit = 1 << 20) : trie(family, limit, quiescence) {}
    Quiescence quiescence{1};
    LpmTrie trie;
};

TEST(LpmTrie, EmptyFindsNothing) {
    const Trie t;
    EXPECT_EQ(lookup(t.trie, "192.0.2.1"), 0U);
}

TEST(LpmTrie, LongestPrefixWinsWhateverTheOrder) {
    Trie t;
    t.trie.insert(prefix("10.1.2.3/32"), 5);
    t.trie.insert(prefix("10.1.0.0/16"), 3);
    t.trie.insert(prefix("0.0.0.0/0"), 1);
    t.trie.insert(prefix("10.1.2.0/25"), 4);
    t.trie.insert(prefix("10.0.0.0/8"), 2);
    EXPECT_EQ(lookup(t.trie, "10.1.2.3"), 5U);
    EXPECT_EQ(lookup(t.trie, "10.1.2.4"), 4U);
    EXPECT_EQ(lookup(t.trie, "10.1.2.127"), 4U);
    EXPECT_EQ(lookup(t.trie, "10.1.2.128"), 3U);
    EXPECT_EQ(lookup(t.trie, "10.2.0.0"), 2U);
    EXPECT_EQ(lookup(t.trie, "11.0.0.0"), 1U);
}

TEST(LpmTrie, RemovedPrefixGivesWayToItsCover) {
    Trie t(Family::ipv6);
    t.trie.insert(prefix("::/0"), 1);
    t.trie.insert(prefix("2001:db8::/32"), 2);
    t.trie.insert(prefix("2001:db8:1::/48"), 3);
    t.trie.insert(prefix("2001:db8:1::1/128"), 4);
    EXPECT_EQ(lookup(t.trie, "2001:db8:1::1"), 4U);
    EXPECT_TRUE(t.trie.remove(prefix("2001:db8:1::1/128")));
    EXPECT_EQ(lookup(t.trie, "2001:db8:1::1"), 3U);
    EXPECT_TRUE(t.trie.remove(prefix("2001:db8::/32")));
    EXPECT_EQ(lookup(t.trie, "2001:db8:1::1"), 3U);
    EXPECT_EQ(lookup(t.trie, "2001:db8:2::1"), 1U);
    EXPECT_TRUE(t.trie.remove(prefix("2001:db8:1::/48")));
    EXPECT_EQ(lookup(t.trie, "2001:db8:1::1"), 1U);
    EXPECT_FALSE(t.trie.remove(prefix("2001:db8:1::/48")));
}

// Whatever the order in which shorter and longer ones come and go; short prefixes are kept apart.
TEST(LpmTrie, DefaultRouteAndShortPrefixes) {
    Trie t;
    t.trie.insert(prefix("0.0.0.0/0"), 1);
    t.trie.insert(prefix("128.0.0.0/1"), 2);
    EXPECT_EQ(lookup(t.trie, "127.255.255.255"), 1U);
    EXPECT_EQ(lookup(t.trie, "128.0.0.0"), 2U);
    t.trie.insert(prefix("192.0.0.0/8"), 3);
    t.trie.insert(prefix("192.0.2.0/24"), 4);
    EXPECT_EQ(lookup(t.trie, "192.0.1.255"), 3U);
    EXPECT_EQ(lookup(t.trie, "192.0.2.0"), 4U);
    t.trie.remove(prefix("192.0.0.0/8"));
    EXPECT_EQ(lookup(t.trie, "192.0.1.255"), 2U);
    t.trie.remove(prefix("192.0.2.0/24"));
    EXPECT_EQ(lookup(t.trie, "192.0.2.0"), 2U);
    t.trie.remove(prefix("128.0.0.0/1"));
    EXPECT_EQ(lookup(t.trie, "192.0.2.0"), 1U);
    t.trie.remove(prefix("0.0.0.0/0"));
    EXPECT_EQ(lookup(t.trie, "192.0.2.0"), 0U);
}

// A prefix with value 0 is a punt, not a hole.
TEST(LpmTrie, ValueZeroHidesTheCover) {
    Trie t;
    t.trie.insert(prefix("0.0.0.0/0"), 1);
    t.trie.insert(prefix("10.0.0.0/8"), 0);
    t.trie.insert(prefix("10.1.0.0/16"), 2);
    t.trie.insert(prefix("10.1.1.0/24"), 0);
    EXPECT_EQ(lookup(t.trie, "10.2.0.1"), 0U);
    EXPECT_EQ(lookup(t.trie, "10.1.0.1"), 2U);
    EXPECT_EQ(lookup(t.trie, "10.1.1.1"), 0U);
    EXPECT_EQ(lookup(t.trie, "11.0.0.1"), 1U);
}

TEST(LpmTrie, NodesComeBackAfterTheGracePeriod) {
    Trie t(Family::ipv4, 16384);
    for (int round = 0; round < 1000; ++round) {
        ASSERT_TRUE(t.trie.insert(prefix("10.1.2.3/32"), 5)) << "round " << round;
        EXPECT_EQ(lookup(t.trie, "10.1.2.3"), 5U);
        ASSERT_TRUE(t.trie.remove(prefix("10.1.2.3/32")));
        EXPECT_EQ(lookup(t.trie, "10.1.2.3"), 0U);
        t.trie.settle();
    }
    EXPECT_EQ(t.trie.usage().node_bytes, 0U);
}

TEST(LpmTrie, NodesStayWhileAWorkerMayReadThem) {
    Trie t;
    t.quiescence.add_worker(0);
    t.quiescence.online(0);
    t.trie.insert(prefix("10.1.2.3/32"), 5);
    t.trie.remove(prefix("10.1.2.3/32"));
    t.trie.settle();
    EXPECT_GT(t.trie.usage().node_bytes, 0U) << "the worker has not reported yet";
    t.quiescence.quiescent(0);
    t.trie.settle();
    EXPECT_EQ(t.trie.usage().node_bytes, 0U);
}

// A /30 of a /24 of its own: each takes a node.
Prefix nth(uint32_t i) {
    return {{Family::ipv4, {10, static_cast<uint8_t>(i / 64), static_cast<uint8_t>(i % 64), 0}}, 30};
}
// With a next hop each, until one does not fit. Returns how many are in the trie then.
uint32_t fill(LpmTrie& trie) {
    uint32_t n = 0;
    while (trie.insert(nth(n), 100 + n)) {
        ++n;
    }
    return n;
}

TEST(LpmTrie, FullTableBecomesPuntNeverTheWrongCover) {
    Trie t(Family::ipv4, 64 << 10);
    t.trie.insert(prefix("0.0.0.0/0"), 7);
    const uint32_t last = fill(t.trie);
    ASSERT_GT(last, 64U);
    EXPECT_EQ(t.trie.usage().punting, 1U);
    const auto address = fmt::format("10.{}.{}.1", last / 64, last % 64);
    EXPECT_EQ(lookup(t.trie, address.c_str()), raw(no_room)) << "and not the default route";
    EXPECT_EQ(t.trie.without_room(),
              std::vector{prefix(fmt::format("10.{}.{}.0/24", last / 64, last % 64).c_str())});
    EXPECT_EQ(lookup(t.trie, "10.0.1.1"), 101U) << "what was there before stays";
    EXPECT_EQ(lookup(t.trie, "10.255.0.1"), 7U);
    // A shorter prefix that comes later does not hide the hole.
    t.trie.insert(prefix("10.0.0.0/9"), 4);
    EXPECT_EQ(lookup(t.trie, address.c_str()), raw(no_room));
    EXPECT_EQ(lookup(t.trie, "10.0.1.1"), 101U);
}

TEST(LpmTrie, FullTableHealsWhenThereIsRoomAgain) {
    Trie t(Family::ipv4, 64 << 10);
    const uint32_t last = fill(t.trie);
    ASSERT_GT(last, 512U);
    const auto address = fmt::format("10.{}.{}.1", last / 64, last % 64);
    EXPECT_EQ(lookup(t.trie, address.c_str()), raw(no_room));
    for (uint32_t i = 256; i < last - 64; ++i) {
        ASSERT_TRUE(t.trie.remove(nth(i)));
    }
    t.trie.settle();
    EXPECT_EQ(t.trie.usage().punting, 0U);
    EXPECT_EQ(lookup(t.trie, address.c_str()), 100U + last);
    EXPECT_EQ(lookup(t.trie, "10.1.1.1"), 165U);
}

}  // namespace
}  // namespace millrace::dataplane
