// SPDX-License-Identifier: BSD-3-Clause
#include "dataplane/fib/group_table.hpp"

#include <gtest/gtest.h>

#include <map>

namespace millrace::dataplane {
namespace {

using Members = std::vector<GroupMember>;

GroupMember member(uint32_t id, uint32_t weight = 1) {
    return {AdjacencyId{id}, weight};
}

struct Groups {
    Quiescence quiescence{1};
    GroupTable table{64, quiescence};

    GroupId make(const Members& members) {
        const GroupId id = table.create();
        table.set(id, {Reason::forwarded, members, {}}, Ways{});
        return id;
    }
    // Adjacency of each of 65536 hashes.
    std::vector<uint32_t> spread(GroupId id) {
        std::vector<uint32_t> out;
        for (uint32_t hash = 0; hash < 65536; ++hash) {
            out.push_back(table.select(table.get(raw(id)), hash));
        }
        return out;
    }
    std::map<uint32_t, double> shares(GroupId id) {
        std::map<uint32_t, double> out;
        for (const uint32_t a : spread(id)) {
            out[a] += 1.0 / 65536;
        }
        return out;
    }
};

TEST(GroupTable, NoRouteAndNoRoomStayWhatTheyAre) {
    Groups g;
    const Members one = {member(1)};
    EXPECT_TRUE(g.table.set(no_route, {Reason::forwarded, one, {}}, Ways{}));
    EXPECT_FALSE(g.table.set(no_room, {Reason::forwarded, one, {}}, Ways{}));
    g.table.destroy(no_room);
    g.quiescence.close_batch();
    EXPECT_EQ(g.table.get(raw(no_route)).reason(), Reason::punt_no_route);
    EXPECT_EQ(g.table.get(raw(no_room)).reason(), Reason::punt_no_room);
    EXPECT_GT(g.table.create(), no_room);
}

TEST(GroupTable, OneMemberTakesAll) {
    Groups g;
    EXPECT_EQ(g.shares(g.make({member(7)})), (std::map<uint32_t, double>{{7, 1.0}}));
}

TEST(GroupTable, SharesFollowTheWeights) {
    Groups g;
    for (const Members& members :
         {Members{member(1), member(2)}, Members{member(1, 3), member(2, 1)},
          Members{member(1, 10), member(2, 20), member(3, 70)}, Members{member(1, 255), member(2, 1)},
          Members{member(1), member(2), member(3), member(4), member(5), member(6), member(7)}}) {
        const GroupId id = g.make(members);
        double total = 0;
        for (const auto& m : members) {
            total += m.weight;
        }
        auto shares = g.shares(id);
        for (const auto& m : members) {
            EXPECT_NEAR(shares[raw(m.adjacency)], m.weight / total, 0.015);
        }
    }
}

TEST(GroupTable, OnlyTheFlowsOfALostMemberMove) {
    Groups g;
    const GroupId id = g.make({member(1), member(2), member(3)});
    const auto before = g.spread(id);
    const Members left = {member(1), member(3)};
    g.table.set(id, {Reason::forwarded, left, {}}, Ways{});
    const auto after = g.spread(id);
    for (size_t h = 0; h < before.size(); ++h) {
        if (before[h] != 2) {
            ASSERT_EQ(after[h], before[h]) << "hash " << h;
        } else {
            ASSERT_NE(after[h], 2U);
        }
    }
    auto shares = g.shares(id);
    EXPECT_NEAR(shares[1], 0.5, 0.015);
    EXPECT_NEAR(shares[3], 0.5, 0.015);
}

TEST(GroupTable, FlowsOfOtherMembersStayWhenAPrefixMovesToAnotherGroup) {
    Groups g;
    const auto before = g.spread(g.make({member(1), member(2), member(3)}));
    const auto after = g.spread(g.make({member(3), member(1)}));
    for (size_t h = 0; h < before.size(); ++h) {
        ASSERT_TRUE(after[h] == before[h] || before[h] == 2) << "hash " << h;
    }
}

TEST(GroupTable, DownToOneMemberAndBackToWhatItWas) {
    Groups g;
    const Members both = {member(1), member(2)};
    const GroupId id = g.make(both);
    const auto before = g.spread(id);
    const Members one = {member(2)};
    g.table.set(id, {Reason::forwarded, one, {}}, Ways{});
    EXPECT_EQ(g.shares(id), (std::map<uint32_t, double>{{2, 1.0}}));
    g.table.set(id, {Reason::forwarded, both, {}}, Ways{});
    EXPECT_EQ(g.spread(id), before);
}

TEST(GroupTable, NoBucketsLeftIsPunt) {
    Groups g;
    const Members members = {member(1), member(2)};
    GroupTable table{8192, g.quiescence};
    unsigned made = 0;
    GroupId id = table.create();
    while (table.set(id, {Reason::forwarded, members, {}}, Ways{})) {
        ++made;
        id = table.create();
    }
    EXPECT_EQ(made, 1024U);
    EXPECT_EQ(table.get(raw(id)).reason(), Reason::punt_no_room);
    EXPECT_FALSE(table.roomy());
    table.destroy(GroupId{raw(no_room) + 1});
    g.quiescence.close_batch();
    EXPECT_TRUE(table.set(id, {Reason::forwarded, members, {}}, Ways{}));
}

TEST(GroupTable, SameStateMovesNothing) {
    Groups g;
    const Members members = {member(1), member(2, 2), member(3, 5)};
    const GroupId id = g.make(members);
    const auto before = g.spread(id);
    g.table.set(id, {Reason::forwarded, members, {}}, Ways{});
    EXPECT_EQ(g.spread(id), before);
}

TEST(GroupTable, PuntAndBackAndDestroyed) {
    Groups g;
    const Members members = {member(1), member(2)};
    const GroupId id = g.make(members);
    g.table.set(id, {Reason::punt_link_down, {}, {}}, Ways{});
    EXPECT_EQ(g.table.get(raw(id)).reason(), Reason::punt_link_down);
    g.table.set(id, {Reason::forwarded, members, {}}, Ways{});
    EXPECT_EQ(g.shares(id).size(), 2U);
    g.table.destroy(id);
    EXPECT_EQ(g.table.get(raw(id)).reason(), Reason::punt_no_route);
}

TEST(GroupTable, IdsAndBucketsAreReusedAfterTheGracePeriodOnly) {
    Groups g;
    g.quiescence.add_worker(0);
    g.quiescence.online(0);
    const GroupId first = g.make({member(1), member(2)});
    g.table.destroy(first);
    g.quiescence.close_batch();
    EXPECT_NE(g.table.create(), first) << "a worker may still hold the id";
    g.quiescence.quiescent(0);
    g.quiescence.close_batch();
    EXPECT_EQ(g.table.create(), first);
    g.quiescence.offline(0);
    for (int i = 0; i < 10000; ++i) {
        const GroupId id = g.make({member(1), member(2)});
        ASSERT_GT(id, no_room);
        ASSERT_EQ(g.table.get(raw(id)).reason(), Reason::forwarded) << "buckets ran out at " << i;
        g.table.destroy(id);
        g.quiescence.close_batch();
    }
}

TEST(GroupTable, LimitReachedIsPunt) {
    Groups g;
    GroupId last = g.table.create();
    while (g.table.create() != no_room) {
        last = GroupId{raw(last) + 1};
    }
    EXPECT_EQ(g.table.create(), no_room);
    EXPECT_FALSE(g.table.roomy());
    g.table.destroy(last);
    g.quiescence.close_batch();
    EXPECT_EQ(g.table.create(), last);
}

}  // namespace
}  // namespace millrace::dataplane
