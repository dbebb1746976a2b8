// SPDX-License-Identifier: BSD-3-Clause
// Sweeping and committing in slices: what is done ahead of the bulk, and that nothing is forgotten when
// changes come in between. random_test.cpp has the same with everything else that happens.
#include <gtest/gtest.h>

#include "fib_sync/sync.hpp"
#include "messages.hpp"
#include "recording_sink.hpp"

namespace millrace::sync::test {
namespace {

class NoTransport : public Transport {
  public:
    Status start_dump(DumpKind) override { return {}; }
    void abandon_dump() override {}
};

Prefix nth(uint32_t i) {
    return Prefix::make({Family::ipv4, {20, static_cast<uint8_t>(i >> 8), static_cast<uint8_t>(i), 0}}, 24);
}
RouteMessage nth_route(uint32_t i, const char* gateway = "192.0.2.2") {
    RouteMessage m = route("0.0.0.0/0", {via(gateway, e0)}, 20);
    m.prefix = nth(i);
    return m;
}
RouteMessage nth_by_id(uint32_t i, uint32_t id) {
    RouteMessage m = by_id("0.0.0.0/0", id);
    m.prefix = nth(i);
    return m;
}

class Slices : public testing::Test {
  protected:
    void dump(const std::vector<Message>& routes) {
        for (const char* gateway : {"192.0.2.2", "192.0.2.3"}) {
            kernel_.emplace_back(neighbour(e0, gateway, 2));
        }
        for (const Message& m : kernel_) {
            sync_.dump_message(m, now_);
        }
        for (size_t stage = 0; stage < dump_kinds; ++stage) {
            for (const Message& m : routes) {
                if (stage == static_cast<size_t>(DumpKind::routes4)) {
                    sync_.dump_message(m, now_);
                }
            }
            sync_.dump_done(false, now_);
        }
    }
    void settle() {
        while (sync_.busy()) {
            sync_.tick(now_);
        }
        EXPECT_EQ(sync_.state(), SyncState::synced);
    }
    size_t count_calls(std::string_view name) const {
        return static_cast<size_t>(std::count_if(sink_.calls.begin(), sink_.calls.end(),
                                                 [&](const std::string& c) { return c.starts_with(name); }));
    }

