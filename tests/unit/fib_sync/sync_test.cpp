// SPDX-License-Identifier: BSD-3-Clause
// The resync state machine with a transport that is played by hand.
#include "fib_sync/sync.hpp"

#include <gtest/gtest.h>

#include "messages.hpp"
#include "recording_sink.hpp"

namespace millrace::sync::test {
namespace {

class HandTransport : public Transport {
  public:
    Status start_dump(DumpKind kind) override {
        started.push_back(kind);
        if (refuse) {
            return fail("refused", EPERM);
        }
        running = kind;
        return {};
    }
    void abandon_dump() override { running.reset(); }

    std::vector<DumpKind> started;
    std::optional<DumpKind> running;
    bool refuse = false;
};

class SyncTest : public testing::Test {
  protected:
    SyncTest() { kernel_ = {link(e0, "e0"), link(e1, "e1")}; }

    static DumpKind kind_of(const Message& m) {
        if (const auto* r = std::get_if<RouteMessage>(&m)) {
            return r->prefix.address.family == Family::ipv4 ? DumpKind::routes4 : DumpKind::routes6;
        }
        return static_cast<DumpKind>(m.index());
    }
    // Answers the stage under way from kernel_.
    void answer(bool interrupted = false) {
        ASSERT_TRUE(transport_.running.has_value());
        const DumpKind kind = *transport_.running;
        for (const Message& m : kernel_) {
            if (kind_of(m) == kind) {
                sync_.dump_message(m, now_);
            }
        }
        sync_.dump_done(interrupted, now_);
    }
    void answer_all() {
        for (int stage = 0; stage < 6; ++stage) {
            answer();
        }
    }
    void answer_up_to(DumpKind kind) {
        while (transport_.running != kind) {
            answer();
        }
    }
    void tell(const Message& m) {
        sync_.notification(m, now_);
        sync_.end_batch(now_);
    }
    void pass(uint64_t ms) {
        now_ += ms;
        sync_.tick(now_);
    }

