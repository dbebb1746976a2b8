// SPDX-License-Identifier: BSD-3-Clause
// Every reason that does not come from policy, with its boundary values, for both families.
#include <bpf/bpf.h>

#include "classifier_fixture.hpp"

namespace millrace::test {
namespace {

constexpr uint64_t second_ns = 1'000'000'000;

Frame v4(Ipv4 ip = {}) {
    return Frame().ethernet().ipv4(std::move(ip)).udp().payload(18);
}
Frame v6(Ipv6 ip = {}) {
    return Frame().ethernet().ipv6(ip).udp().payload(18);
}
Frame v4_to(const char* destination, uint8_t ttl = 64) {
    return v4({.destination = address(destination), .ttl = ttl});
}
Frame v4_from(const char* source) {
    return v4({.source = address(source)});
}
Frame v6_to(const char* destination, uint8_t hop_limit = 64) {
    return v6({.destination = address(destination), .hop_limit = hop_limit});
}
Frame v6_from(const char* source) {
    return v6({.source = address(source)});
}
Frame other(EtherType type) {
    return Frame().ethernet({.type = type}).payload(46);
}
Frame to_mac(MacAddress mac) {
    return Frame().ethernet({.destination = mac}).ipv4().udp().payload(18);
}
Frame icmp6(uint8_t type, uint8_t hop_limit = 64) {
    return Frame().ethernet().ipv6({.hop_limit = hop_limit}).icmp({.type = type}).payload(16);
}
// A frame of that many bytes in all: 14 + 20 + 8 or 14 + 40 + 8 of them headers.
Frame v4_size(size_t size) {
    return Frame().ethernet().ipv4().udp().payload(size - 42);
}
Frame v6_size(size_t size) {
    return Frame().ethernet().ipv6().udp().payload(size - 62);
}
Frame cut(EtherType type, std::initializer_list<uint8_t> start, size_t size) {
    Bytes data(start);
    data.resize(size);
    return Frame().ethernet({.type = type}).payload(std::move(data));
}

Frame v4_port(uint16_t port, Ipv4 ip = {}) {
    return Frame().ethernet().ipv4(std::move(ip)).udp({.source = 67, .destination = port}).payload(240);
}
Frame v6_port(uint16_t port) {
    return Frame().ethernet().ipv6().udp({.source = 547, .destination = port}).payload(40);
}
Frame v6_fragment_port(uint16_t offset, uint16_t port) {
    return Frame()
        .ethernet()
        .ipv6()
        .extension(ipv6_fragment(offset, true))
        .udp({.destination = port})
        .payload(40);
}

const auto redirect = MILLRACE_STEER_REDIRECT;
const auto martian = MILLRACE_STEER_MARTIAN;
const auto not_ip = MILLRACE_STEER_NOT_IP;

const Case frame_cases[] = {
    {"V4Plain", v4(), redirect},
    {"V6Plain", v6(), redirect},
    {"V4Tcp", Frame().ethernet().ipv4().tcp(), redirect},
    {"V6Tcp", Frame().ethernet().ipv6().tcp(), redirect},
    {"V4Icmp", Frame().ethernet().ipv4().icmp().payload(16), redirect},
    {"V4Padded", Frame().ethernet().ipv4().udp().pad(60), redirect},
    {"V4UnknownProtocol", v4({.protocol = Protocol{253}}), redirect},
    // Transit fragments go by layer 3 alone (RFC 1812 4.2.2.8).
    {"V4FirstFragment", v4({.more_fragments = true}), redirect},
    {"V4LaterFragment", v4({.fragment_offset = 185}), redirect},
    {"V6Fragment", Frame().ethernet().ipv6().extension(ipv6_fragment(0, true)).udp().payload(18), redirect},
    {"V6DestinationOptions", Frame().ethernet().ipv6().extension().udp().payload(18), redirect},
    // The forwarder's to judge, not ours.
    {"V4BadChecksum", v4({.header_checksum = 0xdead}), redirect},
    {"V4BadTotalLength", v4({.total_length = 9000}), redirect},
    {"V6BadPayloadLength", v6({.payload_length = 9000}), redirect},

    {"V4LongestFrame", v4_size(test_max_frame), redirect},
    {"V6LongestFrame", v6_size(test_max_frame), redirect},
    {"V4TooLong", v4_size(test_max_frame + 1), MILLRACE_STEER_TOO_LONG},
    {"V6TooLong", v6_size(test_max_frame + 1), MILLRACE_STEER_TOO_LONG},

    {"NothingAfterEthernetV4", cut(EtherType::ipv4, {}, 0), MILLRACE_STEER_TRUNCATED},
    {"NothingAfterEthernetV6", cut(EtherType::ipv6, {}, 0), MILLRACE_STEER_TRUNCATED},
    {"V4HeaderCut", cut(EtherType::ipv4, {0x45}, 19), MILLRACE_STEER_TRUNCATED},
    {"V6HeaderCut", cut(EtherType::ipv6, {0x60}, 39), MILLRACE_STEER_TRUNCATED},
    {"V6Icmp6TypeCut", Frame().ethernet().ipv6({.next_header = Protocol::icmpv6}), MILLRACE_STEER_TRUNCATED},

    {"Broadcast", to_mac({{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}}), MILLRACE_STEER_NOT_OUR_MAC},
    {"MulticastMac", to_mac({{0x01, 0, 0x5e, 0, 0, 5}}), MILLRACE_STEER_NOT_OUR_MAC},
    {"OtherHostsMac", to_mac(host_mac), MILLRACE_STEER_NOT_OUR_MAC},
    {"MacDiffersInFirstByte", to_mac({{0x06, 0, 0, 0, 0, 1}}), MILLRACE_STEER_NOT_OUR_MAC},
    {"MacDiffersInThirdByte", to_mac({{0x02, 0, 1, 0, 0, 1}}), MILLRACE_STEER_NOT_OUR_MAC},
    {"MacDiffersInLastByte", to_mac({{0x02, 0, 0, 0, 0, 0}}), MILLRACE_STEER_NOT_OUR_MAC},
    {"V6OtherHostsMac", Frame().ethernet({.destination = host_mac}).ipv6().udp(), MILLRACE_STEER_NOT_OUR_MAC},

    {"Arp", other(EtherType::arp), not_ip},
    {"Lldp", other(EtherType::lldp), not_ip},
    {"Mpls", other(EtherType::mpls), not_ip},
    {"Pppoe", other(EtherType::pppoe), not_ip},
    {"Lacp", other(EtherType{0x8809}), not_ip},
    {"IsisLength", other(EtherType{46}), not_ip},
    {"VlanV4", Frame().ethernet().vlan().ipv4().udp().payload(18), not_ip},
    {"VlanV6", Frame().ethernet().vlan().ipv6().udp().payload(18), not_ip},
    {"QinQ", Frame().ethernet().vlan({.tag = EtherType::qinq}).vlan().ipv4().udp(), not_ip},

    {"V4Version5", v4({.version = 5}), MILLRACE_STEER_IP_HEADER},
    {"V4Version6", v4({.version = 6}), MILLRACE_STEER_IP_HEADER},
    {"V4Ihl4", v4({.ihl = 4}), MILLRACE_STEER_IP_HEADER},
    {"V4Ihl0", v4({.ihl = 0}), MILLRACE_STEER_IP_HEADER},
    {"V6Version4", v6({.version = 4}), MILLRACE_STEER_IP_HEADER},
    {"V6Version7", v6({.version = 7}), MILLRACE_STEER_IP_HEADER},

    {"V4RouterAlert", v4({.options = {0x94, 4, 0, 0}}), MILLRACE_STEER_IP_OPTIONS},
    {"V4LongestOptions", v4({.options = Bytes(40, 1)}), MILLRACE_STEER_IP_OPTIONS},
    {"V6HopByHop", Frame().ethernet().ipv6().extension({.type = Protocol::hop_by_hop}).udp(),
     MILLRACE_STEER_IP_OPTIONS},

    {"V4Ttl0", v4({.ttl = 0}), MILLRACE_STEER_TTL},
    {"V4Ttl1", v4({.ttl = 1}), MILLRACE_STEER_TTL},
    {"V4Ttl2", v4({.ttl = 2}), redirect},
    {"V4Ttl255", v4({.ttl = 255}), redirect},
    {"V6HopLimit0", v6({.hop_limit = 0}), MILLRACE_STEER_TTL},
    {"V6HopLimit1", v6({.hop_limit = 1}), MILLRACE_STEER_TTL},
    {"V6HopLimit2", v6({.hop_limit = 2}), redirect},
    {"V6HopLimit255", v6({.hop_limit = 255}), redirect},

    {"V4ToZero", v4_to("0.0.0.0"), martian},
    {"V4ToZeroNetEnd", v4_to("0.255.255.255"), martian},
    {"V4ToAfterZeroNet", v4_to("1.0.0.0"), redirect},
    {"V4ToBeforeLoopback", v4_to("126.255.255.255"), redirect},
    {"V4ToLoopback", v4_to("127.0.0.1"), martian},
    {"V4ToAfterLoopback", v4_to("128.0.0.0"), redirect},
    {"V4ToBeforeLinkLocal", v4_to("169.253.255.255"), redirect},
    {"V4ToLinkLocal", v4_to("169.254.0.0"), martian},
    {"V4ToLinkLocalEnd", v4_to("169.254.255.255"), martian},
    {"V4ToAfterLinkLocal", v4_to("169.255.0.0"), redirect},
    {"V4ToBeforeMulticast", v4_to("223.255.255.255"), redirect},
    {"V4ToMulticast", v4_to("224.0.0.5", 1), martian},
    {"V4ToClassE", v4_to("240.0.0.1"), martian},
    {"V4ToLimitedBroadcast", v4_to("255.255.255.255"), martian},
    {"V4FromZero", v4_from("0.0.0.0"), martian},
    {"V4FromLoopback", v4_from("127.1.2.3"), martian},
    {"V4FromLinkLocal", v4_from("169.254.1.1"), martian},
    {"V4FromMulticast", v4_from("239.255.255.255"), martian},
    {"V4FromClassE", v4_from("250.0.0.1"), martian},
    {"V4FromLimitedBroadcast", v4_from("255.255.255.255"), martian},
    {"V6ToUnspecified", v6_to("::"), martian},
    {"V6ToLoopback", v6_to("::1"), martian},
    {"V6ToMapped", v6_to("::ffff:192.0.2.1"), martian},
    {"V6ToAfterEmbeddedV4", v6_to("::1:0:0:0"), redirect},
    {"V6ToNat64", v6_to("64:ff9b::c000:201"), redirect},
    {"V6ToBeforeLinkLocal", v6_to("fe7f:ffff::1"), redirect},
    {"V6ToLinkLocal", v6_to("fe80::1"), martian},
    {"V6ToLinkLocalEnd", v6_to("febf:ffff::1"), martian},
    {"V6ToAfterLinkLocal", v6_to("fec0::1"), redirect},
    {"V6ToUniqueLocal", v6_to("fd00::1"), redirect},
    {"V6ToMulticast", v6_to("ff02::5", 1), martian},
    {"V6ToGlobalMulticast", v6_to("ff0e::1"), martian},
    {"V6FromUnspecified", v6_from("::"), martian},
    {"V6FromLoopback", v6_from("::1"), martian},
    {"V6FromMapped", v6_from("::ffff:192.0.2.1"), martian},
    {"V6FromLinkLocal", v6_from("fe80::2"), martian},
    {"V6FromMulticast", v6_from("ff05::2"), martian},

    {"V6Echo", icmp6(128), redirect},
    {"V6PacketTooBig", icmp6(2), redirect},
    {"V6TypeBeforeMld", icmp6(129), redirect},
    {"V6MldQuery", icmp6(130, 1), MILLRACE_STEER_ND},
    {"V6RouterSolicitation", icmp6(133, 255), MILLRACE_STEER_ND},
    {"V6RouterAdvertisement", icmp6(134, 255), MILLRACE_STEER_ND},
    {"V6NeighbourSolicitation", icmp6(135, 255), MILLRACE_STEER_ND},
    {"V6NeighbourSolicitationRouted", icmp6(135, 64), MILLRACE_STEER_ND},
    {"V6NeighbourAdvertisement", icmp6(136, 255), MILLRACE_STEER_ND},
    {"V6Redirect", icmp6(137, 255), MILLRACE_STEER_ND},
    {"V6TypeAfterRedirect", icmp6(138), redirect},
    {"V6TypeBeforeMld2", icmp6(142), redirect},
    {"V6Mld2Report", icmp6(143, 1), MILLRACE_STEER_ND},
    {"V6TypeAfterMld2", icmp6(144), redirect},
    {"V6TypeBeforeMrd", icmp6(150), redirect},
    {"V6MulticastRouterFirst", icmp6(151, 1), MILLRACE_STEER_ND},
    {"V6MulticastRouterLast", icmp6(153, 1), MILLRACE_STEER_ND},
    {"V6TypeAfterMrd", icmp6(154), redirect},
    {"V4ToDhcpClient", v4_port(68), MILLRACE_STEER_DHCP},
    {"V4ToDhcpClientFromAnyPort",
     Frame().ethernet().ipv4().udp({.source = 40000, .destination = 68}).payload(240), MILLRACE_STEER_DHCP},
    {"V4ToDhcpClientFirstFragment", v4_port(68, {.more_fragments = true}), MILLRACE_STEER_DHCP},
    {"V4LaterFragmentSaysNothingOfPorts", v4_port(68, {.more_fragments = true, .fragment_offset = 1}),
     redirect},
    {"V4BeforeDhcpClient", v4_port(67), redirect},
    {"V4AfterDhcpClient", v4_port(69), redirect},
    {"V4ToDhcpv6Client", v4_port(546), redirect},
    {"V4FromDhcpClient", Frame().ethernet().ipv4().udp({.source = 68, .destination = 67}), redirect},
    {"V4TcpToDhcpClientPort", Frame().ethernet().ipv4().tcp({.destination = 68}), redirect},
    {"V4UdpCutBeforeThePort", Frame().ethernet().ipv4({.protocol = Protocol::udp}).payload({0, 67, 0}),
     redirect},
    {"V6ToDhcpClient", v6_port(546), MILLRACE_STEER_DHCP},
    {"V6ToDhcpClientFirstFragment", v6_fragment_port(0, 546), MILLRACE_STEER_DHCP},
    {"V6LaterFragmentSaysNothingOfPorts", v6_fragment_port(1, 546), redirect},
    {"V6FirstFragmentToAnotherPort", v6_fragment_port(0, 547), redirect},
    {"V6FragmentCut", Frame().ethernet().ipv6().extension(ipv6_fragment(0, true)), redirect},
    {"V6BeforeDhcpClient", v6_port(545), redirect},
    {"V6AfterDhcpClient", v6_port(547), redirect},
    {"V6ToDhcpv4Client", v6_port(68), redirect},
    {"V6TcpToDhcpClientPort", Frame().ethernet().ipv6().tcp({.destination = 546}), redirect},
    // The type of ICMP for IPv4 means something else.
    {"V4IcmpType135", Frame().ethernet().ipv4().icmp({.type = 135}).payload(16), redirect},
};

class FrameTest : public ClassifierTest, public testing::WithParamInterface<Case> {};

TEST_P(FrameTest, Verdict) {
    expect(GetParam().reason, GetParam().frame.bytes());
}

INSTANTIATE_TEST_SUITE_P(Frames, FrameTest, testing::ValuesIn(frame_cases), case_name);

// Plain frames of both families.
const Frame plain[] = {v4(), v6()};

TEST_F(ClassifierTest, AllZeroAsLoadedKeepsEverything) {
    ASSERT_TRUE(maps().configure({}));
    for (const Frame& frame : plain) {
        expect(MILLRACE_STEER_DISABLED, frame.bytes());
    }
}

TEST_F(ClassifierTest, DisabledComesBeforeEverything) {
    ASSERT_TRUE(maps().enable(false));
    expect(MILLRACE_STEER_DISABLED, v4().bytes());
    expect(MILLRACE_STEER_DISABLED, v6_size(test_max_frame + 1).bytes());
    expect(MILLRACE_STEER_DISABLED, other(EtherType::arp).bytes());
    ASSERT_TRUE(maps().enable(true));
    expect(redirect, v4().bytes());
}

// BPF_PROG_TEST_RUN puts into fragments what does not fit a page: what is longer than MILLRACE_MAX_FRAME.
// configure() refuses a limit above that, so this one is written past it.
TEST_F(ClassifierTest, FragmentedBufferIsTooLongWhateverTheLimit) {
    auto config = plain_config();
    config.max_frame = 65535;
    const steering::Fd map(bpf_obj_get((pin_root() + "/lo/" MILLRACE_MAP_CONFIG).c_str()));
    const uint32_t key = 0;
    ASSERT_EQ(bpf_map_update_elem(map.get(), &key, &config, BPF_ANY), 0);
    expect(redirect, v4_size(3000).bytes());
    for (const size_t size : {4000U, 9000U}) {
        expect(MILLRACE_STEER_TOO_LONG, v4_size(size).bytes());
        expect(MILLRACE_STEER_TOO_LONG, v6_size(size).bytes());
    }
}

TEST_F(ClassifierTest, LargestLimit) {
    auto config = plain_config();
    config.max_frame = MILLRACE_MAX_FRAME;
    ASSERT_TRUE(maps().configure(config));
    expect(redirect, v4_size(MILLRACE_MAX_FRAME).bytes());
    expect(redirect, v6_size(MILLRACE_MAX_FRAME).bytes());
    expect(MILLRACE_STEER_TOO_LONG, v4_size(MILLRACE_MAX_FRAME + 1).bytes());
    expect(MILLRACE_STEER_TOO_LONG, v6_size(MILLRACE_MAX_FRAME + 1).bytes());
}

TEST_F(ClassifierTest, ShorterLimitIsFollowed) {
    auto config = plain_config();
    config.max_frame = 100;
    ASSERT_TRUE(maps().configure(config));
    expect(redirect, v4_size(100).bytes());
    expect(MILLRACE_STEER_TOO_LONG, v4_size(101).bytes());
}

TEST_F(ClassifierTest, NewMacAddressIsFollowed) {
    ASSERT_TRUE(maps().set_mac(host_mac));
    expect(MILLRACE_STEER_NOT_OUR_MAC, v4().bytes());
    expect(redirect, to_mac(host_mac).bytes());
}

TEST_F(ClassifierTest, OwnAddressesAreLocalWhateverTheTtl) {
    const IpAddress addresses[] = {address("198.51.100.1"), address("2001:db8:2::1")};
    add_local(addresses[0]);
    add_local(addresses[1]);
    for (const uint8_t ttl : Bytes{0, 1, 2, 64, 255}) {
        expect(MILLRACE_STEER_LOCAL, v4({.ttl = ttl}).bytes());
        expect(MILLRACE_STEER_LOCAL, v6({.hop_limit = ttl}).bytes());
    }
    expect(redirect, v4_to("198.51.100.2").bytes());
    expect(redirect, v6_to("2001:db8:2::2").bytes());
    ASSERT_TRUE(own(Family::ipv4).remove(addresses[0]));
    ASSERT_TRUE(own(Family::ipv6).remove(addresses[1]));
    for (const Frame& frame : plain) {
        expect(redirect, frame.bytes());
    }
}

// The kernel discards spoofed own IPv4 addresses (fib_validate_source), and forwards IPv6 ones.
TEST_F(ClassifierTest, FromAnOwnAddressIsWhatTheKernelTakesItFor) {
    add_local(address("192.0.2.1"));
    add_local(address("2001:db8:1::1"));
    expect(martian, v4().bytes());
    expect(redirect, v6().bytes());
}

TEST_F(ClassifierTest, NeverBeatingIsStale) {
    maps().beat(0);
    for (const Frame& frame : plain) {
        expect(MILLRACE_STEER_STALE, frame.bytes());
    }
}

TEST_F(ClassifierTest, HeartbeatGoesStaleAtTheTimeout) {
    auto config = plain_config();
    const uint64_t timeout = monotonic_ns() / 2;  // so that there is a time before it, however young the VM
    config.heartbeat_timeout_ns = timeout;
    ASSERT_TRUE(maps().configure(config));
    for (const Frame& frame : plain) {
        // The classifier's clock may be a tick behind, and this test be held up: half a second of margin.
        maps().beat(monotonic_ns() - timeout - second_ns / 2);
        expect(MILLRACE_STEER_STALE, frame.bytes());
        maps().beat(monotonic_ns() - timeout + second_ns / 2);
        expect(redirect, frame.bytes());
    }
}

// The daemon's clock is finer than the classifier's.
TEST_F(ClassifierTest, HeartbeatSlightlyAheadIsAlive) {
    auto config = plain_config();
    config.heartbeat_timeout_ns = 0;
    ASSERT_TRUE(maps().configure(config));
    maps().beat(monotonic_ns() + 100 * second_ns);
    for (const Frame& frame : plain) {
        expect(redirect, frame.bytes());
    }
}

// What stays in the kernel anyway counts as that, not as stale.
TEST_F(ClassifierTest, StaleComesAfterThePacketsOwnReasons) {
    maps().beat(0);
    expect(MILLRACE_STEER_TTL, v4({.ttl = 1}).bytes());
    expect(MILLRACE_STEER_ND, icmp6(135, 255).bytes());
    expect(not_ip, other(EtherType::arp).bytes());
}

TEST_F(ClassifierTest, QueueWithoutSocketFallsThrough) {
    remove_socket();
    for (const Frame& frame : plain) {
        expect(MILLRACE_STEER_NO_SOCKET, frame.bytes());
    }
    insert_socket();
    for (const Frame& frame : plain) {
        expect(redirect, frame.bytes());
    }
}

}  // namespace
}  // namespace millrace::test