    std::vector<Message> kernel_ = {link(e0, "e0"), link(e1, "e1")};
    RecordingSink sink_;
    Mirror mirror_{sink_, {"e0", "e1"}};
    NoTransport transport_;
    uint64_t now_ = 1000;
    Sync sync_{mirror_, transport_, SyncOptions{.slice = 10}};
};

TEST_F(Slices, NoSliceDoesMoreThanItShould) {
    std::vector<Message> routes;
    for (uint32_t i = 0; i < 1000; ++i) {
        routes.emplace_back(nth_route(i));
    }
    sync_.start(now_);
    dump(routes);
    EXPECT_EQ(sync_.state(), SyncState::applying);
    EXPECT_EQ(sync_.statistics().resyncs, 0U) << "not before all of it is in force";
    size_t slices = 0;
    while (sync_.busy()) {
        sink_.clear_log();
        EXPECT_EQ(sync_.deadline(), 0U);
        sync_.tick(now_);
        EXPECT_LE(count_calls("set_route"), 10U);
        ++slices;
    }
    EXPECT_GE(slices, 100U);
    EXPECT_EQ(sync_.statistics().resyncs, 1U);
    EXPECT_EQ(sync_.statistics().last_changed, 1000U);
    EXPECT_EQ(sink_.routes.size(), 1000U);
}

TEST_F(Slices, ProgressGoesFromNothingToAll) {
    std::vector<Message> routes;
    for (uint32_t i = 0; i < 500; ++i) {
        routes.emplace_back(nth_route(i));
    }
    sync_.start(now_);
    EXPECT_TRUE(sync_.progress().running);
    EXPECT_FALSE(sync_.progress().applying);
    EXPECT_EQ(sync_.progress().reason, "start");
    dump(routes);
    uint64_t last = 0;
    while (sync_.state() == SyncState::applying) {
        const Progress p = sync_.progress();
        EXPECT_TRUE(p.running && p.applying);
        EXPECT_GE(p.done, last);
        EXPECT_LE(p.done, p.total);
        EXPECT_EQ(p.total, 500U);
        last = p.done;
        sync_.tick(now_);
    }
    EXPECT_GT(last, 400U);
    EXPECT_FALSE(sync_.progress().running);
    EXPECT_EQ(sync_.statistics().last_told[static_cast<size_t>(DumpKind::routes4)], 500U);
    sync_.request_resync(now_, "for this test");
    now_ += 5000;
    sync_.tick(now_);
    EXPECT_EQ(sync_.progress().reason, "for this test");
}

TEST_F(Slices, ChangesGoAheadOfTheBulk) {
    std::vector<Message> routes;
    for (uint32_t i = 0; i < 1000; ++i) {
        routes.emplace_back(nth_route(i));
    }
    sync_.start(now_);
    dump(routes);
    while (sink_.routes.size() < 100) {
        sync_.tick(now_);
    }
    // Near the end of the table, in another place of it, and where the bulk has been.
    sync_.notification(replacing(nth_route(990, "192.0.2.3")), now_);
    sync_.notification(nth_route(2000, "192.0.2.3"), now_);
    sync_.notification(replacing(nth_route(3, "192.0.2.3")), now_);
    sync_.end_batch(now_);
    for (const uint32_t i : {990U, 2000U, 3U}) {
        EXPECT_EQ(sink_.outcome(nth(i)), "forward 10:02:00:00:00:00:02*1") << i;
    }
    EXPECT_LT(sink_.routes.size(), 150U);
    // A removed one waits for what replaces it, the bulk does not.
    sync_.notification(removed(nth_route(4)), now_);
    sync_.end_batch(now_);
    const size_t before = sink_.routes.size();
    sync_.tick(now_);
    EXPECT_EQ(sink_.routes.size(), before + 10);
    EXPECT_TRUE(sink_.routes.contains(nth(4)));
    sync_.tick(now_ += 5);
    EXPECT_FALSE(sink_.routes.contains(nth(4)));
    settle();
    EXPECT_EQ(sink_.routes.size(), 1000U);
}

TEST_F(Slices, ObjectsAndLinksDoNotWaitForTheBulk) {
    std::vector<Message> routes;
    for (uint32_t i = 0; i < 1000; ++i) {
        routes.emplace_back(nth_by_id(i, 7));
    }
    kernel_.emplace_back(object(7, via("192.0.2.2", e0)));
    kernel_.emplace_back(neighbour(e1, "198.51.100.2", 9));
    sync_.start(now_);
    dump(routes);
    while (sink_.routes.empty()) {
        sync_.tick(now_);
    }
    ASSERT_EQ(sink_.outcome(nth(0)), "forward 10:02:00:00:00:00:02*1");
    const size_t before = sink_.routes.size();
    sync_.notification(object(7, via("198.51.100.2", e1)), now_);
    sync_.end_batch(now_);
    EXPECT_EQ(sink_.outcome(nth(0)), "forward 11:02:00:00:00:00:09*1");
    EXPECT_LE(sink_.routes.size(), before + 10);
    sync_.notification(link(e1, "e1", false), now_);
    EXPECT_EQ(sink_.outcome(nth(0)), "forward 11:punt_link_down*1");
}

TEST_F(Slices, ObjectsDoNotWaitForADumpEither) {
    kernel_.emplace_back(object(7, via("192.0.2.2", e0)));
    kernel_.emplace_back(neighbour(e1, "198.51.100.2", 9));
    sync_.start(now_);
    dump({nth_by_id(0, 7)});
    settle();
    sync_.request_resync(now_, "for this test");
    sync_.tick(now_ += 5000);
    ASSERT_EQ(sync_.state(), SyncState::dumping);
    sync_.notification(object(7, via("198.51.100.2", e1)), now_);
    sync_.end_batch(now_);
    EXPECT_EQ(sink_.outcome(nth(0)), "forward 11:02:00:00:00:00:09*1");
    // The dump is older, and does not take it back.
    dump({nth_by_id(0, 7)});
    settle();
    EXPECT_EQ(sink_.outcome(nth(0)), "forward 11:02:00:00:00:00:09*1");
}

// However many prefixes: one call for the object, none for them.
TEST_F(Slices, SwitchingANexthopIsOneCall) {
    for (const uint32_t n : {10U, 10'000U}) {
        mirror_.apply(link(e0, "e0"));
        mirror_.apply(object(7, via("192.0.2.2", e0)));
        for (uint32_t i = 0; i < n; ++i) {
            mirror_.apply(nth_by_id(i, 7));
        }
        mirror_.commit();
        sink_.clear_log();
        mirror_.apply(object(7, via("192.0.2.3", e0)));
        mirror_.commit_objects();
        EXPECT_EQ(count_calls("set_group"), 1U);
        EXPECT_EQ(count_calls("set_route"), 0U);
        EXPECT_LE(sink_.call_count, 4U) << "an adjacency made, set, and one destroyed, beside the group";
        mirror_.commit();
        EXPECT_EQ(count_calls("set_route"), 0U);
    }
}

// More changes between two commits than the list holds are found by a walk.
TEST_F(Slices, MoreChangesThanTheListHolds) {
    sync_.start(now_);
    dump({});
    settle();
    constexpr uint32_t n = (1U << 16) + 1000;
    for (const char* gateway : {"192.0.2.2", "192.0.2.3"}) {
        for (uint32_t i = 0; i < n; ++i) {
            RouteMessage m = nth_route(i, gateway);
            m.prefix = Prefix::make(
                {Family::ipv4,
                 {20, static_cast<uint8_t>(i >> 16), static_cast<uint8_t>(i >> 8), static_cast<uint8_t>(i)}},
                32);
            m.exclusive = false;
            m.replace = true;
            sync_.notification(m, now_);
        }
        sync_.end_batch(now_);
        settle();
        ASSERT_EQ(sink_.routes.size(), n);
        std::set<GroupId> groups;
        for (const auto& [prefix, group] : sink_.routes) {
            groups.insert(group);
        }
        EXPECT_EQ(groups.size(), 1U);
    }
    EXPECT_EQ(sync_.statistics().resyncs, 1U);
}

}  // namespace
}  // namespace millrace::sync::test
