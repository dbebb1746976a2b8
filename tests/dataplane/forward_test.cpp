// SPDX-License-Identifier: BSD-3-Clause
// What a forwarded frame looks like, byte for byte.
#include <gtest/gtest.h>

#include "tests/dataplane/test_router.hpp"

namespace millrace::test {
namespace {

constexpr MacAddress next_hop{{0x02, 0, 0, 0, 0x0a, 0x01}};

class Forward : public testing::Test {
  protected:
    void SetUp() override {
        const GroupId group = router.group({{router.neighbour(1, next_hop)}});
        router.route("198.51.100.0/24", group);
        router.route("2001:db8:2::/48", group);
    }
    // What the router must make of it on port 1.
    static Ethernet out_ethernet() { return {.destination = next_hop, .source = port_mac(1)}; }
    static Ethernet in_ethernet() { return {.destination = port_mac(0)}; }

    void expect_forwarded(const Bytes& in, const Bytes& out) {
        const uint64_t before = router.count(0, Reason::forwarded);
        router.receive(0, {in});
        EXPECT_EQ(router.sent(), (std::vector<TestRouter::Out>{{1, out}}));
        EXPECT_TRUE(router.punted().empty());
        EXPECT_EQ(router.count(0, Reason::forwarded), before + 1);
    }

