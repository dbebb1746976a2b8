// SPDX-License-Identifier: BSD-3-Clause
// The reverse path filter (RFC 3704; the kernel's rp_filter): whose packets are forwarded, whose are left to
// the kernel to discard.
#include <gtest/gtest.h>

#include "dataplane/forward/explain.hpp"
#include "tests/dataplane/test_router.hpp"

namespace millrace::test {
namespace {

constexpr MacAddress next_hop{{0x02, 0, 0, 0, 0x0a, 0x01}};

class ReversePathTest : public testing::Test {
  protected:
    void SetUp() override {
        const GroupId over0 = router.group({{router.neighbour(0, next_hop)}});
        const GroupId over1 = router.group({{router.neighbour(1, next_hop)}});
        router.route("198.51.100.0/24", over1);  // the destination
        router.route("2001:db8:2::/48", over1);
        router.route("10.1.0.0/16", over0);
        router.route("10.2.0.0/16", router.group({{router.neighbour(2, next_hop)}}));
        router.route("10.3.0.0/16",
                     router.group({{router.neighbour(2, next_hop)}, {router.neighbour(0, next_hop)}}));
        connected("10.4.0.0/16", 0);
        connected("10.5.0.0/16", 2);
        router.route("10.6.0.0/16", router.group(Reason::punt_unmanaged));
        router.route("10.7.0.0/16", router.group(Reason::punt_unsupported));
        router.route("10.8.0.0/16", router.group(Reason::drop_blackhole));
        router.route("10.9.0.0/16", router.group(Reason::punt_unreachable));
        const AdjacencyId unresolved = router.tables().create_adjacency();
        router.tables().set_adjacency(unresolved, {Ifindex{1}, Reason::punt_no_neighbour, {}});
        router.route("10.10.0.0/16", router.group({{unresolved}}));
    }

    void connected(const char* prefix, unsigned port) {
        const GroupId id = router.tables().create_group();
        router.tables().set_group(id, {Reason::punt_glean, {}, Ifindex{port + 1}});
        router.route(prefix, id);
    }

    void filter(ReversePath mode) {
        Interface interface = TestRouter::interface_of(0);
        interface.reverse_path = mode;
        router.tables().set_interface(interface);
    }

    static Bytes from(const char* source) {
        return Frame()
            .ethernet({.destination = port_mac(0)})
            .ipv4({.source = address(source)})
            .udp()
            .payload(18)
            .bytes();
    }

    // Forwarded, or as received to the kernel under the filter's reason and no other.
    bool passes(const char* source, Reason otherwise = Reason::punt_reverse_path) {
        const uint64_t before = router.count(0, otherwise);
        const Bytes frame = from(source);
        router.receive(0, {frame});
        const bool forwarded = router.sent().size() == 1;
        EXPECT_EQ(dataplane::explain(router.tables(), PortId{0}, frame).reason,
                  forwarded ? Reason::forwarded : otherwise)
            << source;
        const auto punted = router.punted();
        EXPECT_EQ(punted.size(), forwarded ? 0U : 1U) << source;
        EXPECT_EQ(router.count(0, otherwise) - before, punted.size()) << source;
        if (!forwarded) {
            EXPECT_EQ(punted, (std::vector<TestRouter::Out>{{0, frame}})) << source;
        }
        return forwarded;
    }

    TestRouter router;
};

struct Source {
    const char* address;
    bool loose;
    bool strict;
    Reason otherwise = Reason::punt_reverse_path;
};

constexpr Source sources[] = {
    {"10.1.0.1", true, true},                              // back out of the ingress
    {"10.2.0.1", true, false},                             // out of another port
    {"10.3.0.1", true, true},                              // one of two ways is the ingress
    {"10.4.0.1", true, true},                              // connected there
    {"10.5.0.1", true, false},                             // connected elsewhere
    {"10.6.0.1", true, false},                             // over a device that is no port
    {"10.7.0.1", false, false, Reason::punt_unsupported},  // how, only the kernel knows
    {"10.8.0.1", false, false},                            // blackhole: not unicast
    {"10.9.0.1", false, false},                            // unreachable
    {"10.10.0.1", true, true},                             // a gateway there, not resolved
    {"172.16.0.1", false, false},
};

TEST_F(ReversePathTest, OffForwardsWhateverTheSource) {
    for (const Source& s : sources) {
        EXPECT_TRUE(passes(s.address)) << s.address;
    }
}

TEST_F(ReversePathTest, LooseWantsAUnicastRoute) {
    filter(ReversePath::loose);
    for (const Source& s : sources) {
        EXPECT_EQ(passes(s.address, s.otherwise), s.loose) << s.address;
    }
}

TEST_F(ReversePathTest, StrictWantsTheIngress) {
    filter(ReversePath::strict);
    for (const Source& s : sources) {
        EXPECT_EQ(passes(s.address, s.otherwise), s.strict) << s.address;
    }
}

TEST_F(ReversePathTest, DefaultRouteCounts) {
    router.route("0.0.0.0/0", router.group({{router.neighbour(0, next_hop)}}));
    filter(ReversePath::strict);
    EXPECT_TRUE(passes("172.16.0.1"));
    filter(ReversePath::loose);
    EXPECT_TRUE(passes("172.16.0.1"));
}

TEST_F(ReversePathTest, IsThePortsOwn) {
    filter(ReversePath::strict);
    router.receive(3, {from("172.16.0.1")});
    EXPECT_EQ(router.sent().size(), 1U) << "another port's packet";
    filter(ReversePath::off);
    EXPECT_TRUE(passes("172.16.0.1"));
}

TEST_F(ReversePathTest, RouteOfTheSourceIsFollowed) {
    filter(ReversePath::strict);
    EXPECT_FALSE(passes("10.2.0.1"));
    router.route("10.2.0.0/24", router.group({{router.neighbour(0, next_hop)}}));
    EXPECT_TRUE(passes("10.2.0.1"));
    router.tables().remove_route(main_table, Prefix::parse("10.2.0.0/24").value());
    EXPECT_FALSE(passes("10.2.0.1"));
}

// A burst with all kinds: what is left keeps its order, and IPv6 is not filtered.
TEST_F(ReversePathTest, BurstKeepsOrder) {
    filter(ReversePath::strict);
    const Bytes six = Frame().ethernet({.destination = port_mac(0)}).ipv6().udp().payload(18).bytes();
    std::vector<Bytes> in;
    for (int i = 0; i < 5; ++i) {
        in.push_back(from("10.1.0.1"));
        in.push_back(from("10.2.0.1"));
        in.push_back(six);
        in.push_back(from("10.4.0.1"));
    }
    router.receive(0, in);
    std::vector<Bytes> v4;
    size_t v6 = 0;
    for (const auto& out : router.sent()) {
        if (out.frame[12] == 0x86) {
            ++v6;
        } else {
            v4.push_back(Bytes(out.frame.begin() + 26, out.frame.begin() + 30));
        }
    }
    EXPECT_EQ(v6, 5U);
    ASSERT_EQ(v4.size(), 10U);
    for (size_t i = 0; i < v4.size(); ++i) {
        EXPECT_EQ(v4[i], (Bytes{10, static_cast<uint8_t>(i % 2 == 0 ? 1 : 4), 0, 1})) << i;
    }
    EXPECT_EQ(router.punted().size(), 5U);
}

}  // namespace
}  // namespace millrace::test