    RecordingSink sink_;
    Mirror mirror_{sink_, {"e0", "e1"}};
    HandTransport transport_;
    SyncOptions options_{.queue_limit = 8};
    Sync sync_{mirror_, transport_, options_};
    std::vector<Message> kernel_;
    uint64_t now_ = 1'000'000;
    const RouteMessage ten_ = route("10.0.0.0/8", {via("192.0.2.1", e0)});
    const RouteMessage six_ = route("2001:db8::/32", {via("fe80::1", e0)}, 1024);
};

TEST_F(SyncTest, StagesInOrderAndOneCommit) {
    kernel_.insert(kernel_.end(), {ten_, six_});
    sync_.start(now_);
    EXPECT_EQ(sync_.state(), SyncState::dumping);
    answer_up_to(DumpKind::routes6);
    EXPECT_TRUE(sink_.routes.empty());
    now_ += 40;
    answer();
    EXPECT_EQ(sync_.state(), SyncState::synced);
    EXPECT_EQ(transport_.started, (std::vector{DumpKind::links, DumpKind::addresses, DumpKind::neighbours,
                                               DumpKind::nexthops, DumpKind::routes4, DumpKind::routes6}));
    EXPECT_EQ(sink_.routes.size(), 2U);
    EXPECT_EQ(sink_.commits, 1U);
    EXPECT_EQ(sync_.statistics().resyncs, 1U);
    EXPECT_EQ(sync_.statistics().last_duration_ms, 40U);
    EXPECT_FALSE(sync_.deadline().has_value());
}

TEST_F(SyncTest, QueuedNotificationsAreReplayed) {
    kernel_.push_back(ten_);
    sync_.start(now_);
    answer_up_to(DumpKind::routes6);
    tell(removed(ten_));
    tell(six_);
    answer();
    answer();
    EXPECT_EQ(sink_.outcome("10.0.0.0/8"), "none");
    EXPECT_NE(sink_.outcome("2001:db8::/32"), "none");
    EXPECT_EQ(sink_.commits, 1U);
}

TEST_F(SyncTest, LinkDownDoesNotWaitForTheDump) {
    kernel_.insert(kernel_.end(), {neighbour(e0, "192.0.2.1", 1), ten_});
    sync_.start(now_);
    answer_all();
    EXPECT_EQ(sink_.outcome("10.0.0.0/8"), "forward 10:02:00:00:00:00:01*1");
    sync_.overrun(now_);
    pass(20);
    ASSERT_EQ(transport_.running, DumpKind::links);
    tell(link(e0, "e0", false));
    EXPECT_EQ(sink_.outcome("10.0.0.0/8"), "forward 10:punt_link_down*1");
    answer();  // older than the notification
    EXPECT_EQ(sink_.outcome("10.0.0.0/8"), "forward 10:punt_link_down*1");
    tell(neighbour(e0, "192.0.2.1", 9));
    answer_up_to(DumpKind::nexthops);
    EXPECT_EQ(mirror_.neighbours().find({ip("192.0.2.1"), e0})->mac, mac(9));
}

TEST_F(SyncTest, LinkChangesScheduleOneResyncAfterAWhile) {
    kernel_.push_back(ten_);
    sync_.start(now_);
    answer_all();
    pass(1000);
    tell(link(e0, "e0", false));
    EXPECT_EQ(sync_.deadline(), now_ + 20);
    now_ += 5;
    tell(link(e0, "e0", true));  // and on the way up
    EXPECT_EQ(sync_.deadline(), now_ + 15);
    kernel_.pop_back();  // the kernel dropped the route without a word
    pass(14);
    EXPECT_EQ(sync_.state(), SyncState::synced);
    pass(1);
    EXPECT_EQ(sync_.state(), SyncState::dumping);
    answer_all();
    EXPECT_EQ(sink_.outcome("10.0.0.0/8"), "none");
    EXPECT_EQ(sync_.statistics().resyncs, 2U);
    LinkMessage mtu = link(e0, "e0");
    mtu.mtu = 1400;
    tell(mtu);
    EXPECT_FALSE(sync_.deadline().has_value());
}

TEST_F(SyncTest, ResyncsTakeNoMoreThanHalfOfTheTime) {
    sync_.start(now_);
    now_ += 500;
    answer_all();
    tell(link(e0, "e0", false));
    EXPECT_EQ(sync_.deadline(), now_ + 500);
}

TEST_F(SyncTest, NexthopRemovedUnderItsRoutes) {
    kernel_.insert(kernel_.end(), {object(5, via("192.0.2.1", e0)), object(6, via("192.0.2.2", e0)),
                                   by_id("10.5.0.0/16", 5)});
    sync_.start(now_);
    answer_all();
    tell(removed(object(6, {})));
    EXPECT_FALSE(sync_.deadline().has_value()) << "nobody used it";
    tell(removed(object(5, {})));
    EXPECT_EQ(sink_.outcome("10.5.0.0/16"), "punt_unsupported");
    EXPECT_EQ(sync_.deadline(), now_ + 20);
}

TEST_F(SyncTest, AddressAddedRevivesDeadNextHops) {
    Path dead = via("192.0.2.1", e0);
    dead.flags = RTNH_F_DEAD;
    kernel_.emplace_back(route("10.0.0.0/8", {dead, via("198.51.100.1", e1)}));
    sync_.start(now_);
    answer_all();
    tell(address(e1, "198.51.100.7"));
    EXPECT_FALSE(sync_.deadline().has_value()) << "no path over it is dead";
    tell(address(e0, "192.0.2.7"));
    EXPECT_EQ(sync_.deadline(), now_ + 20);
    kernel_.back() = route("10.0.0.0/8", {via("192.0.2.1", e0), via("198.51.100.1", e1)});
    pass(20);
    answer_all();
    tell(address(e0, "192.0.2.8"));
    EXPECT_FALSE(sync_.deadline().has_value()) << "it lives";
}

TEST_F(SyncTest, Ipv6SwitchedOffTakesTheLinkLocalAddressAlong) {
    kernel_.insert(kernel_.end(), {address(e0, "fe80::7"), address(e0, "2001:db8::7")});
    sync_.start(now_);
    answer_all();
    tell(removed(address(e0, "2001:db8::7")));
    EXPECT_FALSE(sync_.deadline().has_value());
    tell(removed(address(e0, "fe80::7")));
    EXPECT_TRUE(sync_.deadline().has_value());
}

TEST_F(SyncTest, AddressRemovedTakesIpv4RoutesAlong) {
    kernel_.insert(kernel_.end(), {address(e0, "192.0.2.7"), address(e0, "2001:db8::7")});
    sync_.start(now_);
    answer_all();
    tell(removed(address(e0, "2001:db8::7")));
    EXPECT_FALSE(sync_.deadline().has_value());
    tell(removed(address(e0, "192.0.2.7")));
    EXPECT_TRUE(sync_.deadline().has_value());
}

TEST_F(SyncTest, WhatWasLostIsLostUntilAWholeDumpHasTold) {
    kernel_.push_back(ten_);
    sync_.start(now_);
    answer_all();
    EXPECT_EQ(sync_.lost_since_ms(), 0U);
    const uint64_t first = now_;
    sync_.overrun(now_);
    pass(20);
    answer_up_to(DumpKind::routes4);
    sync_.overrun(now_);
    EXPECT_EQ(sync_.lost_since_ms(), first);
    pass(10);
    answer_all();
    EXPECT_EQ(sync_.state(), SyncState::synced);
    EXPECT_EQ(sync_.lost_since_ms(), 0U);
}

TEST_F(SyncTest, OverrunWhileDumpingStartsOverWithBackOff) {
    sync_.start(now_);
    uint64_t wait = 10;
    for (int i = 0; i < 10; ++i) {
        SCOPED_TRACE(i);
        answer_up_to(DumpKind::routes4);
        tell(ten_);
        sync_.overrun(now_);
        EXPECT_EQ(sync_.state(), SyncState::waiting);
        EXPECT_FALSE(transport_.running.has_value());
        EXPECT_EQ(sync_.deadline(), now_ + wait);
        pass(wait - 1);
        EXPECT_EQ(sync_.state(), SyncState::waiting);
        pass(1);
        ASSERT_EQ(transport_.running, DumpKind::links);
        wait = std::min<uint64_t>(wait * 2, 1000);
    }
    answer_all();
    EXPECT_EQ(sync_.state(), SyncState::synced);
    EXPECT_TRUE(sink_.routes.empty()) << "what queued before the overrun is void";
    EXPECT_EQ(sync_.statistics().overruns, 10U);
    EXPECT_EQ(sync_.statistics().restarts, 10U);
    sync_.overrun(now_);
    pass(20);
    answer(true);
    EXPECT_EQ(sync_.deadline(), now_ + 10) << "the back-off began anew";
}

// What Linux does: a dump of IPv6 routes leaves out quiet ones while others change, and does not say so.
TEST_F(SyncTest, DisturbedDumpOfIpv6RoutesIsRepeated) {
    kernel_ = {link(e0, "e0"), link(e1, "e1"), six_};
    sync_.start(now_);
    answer_all();
    ASSERT_NE(sink_.outcome("2001:db8::/32"), "none");
    const RouteMessage other = route("2001:db8:1::/48", {via("fe80::1", e0)}, 1024);

    // Left out of the first pass only.
    sync_.request_resync(now_, "test");
    pass(options_.coalesce_ms);
    answer_up_to(DumpKind::routes6);
    tell(other);
    tell(removed(other));
    kernel_.pop_back();
    answer();
    EXPECT_EQ(sync_.state(), SyncState::dumping);
    kernel_.push_back(six_);
    answer();
    EXPECT_EQ(sync_.state(), SyncState::synced);
    EXPECT_NE(sink_.outcome("2001:db8::/32"), "none");
    EXPECT_EQ(sink_.outcome("2001:db8:1::/48"), "none");
    EXPECT_FALSE(sync_.resync_pending());

    // Left out of all, while there is no undisturbed one: kept, and looked at again.
    kernel_.pop_back();
    sync_.request_resync(now_, "test");
    pass(options_.coalesce_ms);
    answer_up_to(DumpKind::routes6);
    for (int i = 0; i < 3; ++i) {
        tell(other);
        answer();
    }
    EXPECT_EQ(sync_.state(), SyncState::synced);
    EXPECT_NE(sink_.outcome("2001:db8::/32"), "none");
    EXPECT_NE(sink_.outcome("2001:db8:1::/48"), "none");
    ASSERT_TRUE(sync_.resync_pending());

    // It was gone indeed.
    kernel_.push_back(other);
    pass(options_.coalesce_ms);
    answer_all();
    EXPECT_EQ(sink_.outcome("2001:db8::/32"), "none");
    EXPECT_NE(sink_.outcome("2001:db8:1::/48"), "none");
    EXPECT_FALSE(sync_.resync_pending());
}

// A route that changed between two passes is what the later one tells.
TEST_F(SyncTest, RouteChangedBetweenPassesIsToldOnce) {
    kernel_.push_back(six_);
    sync_.start(now_);
    answer_up_to(DumpKind::routes6);
    RouteMessage moved = route("2001:db8::/32", {via("fe80::2", e1)}, 1024);
    kernel_.back() = moved;
    moved.replace = true;
    sync_.dump_message(Message(six_), now_);
    tell(moved);
    sync_.dump_done(false, now_);
    answer();
    EXPECT_EQ(sync_.state(), SyncState::synced);
    EXPECT_EQ(sync_.statistics().doubts, 0U);
    EXPECT_EQ(sink_.outcome("2001:db8::/32"), "forward 11:punt_no_neighbour*1");
}

TEST_F(SyncTest, InterruptedDumpStartsOver) {
    sync_.start(now_);
    answer_up_to(DumpKind::nexthops);
    answer(true);
    EXPECT_EQ(sync_.state(), SyncState::waiting);
    EXPECT_EQ(sync_.statistics().interrupted, 1U);
    EXPECT_EQ(sink_.commits, 0U);
    pass(10);
    answer_all();
    EXPECT_EQ(sync_.state(), SyncState::synced);
}

TEST_F(SyncTest, RefusedAndSilentDumps) {
    transport_.refuse = true;
    sync_.start(now_);
    EXPECT_EQ(sync_.state(), SyncState::waiting);
    transport_.refuse = false;
    pass(10);
    ASSERT_EQ(sync_.state(), SyncState::dumping);
    EXPECT_EQ(sync_.deadline(), now_ + 10'000);
    pass(10'000);
    EXPECT_EQ(sync_.state(), SyncState::waiting);
    EXPECT_EQ(sync_.statistics().dump_failures, 2U);
    pass(20);
    answer_all();
    EXPECT_EQ(sync_.state(), SyncState::synced);
}

TEST_F(SyncTest, QueueIsBounded) {
    sync_.start(now_);
    answer_up_to(DumpKind::routes4);
    for (int i = 0; i < 9; ++i) {
        tell(ten_);
    }
    EXPECT_EQ(sync_.state(), SyncState::waiting);
    EXPECT_EQ(sync_.statistics().queue_overflows, 1U);
    pass(10);
    answer_all();
    EXPECT_EQ(sync_.state(), SyncState::synced);
}

TEST_F(SyncTest, RemovedRouteWaitsForItsReplacement) {
    kernel_.push_back(six_);
    sync_.start(now_);
    answer_all();
    sink_.clear_log();
    tell(removed(six_));
    EXPECT_EQ(sync_.deadline(), now_ + 5);
    now_ += 1;
    tell(route("2001:db8::/32", {via("fe80::2", e0)}, 1024));
    pass(4);
    EXPECT_FALSE(sync_.deadline().has_value());
    for (const std::string& call : sink_.calls) {
        EXPECT_FALSE(call.starts_with("remove_route")) << call;
    }
    tell(ten_);
    EXPECT_NE(sink_.outcome("10.0.0.0/8"), "none") << "an add alone does not wait";
    tell(removed(six_));
    tell(removed(route("2001:db8::/32", {via("fe80::2", e0)}, 1024)));
    pass(5);
    EXPECT_EQ(sink_.outcome("2001:db8::/32"), "none");
}

TEST_F(SyncTest, DoubtStartsAResync) {
    kernel_.push_back(ten_);
    sync_.start(now_);
    answer_all();
    tell(removed(route("10.0.0.0/8", {via("192.0.2.99", e0)})));
    pass(5);
    EXPECT_EQ(sync_.statistics().doubts, 1U);
    EXPECT_TRUE(sync_.resync_pending());
    EXPECT_NE(sink_.outcome("10.0.0.0/8"), "none");
}

TEST_F(SyncTest, MalformedAndForeignMessagesAreCounted) {
    sync_.start(now_);
    answer_all();
    sync_.notification(Wire(RTM_NEWROUTE, 0,
                            rtmsg{.rtm_family = AF_INET,
                                  .rtm_dst_len = 99,
                                  .rtm_src_len = 0,
                                  .rtm_tos = 0,
                                  .rtm_table = 0,
                                  .rtm_protocol = 0,
                                  .rtm_scope = 0,
                                  .rtm_type = 0,
                                  .rtm_flags = 0})
                           .bytes(),
                       now_);
    sync_.notification(Wire(RTM_NEWRULE, 0, rtmsg{}).bytes(), now_);
    EXPECT_EQ(sync_.statistics().decode_errors, 1U);
    EXPECT_EQ(sync_.statistics().ignored, 1U);
}

}  // namespace
}  // namespace millrace::sync::test
