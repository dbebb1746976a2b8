// SPDX-License-Identifier: BSD-3-Clause
// Every reason not to forward: the packet is dropped, or handed to the kernel as received, and counted once.
#include <gtest/gtest.h>
#include <rte_cycles.h>

#include <set>

#include "dataplane/forward/explain.hpp"
#include "tests/dataplane/test_router.hpp"

namespace millrace::test {
namespace {

constexpr MacAddress next_hop{{0x02, 0, 0, 0, 0x0a, 0x01}};

Frame in() {
    return Frame().ethernet({.destination = port_mac(0)});
}

Ipv4 to(const char* destination) {
    return {.destination = address(destination)};
}

Ipv6 to6(const char* destination) {
    return {.destination = address(destination)};
}

struct Case {
    const char* name;
    Reason reason;
    Bytes frame;
};

// For what can't be built with all lengths right: cut the frame after so many bytes.
Bytes cut(Bytes frame, size_t size) {
    frame.resize(size);
    return frame;
}

std::vector<Case> cases() {
    const Bytes v4 = in().ipv4().udp().payload(20).bytes();
    const Bytes v6 = in().ipv6().udp().payload(20).bytes();
    return {
        {"EmptyFrame", Reason::drop_truncated, cut(v4, 1)},
        {"NoEthernetHeader", Reason::drop_truncated, cut(v4, 13)},
        {"NoIpv4Header", Reason::drop_truncated, cut(v4, 14)},
        {"HalfIpv4Header", Reason::drop_truncated, cut(v4, 33)},
        {"HalfIpv6Header", Reason::drop_truncated, cut(v6, 53)},
        {"Ipv4Version6", Reason::drop_ip_version, in().ipv4({.version = 6}).udp().bytes()},
        {"Ipv6Version4", Reason::drop_ip_version, in().ipv6({.version = 4}).udp().bytes()},
        {"IhlTooSmall", Reason::drop_ip_length, in().ipv4({.ihl = 4}).udp().bytes()},
        {"TotalLengthBelowHeader", Reason::drop_ip_length, in().ipv4({.total_length = 19}).udp().bytes()},
        {"TotalLengthPastFrame", Reason::drop_ip_length, in().ipv4({.total_length = 29}).udp().bytes()},
        {"Ipv6PayloadPastFrame", Reason::drop_ip_length, in().ipv6({.payload_length = 9}).udp().bytes()},
        {"BadChecksum", Reason::drop_ip_checksum, in().ipv4({.header_checksum = 0x1234}).udp().bytes()},
        {"BadChecksumZero", Reason::drop_ip_checksum, in().ipv4({.header_checksum = 0}).udp().bytes()},
        {"BadChecksumFfff", Reason::drop_ip_checksum, in().ipv4({.header_checksum = 0xffff}).udp().bytes()},
        {"Arp", Reason::punt_not_ip,
         Frame().ethernet({.destination = port_mac(0), .type = EtherType::arp}).payload(28).bytes()},
        {"Vlan", Reason::punt_not_ip,
         Frame().ethernet({.destination = port_mac(0)}).vlan().ipv4().udp().bytes()},
        {"Ipv4Options", Reason::punt_ip_options, in().ipv4({.options = {1, 1, 1, 0}}).udp().bytes()},
        {"Ipv6HopByHop", Reason::punt_ip_options,
         in().ipv6().extension({.type = Protocol::hop_by_hop}).udp().bytes()},
        {"Ttl0", Reason::punt_ttl, in().ipv4({.ttl = 0}).udp().bytes()},
        {"Ttl1", Reason::punt_ttl, in().ipv4({.ttl = 1}).udp().bytes()},
        {"HopLimit0", Reason::punt_ttl, in().ipv6({.hop_limit = 0}).udp().bytes()},
        {"HopLimit1", Reason::punt_ttl, in().ipv6({.hop_limit = 1}).udp().bytes()},
        {"Ipv4NoRoute", Reason::punt_no_route, in().ipv4(to("203.0.113.1")).udp().bytes()},
        {"Ipv6NoRoute", Reason::punt_no_route, in().ipv6(to6("2001:db8:ff::1")).udp().bytes()},
        {"Blackhole", Reason::drop_blackhole, in().ipv4(to("10.0.1.1")).udp().bytes()},
        {"Blackhole6", Reason::drop_blackhole, in().ipv6(to6("2001:db8:a1::1")).udp().bytes()},
        {"Glean", Reason::punt_glean, in().ipv4(to("10.0.2.1")).udp().bytes()},
        {"NoNeighbour", Reason::punt_no_neighbour, in().ipv4(to("10.0.3.1")).udp().bytes()},
        {"LinkDown", Reason::punt_link_down, in().ipv4(to("10.0.4.1")).udp().bytes()},
        {"Ipv4TooBig", Reason::punt_too_big, in().ipv4().payload(1481).bytes()},
        {"Ipv4TooBigDf", Reason::punt_too_big, in().ipv4({.dont_fragment = true}).payload(1481).bytes()},
        {"Ipv6TooBig", Reason::punt_too_big, in().ipv6().payload(1461).bytes()},
        {"Local", Reason::punt_local, in().ipv4(to("10.0.5.1")).udp().bytes()},
        {"Unreachable", Reason::punt_unreachable, in().ipv4(to("10.0.6.1")).udp().bytes()},
        {"Unmanaged", Reason::punt_unmanaged, in().ipv4(to("10.0.7.1")).udp().bytes()},
        {"Unsupported", Reason::punt_unsupported, in().ipv4(to("10.0.8.1")).udp().bytes()},
        {"Encapsulation", Reason::punt_encapsulation, in().ipv4(to("10.0.10.1")).udp().bytes()},
        {"Qdisc", Reason::punt_qdisc, in().ipv4(to("10.0.11.1")).udp().bytes()},
        {"NoRoom", Reason::punt_no_room, in().ipv4(to("10.0.12.1")).udp().bytes()},
        {"NoRoomForTheNextHop6", Reason::punt_no_room, in().ipv6(to6("2001:db8:a12::1")).udp().bytes()},
        {"Hairpin", Reason::punt_hairpin, in().ipv4(to("10.0.9.1")).udp().bytes()},
        {"Hairpin6", Reason::punt_hairpin, in().ipv6(to6("2001:db8:a9::1")).udp().bytes()},
    };
}

class Reasons : public testing::TestWithParam<Case> {};

TEST_P(Reasons, CountedOnceAndNeverForwarded) {
    TestRouter router;
    const GroupId forward = router.group({{router.neighbour(1, next_hop)}});
    router.route("198.51.100.0/24", forward);
    router.route("2001:db8:2::/48", forward);
    router.route("10.0.1.0/24", router.group(Reason::drop_blackhole));
    router.route("2001:db8:a1::/48", router.group(Reason::drop_blackhole));
    router.route("10.0.2.0/24", router.group(Reason::punt_glean));
    const AdjacencyId unresolved = router.tables().create_adjacency();
    router.tables().set_adjacency(unresolved, {Ifindex{2}, Reason::punt_no_neighbour, {}});
    router.route("10.0.3.0/24", router.group({{unresolved}}));
    router.interface(2, 1500, false);
    router.route("10.0.4.0/24", router.group({{router.neighbour(2, next_hop)}}));
    router.route("10.0.5.0/24", router.group(Reason::punt_local));
    router.route("10.0.6.0/24", router.group(Reason::punt_unreachable));
    router.route("10.0.7.0/24", router.group(Reason::punt_unmanaged));
    router.route("10.0.8.0/24", router.group(Reason::punt_unsupported));
    router.route("10.0.10.0/24", router.group(Reason::punt_encapsulation));
    const AdjacencyId shaped = router.tables().create_adjacency();
    router.tables().set_adjacency(shaped, {Ifindex{2}, Reason::punt_qdisc, {}});
    router.route("10.0.11.0/24", router.group({{shaped}}));
    router.route("10.0.12.0/24", no_room);
    router.route("2001:db8:a12::/48", router.group({{no_adjacency}}));
    const GroupId back = router.group({{router.neighbour(0, next_hop)}});
    router.route("10.0.9.0/24", back);
    router.route("2001:db8:a9::/48", back);

    const Case& c = GetParam();
    EXPECT_EQ(dataplane::explain(router.tables(), PortId{0}, c.frame).reason, c.reason);
    router.receive(0, {c.frame});
    EXPECT_TRUE(router.sent().empty());
    const auto punted = router.punted();
    if (is_drop(c.reason)) {
        EXPECT_TRUE(punted.empty());
    } else {
        EXPECT_EQ(punted, (std::vector<TestRouter::Out>{{0, c.frame}}))
            << "as received, with its ingress port";
    }
    for (unsigned r = 0; r < reason_count; ++r) {
        const auto reason = static_cast<Reason>(r);
        EXPECT_EQ(router.count(0, reason), reason == c.reason ? 1U : 0U) << name(reason);
    }
    EXPECT_EQ(router.counters(0).rx_packets.read(), 1U);
}

INSTANTIATE_TEST_SUITE_P(All, Reasons, testing::ValuesIn(cases()),
                         [](const auto& test) { return test.param.name; });

// drop_tx_full, drop_late and drop_punt_full have tests of their own below, punt_reverse_path a file;
// drop_punt_write and drop_punt_rate are the punter's.
TEST(ReasonsTable, EveryReasonHasItsTest) {
    std::set<Reason> tested = {Reason::forwarded,        Reason::drop_tx_full,    Reason::drop_late,
                               Reason::drop_punt_full,   Reason::drop_punt_write, Reason::drop_punt_rate,
                               Reason::punt_reverse_path};
    for (const Case& c : cases()) {
        tested.insert(c.reason);
    }
    EXPECT_EQ(tested.size(), reason_count);
}

TEST(Late, WhatTheWorkerHadInHandWhileItStoodStillIsDiscarded) {
    TestRouter router;
    router.route("198.51.100.0/24", router.group({{router.neighbour(1, next_hop)}}));
    router.route("10.0.7.0/24", router.group(Reason::punt_unmanaged));
    const std::vector<Bytes> frames = {in().ipv4().udp().bytes(),
                                       in().ipv4({.destination = address("10.0.7.9")}).udp().bytes(),
                                       in().ipv4({.destination = address("203.0.113.9")}).udp().bytes()};
    router.receive(0, frames, rte_rdtsc());
    EXPECT_EQ(router.count(0, Reason::drop_late), 3U);
    EXPECT_TRUE(router.sent().empty());
    EXPECT_TRUE(router.punted().empty());
    EXPECT_EQ(router.free_buffers(), TestRouter::buffers);
    router.receive(0, frames, rte_rdtsc() + rte_get_tsc_hz() * 60);
    EXPECT_EQ(router.count(0, Reason::drop_late), 3U);
    EXPECT_EQ(router.sent().size(), 1U);
    EXPECT_EQ(router.punted().size(), 2U);
}

TEST(FullRings, TxFullIsDroppedAndCounted) {
    TestRouter router(16);
    router.route("198.51.100.0/24", router.group({{router.neighbour(1, next_hop)}}));
    router.receive(0, std::vector<Bytes>(30, in().ipv4().udp().bytes()));
    EXPECT_EQ(router.count(0, Reason::forwarded), 16U);
    EXPECT_EQ(router.count(0, Reason::drop_tx_full), 14U);
    EXPECT_EQ(router.counters(1).tx_packets.read(), 16U);
    EXPECT_EQ(router.counters(1).tx_dropped.read(), 14U);
    EXPECT_EQ(router.counters(0).tx_dropped.read(), 0U);
    EXPECT_EQ(router.sent().size(), 16U);
    EXPECT_EQ(router.free_buffers(), TestRouter::buffers);
}

TEST(FullRings, PuntFullIsDroppedAndCounted) {
    TestRouter router(256, 16);
    router.receive(0, std::vector<Bytes>(30, in().ipv4().udp().bytes()));
    EXPECT_EQ(router.count(0, Reason::punt_no_route), 16U);
    EXPECT_EQ(router.count(0, Reason::drop_punt_full), 14U);
    EXPECT_EQ(router.punted().size(), 16U);
    EXPECT_EQ(router.free_buffers(), TestRouter::buffers);
}

// A flood that the kernel would only answer takes no room from what it is to carry on.
TEST(FullRings, KindsOfPuntHaveTheirOwnRoom) {
    TestRouter router(256, 16);
    router.route("10.0.7.0/24", router.group(Reason::punt_unmanaged));
    std::vector<Bytes> frames(20, in().ipv4().udp().bytes());
    frames.resize(30, in().ipv4(to("10.0.7.1")).udp().bytes());
    router.receive(0, frames);
    EXPECT_EQ(router.count(0, Reason::punt_unmanaged), 10U);
    EXPECT_EQ(router.count(0, Reason::punt_no_route), 16U);
    EXPECT_EQ(router.count(0, Reason::drop_punt_full), 4U);
    EXPECT_EQ(router.punted().size(), 26U);
}

}  // namespace
}  // namespace millrace::test