    TestRouter router;
};

TEST_F(Forward, Ipv4) {
    expect_forwarded(Frame().ethernet(in_ethernet()).ipv4({.ttl = 64}).udp().payload(18).bytes(),
                     Frame().ethernet(out_ethernet()).ipv4({.ttl = 63}).udp().payload(18).bytes());
}

TEST_F(Forward, Ipv6) {
    expect_forwarded(Frame()
                         .ethernet(in_ethernet())
                         .ipv6({.hop_limit = 64, .flow_label = 0x12345})
                         .udp()
                         .payload(18)
                         .bytes(),
                     Frame()
                         .ethernet(out_ethernet())
                         .ipv6({.hop_limit = 63, .flow_label = 0x12345})
                         .udp()
                         .payload(18)
                         .bytes());
}

// net.ipv6.conf.NAME.mtu may be below the device's MTU; IPv4 does not care.
TEST_F(Forward, EachFamilyHasItsMtu) {
    Interface egress = TestRouter::interface_of(1);
    egress.mtu6 = 1300;
    router.tables().set_interface(egress);
    const Bytes fits = Frame().ethernet(in_ethernet()).ipv6().payload(1260).bytes();
    expect_forwarded(fits, Frame().ethernet(out_ethernet()).ipv6({.hop_limit = 63}).payload(1260).bytes());
    router.receive(0, {Frame().ethernet(in_ethernet()).ipv6().payload(1261).bytes()});
    EXPECT_TRUE(router.sent().empty());
    EXPECT_EQ(router.punted().size(), 1U);
    EXPECT_EQ(router.count(0, Reason::punt_too_big), 1U);
    expect_forwarded(Frame().ethernet(in_ethernet()).ipv4().payload(1480).bytes(),
                     Frame().ethernet(out_ethernet()).ipv4({.ttl = 63}).payload(1480).bytes());
}

TEST_F(Forward, LowestTtlThatMayPass) {
    expect_forwarded(Frame().ethernet(in_ethernet()).ipv4({.ttl = 2}).udp().bytes(),
                     Frame().ethernet(out_ethernet()).ipv4({.ttl = 1}).udp().bytes());
    expect_forwarded(Frame().ethernet(in_ethernet()).ipv6({.hop_limit = 2}).udp().bytes(),
                     Frame().ethernet(out_ethernet()).ipv6({.hop_limit = 1}).udp().bytes());
}

TEST_F(Forward, DscpEcnAndTrafficClassUnchanged) {  // RFC 2474, RFC 3168, RFC 6437
    expect_forwarded(Frame().ethernet(in_ethernet()).ipv4({.tos = 0xbb}).udp().bytes(),
                     Frame().ethernet(out_ethernet()).ipv4({.ttl = 63, .tos = 0xbb}).udp().bytes());
    expect_forwarded(
        Frame().ethernet(in_ethernet()).ipv6({.traffic_class = 0xbb}).udp().bytes(),
        Frame().ethernet(out_ethernet()).ipv6({.hop_limit = 63, .traffic_class = 0xbb}).udp().bytes());
}

// All 65536 values of a field that the checksum covers: every corner of the incremental update (RFC 1624).
TEST_F(Forward, ChecksumIsRightForEveryValue) {
    for (unsigned id = 0; id < 65536; ++id) {
        const auto field = static_cast<uint16_t>(id);
        router.receive(0, {Frame().ethernet(in_ethernet()).ipv4({.id = field}).udp().bytes()});
        const auto sent = router.sent();
        ASSERT_EQ(sent.size(), 1U);
        const std::span<const uint8_t> header(sent[0].frame.data() + 14, 20);
        ASSERT_EQ(checksum(header), 0) << "IP ID " << id;
    }
}

TEST_F(Forward, PaddingOfTheIngressLinkIsNotSentOn) {
    expect_forwarded(Frame().ethernet(in_ethernet()).ipv4().udp().payload(1).pad(60).bytes(),
                     Frame().ethernet(out_ethernet()).ipv4({.ttl = 63}).udp().payload(1).bytes());
}

TEST_F(Forward, FragmentsByLayer3Alone) {
    for (const uint16_t offset : {uint16_t{0}, uint16_t{185}}) {
        const bool more = offset == 0;
        expect_forwarded(
            Frame()
                .ethernet(in_ethernet())
                .ipv4({.more_fragments = more, .fragment_offset = offset, .protocol = Protocol::udp})
                .payload(64)
                .bytes(),
            Frame()
                .ethernet(out_ethernet())
                .ipv4(
                    {.ttl = 63, .more_fragments = more, .fragment_offset = offset, .protocol = Protocol::udp})
                .payload(64)
                .bytes());
        expect_forwarded(
            Frame().ethernet(in_ethernet()).ipv6().extension(ipv6_fragment(offset, more)).payload(64).bytes(),
            Frame()
                .ethernet(out_ethernet())
                .ipv6({.hop_limit = 63})
                .extension(ipv6_fragment(offset, more))
                .payload(64)
                .bytes());
    }
}

TEST_F(Forward, OtherExtensionHeadersUntouched) {  // RFC 7045
    for (const Protocol type : {Protocol::destination_options, Protocol::routing, Protocol::authentication}) {
        expect_forwarded(
            Frame().ethernet(in_ethernet()).ipv6().extension({.type = type}).udp().bytes(),
            Frame().ethernet(out_ethernet()).ipv6({.hop_limit = 63}).extension({.type = type}).udp().bytes());
    }
}

TEST_F(Forward, UpToTheMtu) {
    expect_forwarded(Frame().ethernet(in_ethernet()).ipv4().payload(1480).bytes(),
                     Frame().ethernet(out_ethernet()).ipv4({.ttl = 63}).payload(1480).bytes());
    expect_forwarded(Frame().ethernet(in_ethernet()).ipv6().payload(1460).bytes(),
                     Frame().ethernet(out_ethernet()).ipv6({.hop_limit = 63}).payload(1460).bytes());
}

TEST_F(Forward, MarksTheAdjacencyUsed) {
    const AdjacencyId used = router.neighbour(1, next_hop);
    const AdjacencyId idle = router.neighbour(2, next_hop);
    router.route("198.51.100.0/25", router.group({{used}}));
    const auto frame = [](const char* destination, size_t payload) {
        return Frame()
            .ethernet(in_ethernet())
            .ipv4({.destination = address(destination)})
            .udp()
            .payload(payload)
            .bytes();
    };
    EXPECT_FALSE(router.tables().take_used(used));
    router.receive(0, {frame("198.51.100.7", 18), frame("198.51.100.7", 18)});
    EXPECT_TRUE(router.tables().take_used(used));
    EXPECT_FALSE(router.tables().take_used(used)) << "taken";
    EXPECT_FALSE(router.tables().take_used(idle));
    // What is handed to the kernel is the kernel's to see.
    router.receive(0, {frame("198.51.100.7", 1600)});
    EXPECT_FALSE(router.tables().take_used(used));

    router.receive(0, {frame("198.51.100.7", 18)});
    router.sent();
    router.punted();
    router.tables().destroy_adjacency(used);
    router.tables().commit();
    router.forwarder().process({}, PortId{0});
    router.tables().quiescence().close_batch();
    const AdjacencyId next = router.tables().create_adjacency();
    EXPECT_EQ(next, used) << "else this shows nothing";
    EXPECT_FALSE(router.tables().take_used(next)) << "of its predecessor";
}

TEST_F(Forward, MixedBurstKeepsTheOrderOfEachFamily) {
    std::vector<Bytes> in;
    std::vector<Bytes> v4;
    std::vector<Bytes> v6;
    for (uint8_t i = 0; i < 100; ++i) {
        if (i % 3 == 0) {
            in.push_back(Frame().ethernet(in_ethernet()).ipv6().udp().payload(Bytes{i}).bytes());
            v6.push_back(
                Frame().ethernet(out_ethernet()).ipv6({.hop_limit = 63}).udp().payload(Bytes{i}).bytes());
        } else {
            in.push_back(Frame().ethernet(in_ethernet()).ipv4().udp().payload(Bytes{i}).bytes());
            v4.push_back(Frame().ethernet(out_ethernet()).ipv4({.ttl = 63}).udp().payload(Bytes{i}).bytes());
        }
    }
    router.receive(0, in);
    std::vector<Bytes> seen4;
    std::vector<Bytes> seen6;
    for (const auto& out : router.sent()) {
        (out.frame[12] == 0x08 ? seen4 : seen6).push_back(out.frame);
    }
    EXPECT_EQ(seen4, v4);
    EXPECT_EQ(seen6, v6);
    EXPECT_EQ(router.counters(0).rx_packets.read(), 100U);
    EXPECT_EQ(router.counters(1).tx_packets.read(), 100U);
    uint64_t bytes = 0;
    for (const auto& f : in) {
        bytes += f.size();
    }
    EXPECT_EQ(router.counters(0).rx_bytes.read(), bytes);
    EXPECT_EQ(router.counters(1).tx_bytes.read(), bytes);
}

TEST_F(Forward,
       Ipv4OverAnIpv6NextHopLooksTheSame) {  // RFC 8950: the adjacency is layer 2, whatever resolved it
    router.route("203.0.113.0/24", router.group({{router.neighbour(2, next_hop)}}));
    router.receive(
        0, {Frame().ethernet(in_ethernet()).ipv4({.destination = address("203.0.113.9")}).udp().bytes()});
    EXPECT_EQ(
        router.sent(),
        (std::vector<TestRouter::Out>{{2, Frame()
                                              .ethernet({.destination = next_hop, .source = port_mac(2)})
                                              .ipv4({.destination = address("203.0.113.9"), .ttl = 63})
                                              .udp()
                                              .bytes()}}));
}

}  // namespace
}  // namespace millrace::test
