// SPDX-License-Identifier: BSD-3-Clause
// Which next hop a packet takes, and how changes of neighbours, interfaces and groups take effect.
#include <gtest/gtest.h>

#include <map>
#include <set>

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

// The last byte of the MAC address that each of the frames was sent to, in their order.
std::vector<unsigned> hops_of(TestRouter& router, const std::vector<Bytes>& frames) {
    std::vector<unsigned> out;
    for (const Bytes& f : frames) {
        router.receive(0, {f});
        const auto sent = router.sent();
        EXPECT_EQ(sent.size(), 1U);
        out.push_back(sent.empty() ? 0 : sent[0].frame[5]);
    }
    return out;
}

enum class Flows { ports, addresses, ipv6_ports };

std::vector<Bytes> ten_thousand(Flows kind) {
    std::vector<Bytes> frames;
    for (unsigned f = 0; f < 10000; ++f) {
        const auto port = static_cast<uint16_t>(1024 + f);
        const auto high = static_cast<uint8_t>(f >> 8);
        const auto low = static_cast<uint8_t>(f);
        frames.push_back(kind == Flows::ports ? flow(port)
                         : kind == Flows::ipv6_ports
                             ? flow6(port)
                             : Frame()
                                   .ethernet({.destination = port_mac(0)})
                                   .ipv4({.source = {Family::ipv4, {10, 9, high, low}}})
                                   .udp()
                                   .bytes());
    }
    return frames;
}

// Members with weights, spread over the ports 1 to 3; member i has the MAC address hop(i + 1).
std::vector<GroupMember> members_of(TestRouter& router, const std::vector<uint32_t>& weights) {
    std::vector<GroupMember> members;
    for (size_t i = 0; i < weights.size(); ++i) {
        members.push_back(
            {router.neighbour(1 + static_cast<unsigned>(i % 3), hop(static_cast<uint8_t>(i + 1))),
             weights[i]});
    }
    return members;
}

TEST(Ecmp, TenThousandFlowsFollowTheWeightsAndStay) {
    const std::vector<std::vector<uint32_t>> cases = {{1, 1},
                                                      {1, 3},
                                                      {1, 1, 1},
                                                      {1, 2, 3, 4},
                                                      {256, 1},
                                                      {65536, 65536, 32768},
                                                      std::vector<uint32_t>(16, 1)};
    for (const auto& weights : cases) {
        TestRouter router;
        const GroupId group = router.group(members_of(router, weights));
        router.route("198.51.100.0/24", group);
        router.route("2001:db8:2::/48", group);
        uint64_t total = 0;
        for (const uint32_t w : weights) {
            total += w;
        }
        for (const Flows kind : {Flows::ports, Flows::addresses, Flows::ipv6_ports}) {
            const auto frames = ten_thousand(kind);
            const auto first = hops_of(router, frames);
            std::map<unsigned, unsigned> flows;
            for (const unsigned h : first) {
                ++flows[h];
            }
            for (size_t i = 0; i < weights.size(); ++i) {
                EXPECT_NEAR(flows[static_cast<unsigned>(i + 1)],
                            10000.0 * weights[i] / static_cast<double>(total), 200)
                    << "2 % of the flows; " << weights.size() << " members, member " << i;
            }
            EXPECT_EQ(hops_of(router, frames), first) << "a flow stays on its path";
        }
    }
}

