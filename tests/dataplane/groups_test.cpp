// SPDX-License-Identifier: BSD-3-Clause
// Which next hop a packet takes, and how changes of neighbours, interfaces and groups take effect.
#include <gtest/gtest.h>

#include <map>

#include "tests/dataplane/test_router.hpp"

namespace millrace::test {
namespace {

MacAddress hop(uint8_t i) {
    return {{0x02, 0, 0, 0, 0x0a, i}};
}

Bytes flow(uint16_t source_port, uint8_t ttl = 64) {
    return Frame()
        .ethernet({.destination = port_mac(0)})
        .ipv4({.ttl = ttl})
        .udp({.source = source_port})
        .payload(10)
        .bytes();
}

Bytes flow6(uint16_t source_port) {
    return Frame().ethernet({.destination = port_mac(0)}).ipv6().tcp({.source = source_port}).bytes();
}

// Port that each of the frames left on, in their order.
std::vector<unsigned> ports_of(TestRouter& router, const std::vector<Bytes>& frames) {
    std::vector<unsigned> out;
    for (const Bytes& f : frames) {
        router.receive(0, {f});
        const auto sent = router.sent();
        EXPECT_EQ(sent.size(), 1U);
        out.push_back(sent.empty() ? 99 : sent[0].port);
    }
    return out;
}

TEST(Ecmp, FlowsSpreadByWeightAndStay) {
    TestRouter router;
    const GroupId group = router.group({{router.neighbour(1, hop(1)), 1},
                                        {router.neighbour(2, hop(2)), 1},
                                        {router.neighbour(3, hop(3)), 2}});
    router.route("198.51.100.0/24", group);
    router.route("2001:db8:2::/48", group);
    for (const auto make : {+[](uint16_t p) { return flow(p); }, +[](uint16_t p) { return flow6(p); }}) {
        std::vector<Bytes> frames;
        for (unsigned f = 0; f < 10000; ++f) {
            frames.push_back(make(static_cast<uint16_t>(1024 + f)));
        }
        const auto first = ports_of(router, frames);
        std::map<unsigned, int> flows;
        for (const unsigned p : first) {
            ++flows[p];
        }
        EXPECT_NEAR(flows[1], 2500, 200);  // 2 % of 10,000 flows
        EXPECT_NEAR(flows[2], 2500, 200);
        EXPECT_NEAR(flows[3], 5000, 200);
        EXPECT_EQ(ports_of(router, frames), first) << "a flow stays on its path";
    }
}

TEST(Ecmp, FragmentsOfADatagramTakeOnePath) {
    TestRouter router;
    router.route("198.51.100.0/24", router.group({{router.neighbour(1, hop(1))},
                                                  {router.neighbour(2, hop(2))},
                                                  {router.neighbour(3, hop(3))}}));
    for (uint16_t f = 0; f < 100; ++f) {
        const Ipv4 first{.source = {Family::ipv4, {192, 0, 2, static_cast<uint8_t>(f)}},
                         .more_fragments = true,
                         .protocol = Protocol::udp};
        Ipv4 later = first;
        later.more_fragments = false;
        later.fragment_offset = 4;
        const auto ports = ports_of(
            router, {Frame()
                         .ethernet({.destination = port_mac(0)})
                         .ipv4(first)
                         .udp({.source = f})
                         .payload(24)
                         .bytes(),
                     Frame().ethernet({.destination = port_mac(0)}).ipv4(later).payload(32).bytes()});
        ASSERT_EQ(ports[0], ports[1]) << "source 192.0.2." << f;
    }
}

TEST(Ecmp, TtlAndLengthDoNotMoveAFlow) {
    TestRouter router;
    router.route("198.51.100.0/24",
                 router.group({{router.neighbour(1, hop(1))}, {router.neighbour(2, hop(2))}}));
    for (uint16_t f = 0; f < 100; ++f) {
        const auto ports = ports_of(router, {flow(f, 64), flow(f, 3)});
        ASSERT_EQ(ports[0], ports[1]);
    }
}

TEST(Change, NeighbourMovesToAnotherMac) {
    TestRouter router;
    const AdjacencyId id = router.neighbour(1, hop(1));
    router.route("198.51.100.0/24", router.group({{id}}));
    router.tables().set_adjacency(id, {Ifindex{2}, Reason::forwarded, hop(9)});
    router.receive(0, {flow(1)});
    const auto sent = router.sent();
    ASSERT_EQ(sent.size(), 1U);
    EXPECT_EQ(sent[0].frame[5], 9);
}

TEST(Change, LinkDownPuntsAtOnceAndComesBack) {
    TestRouter router;
    router.route("198.51.100.0/24", router.group({{router.neighbour(1, hop(1))}}));
    router.interface(1, 1500, false);
    router.receive(0, {flow(1)});
    EXPECT_TRUE(router.sent().empty());
    EXPECT_EQ(router.punted().size(), 1U);
    EXPECT_EQ(router.count(0, Reason::punt_link_down), 1U);
    router.interface(1, 1500, true);
    router.receive(0, {flow(1)});
    EXPECT_EQ(router.sent().size(), 1U);
}

TEST(Change, SmallerMtuPuntsWhatNoLongerFits) {
    TestRouter router;
    router.route("198.51.100.0/24", router.group({{router.neighbour(1, hop(1))}}));
    const Bytes frame = Frame().ethernet({.destination = port_mac(0)}).ipv4().payload(1280).bytes();
    router.interface(1, 1300);
    router.receive(0, {frame});
    EXPECT_EQ(router.sent().size(), 1U);
    router.interface(1, 1299);
    router.receive(0, {frame});
    EXPECT_TRUE(router.sent().empty());
    EXPECT_EQ(router.count(0, Reason::punt_too_big), 1U);
}

TEST(Change, RouteFollowsItsLatestGroup) {
    TestRouter router;
    const GroupId one = router.group({{router.neighbour(1, hop(1))}});
    const GroupId two = router.group({{router.neighbour(2, hop(2))}});
    router.route("198.51.100.0/24", one);
    router.route("198.51.100.0/25", two);
    EXPECT_EQ(ports_of(router, {flow(1)}), std::vector<unsigned>{2});
    router.tables().remove_route(main_table, *Prefix::parse("198.51.100.0/25"));
    EXPECT_EQ(ports_of(router, {flow(1)}), std::vector<unsigned>{1});
    router.tables().set_group(one, {Reason::drop_blackhole, {}, {}});
    router.receive(0, {flow(1)});
    EXPECT_EQ(router.count(0, Reason::drop_blackhole), 1U);
    router.tables().remove_route(main_table, *Prefix::parse("198.51.100.0/24"));
    router.receive(0, {flow(1)});
    EXPECT_EQ(router.count(0, Reason::punt_no_route), 1U);
}

}  // namespace
}  // namespace millrace::test
