// SPDX-License-Identifier: BSD-3-Clause
// The operator's policy: prefixes, protocols, ports.
#include "classifier_fixture.hpp"

namespace millrace::test {
namespace {

const auto redirect = MILLRACE_STEER_REDIRECT;
const auto prefix = MILLRACE_STEER_KEEP_PREFIX;
const auto protocol = MILLRACE_STEER_KEEP_PROTOCOL;
const auto l4port = MILLRACE_STEER_KEEP_L4PORT;

Frame v4(const char* source, const char* destination) {
    return Frame().ethernet().ipv4({.source = address(source), .destination = address(destination)}).udp();
}
Frame v6(const char* source, const char* destination) {
    return Frame().ethernet().ipv6({.source = address(source), .destination = address(destination)}).udp();
}
Frame v4_protocol(Protocol p) {
    return Frame().ethernet().ipv4({.protocol = p}).payload(40);
}
Frame v6_protocol(Protocol p) {
    return Frame().ethernet().ipv6({.next_header = p}).payload(40);
}
Frame v4_udp(uint16_t source, uint16_t destination) {
    return Frame().ethernet().ipv4().udp({.source = source, .destination = destination});
}
Frame v6_udp(uint16_t source, uint16_t destination) {
    return Frame().ethernet().ipv6().udp({.source = source, .destination = destination});
}
Frame v4_tcp(uint16_t source, uint16_t destination) {
    return Frame().ethernet().ipv4().tcp({.source = source, .destination = destination});
}
Frame v6_tcp(uint16_t source, uint16_t destination) {
    return Frame().ethernet().ipv6().tcp({.source = source, .destination = destination});
}
Frame v4_fragment(Protocol p, uint16_t offset, bool more) {
    return Frame()
        .ethernet()
        .ipv4({.more_fragments = more, .fragment_offset = offset, .protocol = p})
        .payload(40);
}
Prefix net(const char* text) {
    return Prefix::parse(text).value();
}

KeepConfig prefix_policy() {
    return {.prefixes = {net("203.0.113.0/25"), net("10.0.0.0/8"), net("192.0.2.77"), net("2001:db8:77::/48"),
                         net("2001:db8:1::99")},
            .protocols = {},
            .l4_ports = {}};
}
const Case prefix_cases[] = {
    {"V4Source", v4("203.0.113.1", "198.51.100.1"), prefix},
    {"V4Destination", v4("198.51.100.1", "203.0.113.1"), prefix},
    {"V4First", v4("203.0.113.0", "198.51.100.1"), prefix},
    {"V4Last", v4("203.0.113.127", "198.51.100.1"), prefix},
    {"V4JustOutside", v4("203.0.113.128", "198.51.100.1"), redirect},
    {"V4Short", v4("198.51.100.1", "10.255.255.255"), prefix},
    {"V4JustOutsideShort", v4("198.51.100.1", "11.0.0.0"), redirect},
    {"V4Host", v4("192.0.2.77", "198.51.100.1"), prefix},
    {"V4NextHost", v4("192.0.2.78", "198.51.100.1"), redirect},
    {"V6Source", v6("2001:db8:77::1", "2001:db8:2::1"), prefix},
    {"V6Destination", v6("2001:db8:2::1", "2001:db8:77:ffff:ffff:ffff:ffff:ffff"), prefix},
    {"V6JustOutside", v6("2001:db8:78::", "2001:db8:2::1"), redirect},
    {"V6Host", v6("2001:db8:1::99", "2001:db8:2::1"), prefix},
    {"V6NextHost", v6("2001:db8:1::9a", "2001:db8:2::1"), redirect},
    {"V4TtlComesFirst", Frame().ethernet().ipv4({.source = address("10.0.0.1"), .ttl = 1}).udp(),
     MILLRACE_STEER_TTL},
};

KeepConfig protocol_policy() {
    return {.prefixes = {}, .protocols = {1, 47, 58, 89, 255}, .l4_ports = {}};
}
const Case protocol_cases[] = {
    {"V4Gre", v4_protocol(Protocol::gre), protocol},
    {"V6Gre", v6_protocol(Protocol::gre), protocol},
    {"V4BeforeGre", v4_protocol(Protocol{46}), redirect},
    {"V4AfterGre", v4_protocol(Protocol{48}), redirect},
    {"V4Icmp", Frame().ethernet().ipv4().icmp(), protocol},
    {"V6Icmp", Frame().ethernet().ipv6().icmp(), protocol},
    {"V4SecondWord", v4_protocol(Protocol::ospf), protocol},
    {"V4LastBit", v4_protocol(Protocol{255}), protocol},
    {"V4BitOfAnotherWord", v4_protocol(Protocol{65}), redirect},
    {"V4Udp", v4_udp(1, 2), redirect},
    {"V6Tcp", v6_tcp(1, 2), redirect},
    {"V4FragmentOfAKeptProtocol", v4_fragment(Protocol::gre, 10, false), protocol},
    {"V4FragmentOfAnother", v4_fragment(Protocol::udp, 10, false), redirect},
    // What is behind an extension header is not known.
    {"V6Routing", v6_protocol(Protocol::routing), protocol},
    {"V6Fragment", v6_protocol(Protocol::fragment), protocol},
    {"V6Authentication", v6_protocol(Protocol::authentication), protocol},
    {"V6DestinationOptions", v6_protocol(Protocol::destination_options), protocol},
    {"V6Mobility", v6_protocol(Protocol::mobility), protocol},
    {"V6Hip", v6_protocol(Protocol::hip), protocol},
    {"V6Shim6", v6_protocol(Protocol::shim6), protocol},
    {"V6Esp", v6_protocol(Protocol::esp), redirect},
    {"V6NoNextHeader", v6_protocol(Protocol::none), redirect},
    {"V4Number43IsNoExtension", v4_protocol(Protocol::routing), redirect},
};

KeepConfig port_policy() {
    return {.prefixes = {}, .protocols = {}, .l4_ports = {{6, 179}, {17, 53}, {17, 0}, {17, 65535}, {6, 64}}};
}
const Case port_cases[] = {
    {"V4TcpDestination", v4_tcp(40000, 179), l4port},
    {"V4TcpSource", v4_tcp(179, 40000), l4port},
    {"V6TcpDestination", v6_tcp(40000, 179), l4port},
    {"V6TcpSource", v6_tcp(179, 40000), l4port},
    {"V4UdpDestination", v4_udp(40000, 53), l4port},
    {"V4UdpSource", v4_udp(53, 40000), l4port},
    {"V6UdpDestination", v6_udp(40000, 53), l4port},
    {"V6UdpSource", v6_udp(53, 40000), l4port},
    {"V4TcpOnlyIsNotUdp", v4_udp(40000, 179), redirect},
    {"V4UdpOnlyIsNotTcp", v4_tcp(40000, 53), redirect},
    {"V4PortBefore", v4_tcp(40000, 178), redirect},
    {"V4PortAfter", v4_tcp(40000, 180), redirect},
    {"V4LowestPort", v4_udp(40000, 0), l4port},
    {"V4HighestPort", v4_udp(40000, 65535), l4port},
    {"V4SecondWord", v4_tcp(40000, 64), l4port},
    {"V4LastOfFirstWord", v4_tcp(40000, 63), redirect},
    {"V4Icmp", Frame().ethernet().ipv4().icmp(), redirect},
    {"V6Icmp", Frame().ethernet().ipv6().icmp(), redirect},
    {"V4OtherProtocol", v4_protocol(Protocol::gre), redirect},
    // The ports of a fragment are not known; the first one counts with the others, so that they stay
    // together.
    {"V4FirstFragmentUdp", v4_fragment(Protocol::udp, 0, true), l4port},
    {"V4MiddleFragmentUdp", v4_fragment(Protocol::udp, 1, true), l4port},
    {"V4LastFragmentTcp", v4_fragment(Protocol::tcp, 0x1fff, false), l4port},
    {"V4FragmentOfNoPorts", v4_fragment(Protocol::gre, 10, true), redirect},
    {"V4DontFragmentIsNoFragment", Frame().ethernet().ipv4({.dont_fragment = true}).udp(), redirect},
    {"V6Fragment", Frame().ethernet().ipv6().extension(ipv6_fragment(0, false)).udp(), l4port},
    {"V6DestinationOptions", Frame().ethernet().ipv6().extension().udp(), l4port},
    {"V6Authentication", v6_protocol(Protocol::authentication), l4port},
    {"V4PortsCut", Frame().ethernet().ipv4({.protocol = Protocol::udp}).payload(3), MILLRACE_STEER_TRUNCATED},
    {"V6PortsCut", Frame().ethernet().ipv6({.next_header = Protocol::tcp}).payload(3),
     MILLRACE_STEER_TRUNCATED},
    {"V4PortsJustThere", Frame().ethernet().ipv4({.protocol = Protocol::udp}).payload(4), redirect},
};

// All three kinds set: the order in which they count.
KeepConfig whole_policy() {
    return {.prefixes = {net("10.0.0.0/8"), net("2001:db8:77::/48")},
            .protocols = {17},
            .l4_ports = {{17, 53}, {6, 179}}};
}
const Case order_cases[] = {
    {"V4PrefixFirst", v4("10.0.0.1", "198.51.100.1"), prefix},
    {"V6PrefixFirst", v6("2001:db8:77::1", "2001:db8:2::1"), prefix},
    {"V4ThenProtocol", v4_udp(1, 53), protocol},
    {"V6ThenProtocol", v6_udp(1, 53), protocol},
    {"V6ExtensionIsProtocol", Frame().ethernet().ipv6().extension().tcp(), protocol},
    {"V4ThenPort", v4_tcp(1, 179), l4port},
    {"V6ThenPort", v6_tcp(1, 179), l4port},
    {"V4None", v4_tcp(1, 2), redirect},
    {"V6None", v6_tcp(1, 2), redirect},
};

template <KeepConfig (*policy)()>
class KeepTest : public ClassifierTest, public testing::WithParamInterface<Case> {
  protected:
    void check() {
        const auto stored = maps().set_keep(policy());
        ASSERT_TRUE(stored) << stored.error().text();
        expect(GetParam().reason, GetParam().frame.bytes());
        // And nothing of it is left once the policy is empty.
        if (GetParam().reason == prefix || GetParam().reason == protocol || GetParam().reason == l4port) {
            ASSERT_TRUE(maps().set_keep({}));
            expect(redirect, GetParam().frame.bytes());
        }
    }
};

using PrefixTest = KeepTest<prefix_policy>;
using ProtocolTest = KeepTest<protocol_policy>;
using PortTest = KeepTest<port_policy>;
using OrderTest = KeepTest<whole_policy>;

TEST_P(PrefixTest, Verdict) {
    check();
}
TEST_P(ProtocolTest, Verdict) {
    check();
}
TEST_P(PortTest, Verdict) {
    check();
}
TEST_P(OrderTest, Verdict) {
    check();
}

class UpdateKeepTest : public ClassifierTest {
  protected:
    void update(const std::vector<Prefix>& prefixes, bool all4 = false, bool all6 = false) {
        for (const auto& [family, all] : {std::pair{Family::ipv4, all4}, std::pair{Family::ipv6, all6}}) {
            const auto stored = maps().update_keep(family, of(family, prefixes), all);
            ASSERT_TRUE(stored) << stored.error().text();
        }
    }
    static std::vector<Prefix> of(Family family, std::vector<Prefix> prefixes) {
        std::erase_if(prefixes, [&](const Prefix& p) { return p.address.family != family; });
        return prefixes;
    }
    const Bytes four_ = v4("198.51.100.1", "203.0.113.1").bytes();
    const Bytes six_ = v6("2001:db8:77::1", "2001:db8:2::1").bytes();
    const millrace_steer_reason family_ = MILLRACE_STEER_KEEP_FAMILY;
};

TEST_F(UpdateKeepTest, OneFamilyAndNotTheOther) {
    update({}, true, false);
    expect(family_, four_);
    expect(redirect, six_);
    update({}, false, true);
    expect(redirect, four_);
    expect(family_, six_);
    update({}, true, true);
    expect(family_, four_);
    expect(family_, six_);
    update({});
    expect(redirect, four_);
    expect(redirect, six_);
}

TEST_F(UpdateKeepTest, OnlyWhatWouldBeTransitCounts) {
    update({}, true, true);
    expect(MILLRACE_STEER_TTL, Frame().ethernet().ipv4({.ttl = 1}).udp().bytes());
    expect(MILLRACE_STEER_IP_OPTIONS,
           Frame().ethernet().ipv6().extension({.type = Protocol::hop_by_hop}).udp().bytes());
    update({net("203.0.113.0/24"), net("2001:db8:77::/48")}, true, true);
    expect(family_, four_);
    expect(family_, six_);
}

TEST_F(UpdateKeepTest, PrefixesComeAndGo) {
    update({net("203.0.113.0/24")});
    expect(prefix, four_);
    expect(redirect, six_);
    update({net("2001:db8:77::/48")});
    expect(redirect, four_);
    expect(prefix, six_);
    update({});
    expect(redirect, six_);
}

TEST_F(UpdateKeepTest, ProtocolsAndPortsStay) {
    ASSERT_TRUE(maps().set_keep(whole_policy()));
    update({net("203.0.113.0/24")});
    expect(prefix, four_);
    expect(protocol, v6("2001:db8:77::1", "2001:db8:2::1").bytes());
    expect(l4port, v4_tcp(1, 179).bytes());
    expect(redirect, v4_tcp(1, 2).bytes());
}

TEST_F(UpdateKeepTest, TooManyPrefixesKeepTheFamily) {
    std::vector<Prefix> all;
    for (uint32_t i = 0; i <= MILLRACE_MAX_KEEP; ++i) {
        all.push_back(net(fmt::format("10.{}.{}.0/24", i / 256, i % 256).c_str()));
    }
    all.push_back(net("2001:db8:77::/48"));
    update({net("2001:db8:77::/48")});
    EXPECT_FALSE(maps().update_keep(Family::ipv4, of(Family::ipv4, all), false));
    expect(family_, four_);
    expect(prefix, six_);
    expect(redirect, v6("2001:db8:78::1", "2001:db8:2::1").bytes());
    all.erase(all.begin());
    update(all);
    expect(redirect, four_);
    expect(prefix, v4("198.51.100.1", "10.0.1.1").bytes());
}

TEST_F(UpdateKeepTest, ANewDaemonBeginsWithTheConfigurationAlone) {
    update({net("203.0.113.0/24")}, true, true);
    next_daemon();
    ASSERT_TRUE(maps().configure(plain_config()));
    expect(family_, four_);
    ASSERT_TRUE(maps().set_keep({}));
    expect(redirect, four_);
    expect(redirect, six_);
}

INSTANTIATE_TEST_SUITE_P(Keep, PrefixTest, testing::ValuesIn(prefix_cases), case_name);
INSTANTIATE_TEST_SUITE_P(Keep, ProtocolTest, testing::ValuesIn(protocol_cases), case_name);
INSTANTIATE_TEST_SUITE_P(Keep, PortTest, testing::ValuesIn(port_cases), case_name);
INSTANTIATE_TEST_SUITE_P(Keep, OrderTest, testing::ValuesIn(order_cases), case_name);

}  // namespace
}  // namespace millrace::test
