// SPDX-License-Identifier: BSD-3-Clause
// PortMaps: what the daemon writes is what the classifier goes by, and what an earlier daemon left goes away.
#include "steering_bpf/port.hpp"

#include <gmock/gmock.h>

#include "classifier_fixture.hpp"

namespace millrace::test {
namespace {

using steering::LocalTable;
using steering::PortMaps;
using testing::HasSubstr;

using PortMapsTest = ClassifierTest;

Bytes v4_to(const IpAddress& destination) {
    return Frame().ethernet().ipv4({.destination = destination}).udp().bytes();
}
Bytes v6_to(const IpAddress& destination) {
    return Frame().ethernet().ipv6({.destination = destination}).udp().bytes();
}
IpAddress v4_number(uint32_t n) {
    const uint8_t bytes[] = {10, static_cast<uint8_t>(n >> 16), static_cast<uint8_t>(n >> 8),
                             static_cast<uint8_t>(n)};
    return IpAddress::from_bytes(Family::ipv4, bytes);
}

TEST_F(PortMapsTest, NotAttached) {
    const auto opened = PortMaps::open("e9", pin_root());
    ASSERT_FALSE(opened);
    EXPECT_EQ(opened.error().text(), "port e9: no classifier attached; run 'millrace-steer attach e9'");
}

TEST_F(PortMapsTest, ConfigureLeavesTheKeepPolicy) {
    ASSERT_TRUE(maps().set_keep(
        {.prefixes = {Prefix::parse("10.0.0.0/8").value()}, .protocols = {47}, .l4_ports = {{6, 179}}}));
    auto config = plain_config();
    config.flags |= MILLRACE_FLAG_KEEP6;  // not configure's to say
    config.max_frame = 9;
    ASSERT_TRUE(maps().configure(config));
    const auto now = maps().config();
    ASSERT_TRUE(now);
    EXPECT_EQ(now->flags, MILLRACE_FLAG_ENABLED | MILLRACE_FLAG_KEEP4 | MILLRACE_FLAG_KEEP_PROTOCOL |
                              MILLRACE_FLAG_KEEP_L4);
    EXPECT_EQ(now->keep_protocol[0], 1ULL << 47);
    EXPECT_EQ(now->max_frame, 9);
}

TEST_F(PortMapsTest, FrameLongerThanABufferIsRefused) {
    auto config = plain_config();
    config.max_frame = MILLRACE_MAX_FRAME;
    EXPECT_TRUE(maps().configure(config));
    config.max_frame = MILLRACE_MAX_FRAME + 1;
    const auto refused = maps().configure(config);
    ASSERT_FALSE(refused);
    EXPECT_THAT(refused.error().text(), HasSubstr("3521"));
}

TEST_F(PortMapsTest, PortsOfAProtocolWithoutPorts) {
    const auto refused = maps().set_keep({.prefixes = {}, .protocols = {}, .l4_ports = {{1, 8}}});
    ASSERT_FALSE(refused);
    EXPECT_THAT(refused.error().text(), HasSubstr("protocol 1"));
    expect(MILLRACE_STEER_REDIRECT, Frame().ethernet().ipv4().icmp().bytes());
}

TEST_F(PortMapsTest, KeepPolicyIsReplaced) {
    const auto ten = Prefix::parse("10.0.0.0/8").value();
    const auto eleven = Prefix::parse("11.0.0.0/8").value();
    const auto eight = Prefix::parse("2001:db8:8::/48").value();
    ASSERT_TRUE(maps().set_keep({.prefixes = {ten, eight}, .protocols = {}, .l4_ports = {}}));
    expect(MILLRACE_STEER_KEEP_PREFIX, v4_to(address("10.1.1.1")));
    expect(MILLRACE_STEER_KEEP_PREFIX, v6_to(address("2001:db8:8::8")));
    ASSERT_TRUE(maps().set_keep({.prefixes = {eleven}, .protocols = {}, .l4_ports = {}}));
    expect(MILLRACE_STEER_REDIRECT, v4_to(address("10.1.1.1")));
    expect(MILLRACE_STEER_KEEP_PREFIX, v4_to(address("11.1.1.1")));
    expect(MILLRACE_STEER_REDIRECT, v6_to(address("2001:db8:8::8")));
}

// The whole table can be exchanged although old and new don't fit beside each other.
TEST_F(PortMapsTest, FullTablesAndOneMore) {
    KeepConfig keep;
    for (uint32_t i = 0; i < MILLRACE_MAX_KEEP; ++i) {
        keep.prefixes.push_back(Prefix::make(v4_number(2 * i), 32));
    }
    for (int round = 0; round < 2; ++round) {
        const auto kept = maps().set_keep(keep);
        ASSERT_TRUE(kept) << kept.error().text();
        for (Prefix& prefix : keep.prefixes) {
            prefix.address.bytes[3] |= 1;
        }
    }
    expect(MILLRACE_STEER_KEEP_PREFIX, v4_to(keep.prefixes.back().address));
    keep.prefixes.push_back(Prefix::parse("203.0.113.0/24").value());
    const auto full = maps().set_keep(keep);
    ASSERT_FALSE(full);
    EXPECT_THAT(full.error().text(), HasSubstr("port lo: keep: cannot store 4097 IPv4 prefixes"));
}

TEST_F(PortMapsTest, OwnAddressesOfAnEarlierDaemonStayUntilTheNextHasItsOwn) {
    const IpAddress own4[] = {address("198.51.100.1"), address("198.51.100.2"), address("198.51.100.3")};
    const IpAddress own6[] = {address("2001:db8:2::1"), address("2001:db8:2::2")};
    for (const IpAddress& a : {own4[0], own4[1], own6[0]}) {
        add_local(a);
        add_local(a);  // twice is once
    }
    EXPECT_EQ(own(Family::ipv4).size(), 2U);
    next_daemon();
    expect(MILLRACE_STEER_LOCAL, v4_to(own4[0]));
    expect(MILLRACE_STEER_LOCAL, v6_to(own6[0]));

    auto table4 = LocalTable::create(Family::ipv4);
    auto table6 = LocalTable::create(Family::ipv6);
    ASSERT_TRUE(table4 && table6);
    for (const IpAddress& a : {own4[1], own4[2]}) {
        ASSERT_TRUE(table4->add(a));
    }
    ASSERT_TRUE(table6->add(own6[1]));
    ASSERT_TRUE(maps().set_local(*table4));
    ASSERT_TRUE(maps().set_local(*table6));
    expect(MILLRACE_STEER_REDIRECT, v4_to(own4[0]));
    expect(MILLRACE_STEER_LOCAL, v4_to(own4[1]));
    expect(MILLRACE_STEER_LOCAL, v4_to(own4[2]));
    expect(MILLRACE_STEER_REDIRECT, v6_to(own6[0]));
    expect(MILLRACE_STEER_LOCAL, v6_to(own6[1]));
    ASSERT_TRUE(table4->remove(own4[0]));  // not there: nothing to do
    ASSERT_TRUE(table4->remove(own4[1]));
    expect(MILLRACE_STEER_REDIRECT, v4_to(own4[1]));
}

TEST_F(PortMapsTest, OneDaemonAtATime) {
    const auto second = PortMaps::open("lo", pin_root());
    ASSERT_FALSE(second);
    EXPECT_THAT(second.error().text(), HasSubstr("port lo: another millraced serves it"));
    expect(MILLRACE_STEER_REDIRECT, v4_to(address("198.51.100.1")));
}

// Killed daemon: what it wrote stays, and so does the classifier's verdict by heartbeat alone.
TEST_F(PortMapsTest, HeartbeatOutlivesItsWriter) {
    maps().beat(monotonic_ns());
    next_daemon();
    expect(MILLRACE_STEER_REDIRECT, v4_to(address("198.51.100.1")));
    maps().beat(0);
    expect(MILLRACE_STEER_STALE, v4_to(address("198.51.100.1")));
}

}  // namespace
}  // namespace millrace::test
