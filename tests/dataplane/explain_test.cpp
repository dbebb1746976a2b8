// SPDX-License-Identifier: BSD-3-Clause
// What explain says of a frame is what the forwarder then does with it. That it says the same reason, the
// tests of the reasons and of the reverse path filter see.
#include "dataplane/forward/explain.hpp"

#include <gtest/gtest.h>

#include <set>

#include "tests/dataplane/test_router.hpp"

namespace millrace::test {
namespace {

constexpr uint16_t flows = 200;

MacAddress hop_mac(uint8_t n) {
    return {{0x02, 0, 0, 0, 0x0a, n}};
}

class ExplainTest : public testing::TestWithParam<Family> {
  protected:
    void SetUp() override {
        const GroupId group = router.group({{router.neighbour(1, hop_mac(1))},
                                            {.adjacency = router.neighbour(2, hop_mac(2)), .weight = 3},
                                            {router.neighbour(2, hop_mac(3))}});
        router.route("198.51.100.0/24", group);
        router.route("2001:db8:2::/48", group);
    }
    static Bytes frame(uint16_t source_port) {
        Frame out = Frame().ethernet({.destination = port_mac(0)});
        return GetParam() == Family::ipv4 ? out.ipv4().udp({.source = source_port}).payload(18).bytes()
                                          : out.ipv6().udp({.source = source_port}).payload(18).bytes();
    }
    TestRouter router;
};

TEST_P(ExplainTest, NamesTheMemberThatTheFlowTakes) {
    std::set<AdjacencyId> taken;
    for (uint16_t port = 1000; port < 1000 + flows; ++port) {
        const Bytes in = frame(port);
        const auto explained = dataplane::explain(router.tables(), PortId{0}, in);
        ASSERT_EQ(explained.reason, Reason::forwarded);
        ASSERT_TRUE(explained.packet && explained.choice && explained.next_hop);
        EXPECT_EQ(explained.packet->length, in.size() - 14);
        EXPECT_EQ(explained.next_hop->mtu, TestRouter::mtu);
        EXPECT_LT(explained.choice->bucket, explained.choice->buckets);
        router.receive(0, {in});
        const auto out = router.sent();
        ASSERT_EQ(out.size(), 1U);
        const auto& adjacency = explained.next_hop->adjacency;
        EXPECT_EQ(out[0].port, adjacency.port);
        EXPECT_TRUE(std::equal(adjacency.l2.begin(), adjacency.l2.end(), out[0].frame.begin()))
            << "port " << port;
        taken.insert(explained.next_hop->id);
    }
    EXPECT_EQ(taken.size(), 3U);
}

TEST_P(ExplainTest, LeavesNoTrace) {
    const Bytes in = frame(1);
    const Bytes before = in;
    const auto explained = dataplane::explain(router.tables(), PortId{0}, in);
    ASSERT_TRUE(explained.next_hop);
    EXPECT_EQ(in, before);
    EXPECT_FALSE(router.tables().take_used(explained.next_hop->id)) << "a neighbour would be kept for it";
    for (unsigned r = 0; r < reason_count; ++r) {
        EXPECT_EQ(router.count(0, static_cast<Reason>(r)), 0U);
    }
    router.receive(0, {in});
    EXPECT_TRUE(router.tables().take_used(explained.next_hop->id));
}

INSTANTIATE_TEST_SUITE_P(Families, ExplainTest, testing::Values(Family::ipv4, Family::ipv6),
                         [](const auto& test) { return test.param == Family::ipv4 ? "Ipv4" : "Ipv6"; });

}  // namespace
}  // namespace millrace::test