TEST(Ecmp, OnlyTheFlowsOfALostMemberMoveAndTheyComeBack) {
    TestRouter router;
    auto members = members_of(router, {1, 2, 1, 3});
    const GroupId group = router.group(members);
    router.route("198.51.100.0/24", group);
    const auto frames = ten_thousand(Flows::ports);
    const auto before = hops_of(router, frames);
    const std::vector<GroupMember> left = {members[0], members[2], members[3]};
    router.tables().set_group(group, {Reason::forwarded, left, {}});
    const auto lost = hops_of(router, frames);
    for (size_t f = 0; f < frames.size(); ++f) {
        ASSERT_TRUE(before[f] == 2 ? lost[f] != 2 : lost[f] == before[f]) << "flow " << f;
    }
    // The same over another group, as when a route is announced with fewer hops.
    router.route("198.51.100.0/24", router.group({left[2], left[0], left[1]}));
    EXPECT_EQ(hops_of(router, frames), lost);
    router.route("198.51.100.0/24", group);
    router.tables().set_group(group, {Reason::forwarded, members, {}});
    EXPECT_EQ(hops_of(router, frames), before);
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

TEST(Ecmp, Ipv6FragmentsOfADatagramTakeOnePath) {
    TestRouter router;
    router.route("2001:db8:2::/48", router.group(members_of(router, {1, 1, 1})));
    for (uint16_t f = 0; f < 100; ++f) {
        std::vector<Bytes> fragments;
        for (const unsigned offset : {0U, 8U, 16U}) {
            // Fragment header (RFC 8200 4.5), then what is UDP's header in the first and data in the others.
            Bytes body = {IPPROTO_UDP,
                          0,
                          static_cast<uint8_t>(offset >> 5),
                          static_cast<uint8_t>(offset << 3 | 1),
                          0,
                          0,
                          0,
                          7};
            for (unsigned i = 0; i < 64; ++i) {
                body.push_back(static_cast<uint8_t>(offset * 31 + i));
            }
            Ipv6 header{.next_header = Protocol::fragment};
            header.source.bytes[15] = static_cast<uint8_t>(f);
            fragments.push_back(
                Frame().ethernet({.destination = port_mac(0)}).ipv6(header).payload(body).bytes());
        }
        const auto hops = hops_of(router, fragments);
        ASSERT_EQ(hops[0], hops[1]) << f;
        ASSERT_EQ(hops[0], hops[2]) << f;
    }
}

// A flow of TCP, UDP or ICMP echo from a client to a service behind the group, IPv4 or IPv6; back: its
// answers.
Frame& add_flow(Frame& frame, bool v6, uint16_t client, Protocol protocol, bool back) {
    if (v6) {
        Ipv6 h;
        h.source.bytes[15] = static_cast<uint8_t>(client);
        frame.ipv6(back ? Ipv6{.source = h.destination, .destination = h.source} : h);
    } else {
        Ipv4 h;
        h.source.bytes[3] = static_cast<uint8_t>(client);
        frame.ipv4(back ? Ipv4{.source = h.destination, .destination = h.source, .dont_fragment = true} : h);
    }
    const auto port = static_cast<uint16_t>(1024 + client);
    switch (protocol) {
        case Protocol::tcp:
            return frame.tcp(back ? Tcp{.source = 443, .destination = port}
                                  : Tcp{.source = port, .destination = 443});
        case Protocol::udp:
            return frame.udp(back ? Udp{.source = 53, .destination = port}
                                  : Udp{.source = port, .destination = 53});
        default:
            return frame.icmp({.type = static_cast<uint8_t>(v6 ? (back ? 129 : 128) : (back ? 0 : 8))});
    }
}

// From a router on the way, to the service, about a packet of the flow; quoted: bytes of that.
Bytes error_about(bool v6, uint8_t type, const Bytes& packet, size_t quoted) {
    Frame frame;
    frame.ethernet({.destination = port_mac(0)});
    if (v6) {
        frame.ipv6({.source = address("2001:db8:77::7")}).icmp({.type = type, .rest = 1280});
    } else {
        frame.ipv4({.source = address("203.0.113.7")}).icmp({.type = type, .rest = 576});
    }
    const size_t end = std::min(packet.size(), quoted);
    return frame.payload(Bytes(packet.begin(), packet.begin() + static_cast<ptrdiff_t>(end))).bytes();
}

// RFC 7690: a service behind an anycast address must hear of its own path MTU, not its neighbour's.
TEST(Ecmp, ErrorsMeetTheMemberOfTheFlowThatTheyAreAbout) {
    TestRouter router;
    const GroupId group = router.group(members_of(router, {1, 1, 1, 1}));
    router.route("198.51.100.0/24", group);
    router.route("2001:db8:2::/48", group);
    for (const bool v6 : {false, true}) {
        const std::vector<uint8_t> types =
            v6 ? std::vector<uint8_t>{1, 2, 3, 4} : std::vector<uint8_t>{3, 4, 5, 11, 12};
        for (const Protocol protocol : {Protocol::tcp, Protocol::udp, Protocol::icmp}) {
            for (uint16_t client = 0; client < 60; ++client) {
                Frame flow;
                const Bytes there =
                    add_flow(flow.ethernet({.destination = port_mac(0)}), v6, client, protocol, false)
                        .payload(64)
                        .bytes();
                Frame answer;
                const Bytes back = add_flow(answer, v6, client, protocol, true).payload(64).bytes();
                std::vector<Bytes> frames = {there};
                for (const uint8_t type : types) {
                    const size_t least = (v6 ? 40U : 20U) + 8;  // RFC 792: the header and 64 bits
                    frames.push_back(error_about(v6, type, back, 576));
                    frames.push_back(error_about(v6, type, back, least));
                    frames.push_back(error_about(v6, type, Bytes(there.begin() + 14, there.end()), 576));
                }
                const auto hops = hops_of(router, frames);
                ASSERT_EQ(std::set<unsigned>(hops.begin(), hops.end()).size(), 1U)
                    << (v6 ? "IPv6" : "IPv4") << " client " << client << " protocol " << raw(protocol);
            }
        }
    }
}

// What looks like an error and quotes nothing that can be read is forwarded by its own addresses.
TEST(Ecmp, ErrorsWithoutAWholeQuoteAreAFlowOfTheirOwn) {
    TestRouter router;
    const GroupId group = router.group(members_of(router, {1, 1, 1, 1}));
    router.route("198.51.100.0/24", group);
    router.route("2001:db8:2::/48", group);
    for (const bool v6 : {false, true}) {
        Frame inner;
        const Bytes quote = add_flow(inner, v6, 9, Protocol::tcp, true).bytes();
        std::vector<Bytes> odd(5, quote);
        odd[0].resize(v6 ? 39 : 19);
        odd[1][0] = static_cast<uint8_t>(v6 ? 0x45 : 0x60);  // of the other family
        odd[2][0] = static_cast<uint8_t>(v6 ? 0x00 : 0x44);  // a header of 16 bytes
        odd[3].clear();
        odd[4][0] = static_cast<uint8_t>(v6 ? 0x10 : 0x4f);  // a header that ends behind the frame
        for (const Bytes& bytes : odd) {
            const auto hops = hops_of(
                router, {error_about(v6, v6 ? 2 : 3, bytes, 576), error_about(v6, v6 ? 2 : 3, bytes, 576)});
            EXPECT_EQ(hops[0], hops[1]);
        }
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
