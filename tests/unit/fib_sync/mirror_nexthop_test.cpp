// SPDX-License-Identifier: BSD-3-Clause
// Nexthop objects and the neighbours behind them.
#include <gtest/gtest.h>

#include "messages.hpp"
#include "recording_sink.hpp"

namespace millrace::sync::test {
namespace {

using Mirrored = Bench<RecordingSink>;

TEST(MirrorNexthop, ReplaceUnderManyPrefixesIsAFewCalls) {
    Mirrored m;
    m.apply({object(5, via("192.0.2.1", e0)), neighbour(e1, "192.0.2.2", 2)});
    std::vector<Message> routes;
    for (unsigned i = 0; i < 10'000; ++i) {
        routes.push_back(by_id(fmt::format("10.{}.{}.0/24", i / 250, i % 250), 5));
    }
    m.apply(routes);
    ASSERT_EQ(m.sink.routes.size(), 10'000U);
    EXPECT_EQ(m.sink.groups.size(), 1U);
    m.sink.clear_log();
    m.apply({object(5, via("192.0.2.2", e1))});
    EXPECT_EQ(m.sink.outcome("10.7.7.0/24"), "forward 11:02:00:00:00:00:02*1");
    // create, set adjacency; set group; destroy adjacency
    EXPECT_EQ(m.sink.call_count, 4U);
    m.sink.clear_log();
    // With nexthop_compat_mode=1 every route is announced again: nothing follows from it.
    for (Message& r : routes) {
        r = replacing(std::get<RouteMessage>(r));
        std::get<RouteMessage>(r).paths = {via("192.0.2.2", e1)};
    }
    m.apply(routes);
    EXPECT_EQ(m.sink.call_count, 0U);
}

// With nexthop_compat_mode=1 the kernel announces each route by an object that was replaced as a replace.
TEST(MirrorNexthop, AReplacedObjectLeavesItsRoutesWhereTheyStand) {
    Mirrored m;
    m.apply({object(5, via("192.0.2.1", e0)), route("10.0.0.0/8", {via("192.0.2.2", e0)}, 20),
             appending(by_id("10.0.0.0/8", 5, 20))});
    const std::string before = m.sink.outcome("10.0.0.0/8");
    m.apply({object(5, via("192.0.2.3", e1)), replacing(by_id("10.0.0.0/8", 5, 20))});
    EXPECT_EQ(m.sink.outcome("10.0.0.0/8"), before) << "the first one counts";
    m.apply({removed(route("10.0.0.0/8", {via("192.0.2.2", e0)}, 20))});
    EXPECT_EQ(m.sink.outcome("10.0.0.0/8"), "forward 11:punt_no_neighbour*1");
}

// What the sink has no room for is the kernel's, until it has.
TEST(MirrorNexthop, PrefixesWithoutAGroupComeBackWhenThereIsRoom) {
    Mirrored m;
    m.sink.max_groups = 1;
    m.apply({route("10.1.0.0/16", {via("192.0.2.1", e0)}), route("10.2.0.0/16", {via("192.0.2.2", e0)}),
             by_id("10.3.0.0/16", 5), object(5, via("192.0.2.3", e1)), typed("10.4.0.0/16", RTN_BLACKHOLE),
             route("10.5.0.0/16", {via("192.0.2.1", e0), via("192.0.2.2", e1)})});
    EXPECT_EQ(m.sink.outcome("10.1.0.0/16"), "forward 10:punt_no_neighbour*1");
    for (const char* prefix : {"10.2.0.0/16", "10.3.0.0/16", "10.4.0.0/16", "10.5.0.0/16"}) {
        EXPECT_EQ(m.sink.outcome(prefix), "punt_no_room") << prefix;
    }
    EXPECT_FALSE(m.mirror.ask_for_room());
    // A link of the multipath group's goes: it is found by its handle, for it has no id of its own.
    m.apply({link(e1, "e1", false), link(e1, "e1")});
    EXPECT_EQ(m.sink.outcome("10.5.0.0/16"), "punt_no_room");
    m.sink.max_groups = 3;
    ASSERT_TRUE(m.mirror.ask_for_room());
    m.mirror.commit();
    m.sink.max_groups = SIZE_MAX;
    ASSERT_TRUE(m.mirror.ask_for_room());
    m.mirror.commit();
    EXPECT_EQ(m.sink.outcome("10.2.0.0/16"), "forward 10:punt_no_neighbour*1");
    EXPECT_EQ(m.sink.outcome("10.3.0.0/16"), "forward 11:punt_no_neighbour*1");
    EXPECT_EQ(m.sink.outcome("10.4.0.0/16"), "drop_blackhole");
    EXPECT_EQ(m.sink.outcome("10.5.0.0/16"), "forward 10:punt_no_neighbour*1 11:punt_no_neighbour*1");
    EXPECT_FALSE(m.mirror.ask_for_room());
    m.sink.clear_log();
    m.mirror.commit();
    EXPECT_EQ(m.sink.call_count, 0U) << "all has been told";
}

TEST(MirrorNexthop, NextHopsWithoutRoomComeBackWhenThereIsRoom) {
    Mirrored m;
    m.sink.max_adjacencies = 1;
    m.apply({route("10.1.0.0/16", {via("192.0.2.1", e0)}), route("10.2.0.0/16", {via("192.0.2.2", e0)}),
             by_id("10.3.0.0/16", 5), object(5, via("192.0.2.1", e0))});
    EXPECT_EQ(m.sink.outcome("10.2.0.0/16"), "punt_no_room");
    m.apply({object(5, via("192.0.2.3", e0)), neighbour(e0, "192.0.2.3", 3)});
    EXPECT_EQ(m.sink.outcome("10.3.0.0/16"), "forward punt_no_room*1");
    m.sink.max_adjacencies = SIZE_MAX;
    ASSERT_TRUE(m.mirror.ask_for_room());
    m.mirror.commit();
    EXPECT_EQ(m.sink.outcome("10.2.0.0/16"), "forward 10:punt_no_neighbour*1");
    EXPECT_EQ(m.sink.outcome("10.3.0.0/16"), "forward 10:02:00:00:00:00:03*1");
    m.apply({removed(route("10.2.0.0/16", {via("192.0.2.2", e0)})), removed(by_id("10.3.0.0/16", 5))});
    EXPECT_EQ(m.sink.adjacencies.size(), 1U);
}

TEST(MirrorNexthop, AGroupOfMoreMembersThanThereIsRoomForIsTheKernels) {
    Mirrored m;
    m.sink.max_members = 1;
    m.apply({route("10.1.0.0/16", {via("192.0.2.1", e0), via("192.0.2.2", e1)})});
    EXPECT_EQ(m.sink.outcome("10.1.0.0/16"), "punt_no_room");
    m.sink.max_members = 2;
    ASSERT_TRUE(m.mirror.ask_for_room());
    m.mirror.commit();
    EXPECT_EQ(m.sink.outcome("10.1.0.0/16"), "forward 10:punt_no_neighbour*1 11:punt_no_neighbour*1");
}

TEST(MirrorNexthop, IdRulesOverTheExpandedHops) {
    Mirrored m;
    RouteMessage r = by_id("10.0.0.0/8", 5);
    r.paths = {via("192.0.2.99", e1)};
    m.apply({object(5, via("192.0.2.1", e0)), r});
    EXPECT_EQ(m.sink.outcome("10.0.0.0/8"), "forward 10:punt_no_neighbour*1");
}

TEST(MirrorNexthop, GroupsWeightsAndMembers) {
    Mirrored m;
    m.apply({group(7, {{NexthopId{5}, 1}, {NexthopId{6}, 1000}}), by_id("10.0.0.0/8", 7)});
    EXPECT_EQ(m.sink.outcome("10.0.0.0/8"), "punt_unsupported") << "members are not known yet";
    m.apply({object(5, via("192.0.2.1", e0)), object(6, via("192.0.2.2", e1))});
    EXPECT_EQ(m.sink.outcome("10.0.0.0/8"), "forward 10:punt_no_neighbour*1 11:punt_no_neighbour*1000");
    m.apply({object(6, via("192.0.2.9", e0))});
    EXPECT_EQ(m.sink.outcome("10.0.0.0/8"), "forward 10:punt_no_neighbour*1 10:punt_no_neighbour*1000");
    m.apply({object(5, via("192.0.2.1", e0, 1, RTNH_F_DEAD))});
    EXPECT_EQ(m.sink.outcome("10.0.0.0/8"), "forward 10:punt_no_neighbour*1000");
    m.apply({group(7, {{NexthopId{6}, 1}}), removed(object(5, {}))});
    EXPECT_EQ(m.sink.outcome("10.0.0.0/8"), "forward 10:punt_no_neighbour*1");
    m.apply({object(6, on(e0))});
    EXPECT_EQ(m.sink.outcome("10.0.0.0/8"), "punt_glean");
}

TEST(MirrorNexthop, LinkDownTakesItsMembersOutOfEveryGroupAtOnce) {
    const std::vector<Message> kernel = {object(5, via("192.0.2.1", e0)),
                                         object(6, via("192.0.2.2", e1)),
                                         group(7, {{NexthopId{5}, 1}, {NexthopId{6}, 2}}),
                                         by_id("10.0.0.0/8", 7),
                                         route("10.1.0.0/16", {via("192.0.2.1", e0), via("192.0.2.2", e1)}),
                                         by_id("10.2.0.0/16", 5)};
    LinkMessage no_carrier = link(e0, "e0");
    no_carrier.carrier = false;
    for (const LinkMessage& down : {link(e0, "e0", false), no_carrier}) {
        Mirrored m;
        m.apply(kernel);
        const auto resync = [&] {
            m.mirror.begin_resync();
            m.mirror.apply(link(e0, "e0"));
            m.mirror.apply(link(e1, "e1"));
            for (const Message& message : kernel) {
                m.mirror.apply(message);
            }
            m.mirror.end_resync();
            m.mirror.commit();
        };
        const std::string both = "forward 10:punt_no_neighbour*1 11:punt_no_neighbour*2";
        ASSERT_EQ(m.sink.outcome("10.0.0.0/8"), both);
        m.mirror.distrust(e0);
        m.mirror.apply(down);  // before any commit
        EXPECT_EQ(m.sink.outcome("10.0.0.0/8"), "forward 11:punt_no_neighbour*2");
        EXPECT_EQ(m.sink.outcome("10.1.0.0/16"), "forward 11:punt_no_neighbour*1");
        EXPECT_EQ(m.sink.outcome("10.2.0.0/16"), "forward 10:punt_link_down*1") << "the only one it has";
        m.apply({link(e0, "e0")});
        EXPECT_EQ(m.sink.outcome("10.0.0.0/8"), "forward 11:punt_no_neighbour*2")
            << "who knows what the kernel has kept";
        resync();
        EXPECT_EQ(m.sink.outcome("10.0.0.0/8"), both);
        EXPECT_EQ(m.sink.outcome("10.2.0.0/16"), "forward 10:punt_no_neighbour*1");
        m.mirror.distrust(e0);
        m.mirror.apply(down);
        m.mirror.distrust(e1);
        m.mirror.apply(link(e1, "e1", false));
        EXPECT_EQ(m.sink.outcome("10.0.0.0/8"), "forward 10:punt_link_down*1 11:punt_link_down*2");
        resync();
        EXPECT_EQ(m.sink.outcome("10.0.0.0/8"), both);
        // Down and up while a dump is under way: it may have told what was before.
        m.mirror.begin_resync();
        m.mirror.distrust(e0);
        m.mirror.apply(down);
        m.mirror.apply(link(e0, "e0"));
        m.mirror.apply(link(e1, "e1"));
        for (const Message& message : kernel) {
            m.mirror.apply(message);
        }
        m.mirror.end_resync();
        m.mirror.commit();
        EXPECT_EQ(m.sink.outcome("10.0.0.0/8"), "forward 11:punt_no_neighbour*2");
        EXPECT_EQ(m.sink.outcome("10.1.0.0/16"), "forward 11:punt_no_neighbour*1");
        resync();
        EXPECT_EQ(m.sink.outcome("10.0.0.0/8"), both);
    }
}

TEST(MirrorNexthop, AnIdThatComesBackAfterALinkWentDownIsNotBelieved) {
    Mirrored m;
    m.apply({object(5, via("192.0.2.1", e0)), object(6, via("192.0.2.2", e1)),
             group(7, {{NexthopId{5}, 1}, {NexthopId{6}, 2}}), by_id("10.0.0.0/8", 7),
             by_id("10.2.0.0/16", 5)});
    // The kernel flushes object 5 and 10.2.0.0/16 and shrinks the group; then 5 is made anew, elsewhere.
    m.mirror.distrust(e0);
    m.apply({link(e0, "e0", false), object(5, via("192.0.2.9", e1))});
    EXPECT_EQ(m.sink.outcome("10.2.0.0/16"), "punt_unsupported");
    EXPECT_EQ(m.sink.outcome("10.0.0.0/8"), "forward 11:punt_no_neighbour*2");
    m.mirror.begin_resync();
    for (const Message& message :
         {Message(link(e0, "e0", false)), Message(link(e1, "e1")), Message(object(5, via("192.0.2.9", e1))),
          Message(object(6, via("192.0.2.2", e1))), Message(group(7, {{NexthopId{6}, 2}})),
          Message(by_id("10.0.0.0/8", 7)), Message(by_id("10.3.0.0/16", 5))}) {
        m.mirror.apply(message);
    }
    m.mirror.end_resync();
    m.mirror.commit();
    EXPECT_EQ(m.sink.outcome("10.2.0.0/16"), "none");
    EXPECT_EQ(m.sink.outcome("10.3.0.0/16"), "forward 11:punt_no_neighbour*1");
}

TEST(MirrorNexthop, AHopHasOneKeyInEveryGroup) {
    Mirrored m;
    m.apply({object(5, via("192.0.2.1", e0)), object(6, via("192.0.2.2", e1)),
             group(7, {{NexthopId{5}, 1}, {NexthopId{6}, 2}}), by_id("10.0.0.0/8", 7),
             route("10.1.0.0/16", {via("192.0.2.2", e1), via("192.0.2.1", e0), via("192.0.2.1", e1)})});
    const auto& a = m.sink.groups.at(m.sink.group_of("10.0.0.0/8")).members;
    const auto& b = m.sink.groups.at(m.sink.group_of("10.1.0.0/16")).members;
    EXPECT_EQ(a[0].key, b[1].key);
    EXPECT_EQ(a[1].key, b[0].key);
    EXPECT_NE(a[0].key, a[1].key);
    EXPECT_NE(b[2].key, b[0].key) << "another gateway";
    EXPECT_NE(b[2].key, b[1].key) << "another interface";
}

TEST(MirrorNexthop, ARouteByABlackholeObjectIsTheSameOneAfterItsObjectIsReplaced) {
    Mirrored m;
    NexthopMessage blackhole = object(5, {});
    blackhole.blackhole = true;
    RouteMessage added = by_id("10.0.0.0/8", 5);
    added.type = RTN_BLACKHOLE;
    m.apply({blackhole, added});
    EXPECT_EQ(m.sink.outcome("10.0.0.0/8"), "drop_blackhole");
    m.apply({object(5, via("192.0.2.1", e0))});
    EXPECT_EQ(m.sink.outcome("10.0.0.0/8"), "forward 10:punt_no_neighbour*1");
    m.apply({removed(by_id("10.0.0.0/8", 5))});
    EXPECT_EQ(m.sink.outcome("10.0.0.0/8"), "none");
    EXPECT_FALSE(m.mirror.take_doubt());
}

TEST(MirrorNexthop, BlackholeAndUnsupported) {
    Mirrored m;
    NexthopMessage blackhole = object(5, {});
    blackhole.blackhole = true;
    m.apply({blackhole, by_id("10.0.0.0/8", 5), group(6, {{NexthopId{5}, 1}}), by_id("10.6.0.0/16", 6)});
    EXPECT_EQ(m.sink.outcome("10.0.0.0/8"), "drop_blackhole");
    EXPECT_EQ(m.sink.outcome("10.6.0.0/16"), "drop_blackhole");
    NexthopMessage unsupported = object(5, via("192.0.2.1", e0));
    unsupported.unsupported = true;
    m.apply({unsupported});
    EXPECT_EQ(m.sink.outcome("10.0.0.0/8"), "punt_unsupported");
    EXPECT_EQ(m.sink.outcome("10.6.0.0/16"), "punt_unsupported");
}

TEST(MirrorNexthop, DeletedUnderItsRoutes) {
    Mirrored m;
    m.apply({object(5, via("192.0.2.1", e0)), by_id("10.0.0.0/8", 5)});
    EXPECT_TRUE(m.mirror.nexthop_in_use(NexthopId{5}));
    m.apply({removed(object(5, {}))});
    EXPECT_EQ(m.sink.outcome("10.0.0.0/8"), "punt_unsupported");
    m.apply({object(5, via("192.0.2.1", e0))});
    EXPECT_EQ(m.sink.outcome("10.0.0.0/8"), "forward 10:punt_no_neighbour*1");
    m.apply({removed(by_id("10.0.0.0/8", 5))});
    EXPECT_FALSE(m.mirror.nexthop_in_use(NexthopId{5}));
    EXPECT_TRUE(m.sink.groups.empty());
}

TEST(MirrorNexthop, NeighbourStates) {
    const struct {
        uint16_t nud;
        bool usable;
    } states[] = {{NUD_PERMANENT, true}, {NUD_NOARP, true},       {NUD_REACHABLE, true},
                  {NUD_STALE, true},     {NUD_DELAY, true},       {NUD_PROBE, true},
                  {NUD_FAILED, false},   {NUD_INCOMPLETE, false}, {NUD_NONE, false}};
    for (const auto& s : states) {
        Mirrored m;
        m.apply({route("10.0.0.0/8", {via("192.0.2.1", e0)}), neighbour(e0, "192.0.2.1", 1, s.nud)});
        EXPECT_EQ(m.sink.outcome("10.0.0.0/8"),
                  s.usable ? "forward 10:02:00:00:00:00:01*1" : "forward 10:punt_no_neighbour*1")
            << s.nud;
    }
}

TEST(MirrorNexthop, NeighbourFollowedWithOneCall) {
    Mirrored m;
    m.apply({route("10.0.0.0/8", {via("192.0.2.1", e0)}), neighbour(e0, "192.0.2.1", 1)});
    m.sink.clear_log();
    m.mirror.apply(neighbour(e0, "192.0.2.1", 2));  // before any commit
    EXPECT_EQ(m.sink.call_count, 1U);
    EXPECT_EQ(m.sink.outcome("10.0.0.0/8"), "forward 10:02:00:00:00:00:02*1");
    m.apply({neighbour(e0, "192.0.2.1", 2, NUD_STALE)});
    EXPECT_EQ(m.sink.call_count, 1U) << "still usable, nothing to say";
    NeighborMessage failed = neighbour(e0, "192.0.2.1", 2, NUD_FAILED);
    m.apply({failed});
    EXPECT_EQ(m.sink.outcome("10.0.0.0/8"), "forward 10:punt_no_neighbour*1");
    m.apply({neighbour(e0, "192.0.2.1", 2), removed(failed)});
    EXPECT_EQ(m.sink.outcome("10.0.0.0/8"), "forward 10:punt_no_neighbour*1");
    failed = neighbour(e0, "192.0.2.1", 2);
    failed.mac.reset();
    m.apply({failed});
    EXPECT_EQ(m.sink.outcome("10.0.0.0/8"), "forward 10:punt_no_neighbour*1") << "usable but without a MAC";
}

}  // namespace
}  // namespace millrace::sync::test
