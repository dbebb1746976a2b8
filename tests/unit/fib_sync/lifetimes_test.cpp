// SPDX-License-Identifier: BSD-3-Clause
// Routes with a lifetime are forwarded over for as long as the kernel's last answer holds, and no longer.
#include "fib_sync/lifetimes.hpp"

#include <gtest/gtest.h>

#include "messages.hpp"
#include "recording_sink.hpp"

namespace millrace::sync::test {
namespace {

// A kernel with one route and its lifetime.
class OneRoute : public KernelQuery {
  public:
    explicit OneRoute(const uint64_t& clock) : now(clock) {}
    Status start_dump(DumpKind) override { return {}; }
    Result<Part> next(const std::function<void(const Message&)>&) override { return Part{.last = true}; }
    Result<std::optional<Message>> get(const Key&) override { return std::nullopt; }
    Result<std::optional<RouteMessage>> route_to(const IpAddress& address) override {
        ++asked;
        if (!route || !route->prefix.contains(address)) {
            return std::nullopt;
        }
        // In hundredths of a second: the last one and the first one behind it look like no lifetime.
        route->lifetime_ms = ends ? (*ends - static_cast<int64_t>(now)) / 10 * 10 : 0;
        return route;
    }
    [[nodiscard]] bool notifications_read() const override { return true; }

    std::optional<RouteMessage> route;
    std::optional<int64_t> ends;  // ms on the clock of now; none = never
    const uint64_t& now;
    int asked = 0;
};

class LifetimesTest : public testing::Test {
  protected:
    LifetimesTest() {
        for (const Message& m : std::initializer_list<Message>{
                 link(e0, "e0"), link(e1, "e1"), neighbour(e0, "fe80::1", 1), neighbour(e1, "fe80::2", 2)}) {
            mirror_.apply(m);
        }
    }
    // The kernel has it, and says so.
    void tell(RouteMessage m, int64_t lifetime_ms) {
        m.lifetime_ms = lifetime_ms;
        kernel_.route = m;
        lives(lifetime_ms);
        mirror_.apply(m);
        mirror_.commit();
    }
    // 0 = it has no lifetime any more. Nothing is told.
    void lives(int64_t ms) {
        kernel_.ends = ms == 0 ? std::nullopt : std::optional(static_cast<int64_t>(now_) + ms);
    }
    void tick(uint64_t ms = 0) {
        now_ += ms;
        if (lifetimes_.tick(now_)) {
            mirror_.commit();
        }
    }
    // As the daemon does: at each deadline, up to `ms` from now.
    void pass(uint64_t ms) {
        const uint64_t end = now_ + ms;
        while (lifetimes_.deadline() <= end) {
            const uint64_t at = std::max(now_, lifetimes_.deadline());
            now_ = at;
            tick();
        }
        now_ = end;
    }

    RecordingSink sink_;
    Mirror mirror_{sink_, {"e0", "e1"}};
    uint64_t now_ = 5000;
    OneRoute kernel_{now_};
    Lifetimes lifetimes_{mirror_, kernel_};
    const RouteMessage route_ = route("2001:db8::/32", {via("fe80::1", e0)}, 1024);
    const std::string forwards_ = "forward 10:02:00:00:00:00:01*1";
};

TEST_F(LifetimesTest, PuntsUntilTheKernelWasAskedAndFromTheEndOn) {
    tell(route_, 3000);
    EXPECT_EQ(sink_.outcome("2001:db8::/32"), "punt_unsupported");
    tick();
    EXPECT_EQ(sink_.outcome("2001:db8::/32"), forwards_);
    pass(2970);
    EXPECT_EQ(sink_.outcome("2001:db8::/32"), forwards_);
    pass(15);
    EXPECT_EQ(sink_.outcome("2001:db8::/32"), "punt_unsupported")
        << "it is left to the kernel, not to the prefix above";
    const int asked = kernel_.asked;
    pass(5000);
    EXPECT_GT(kernel_.asked, asked) << "it may have been given a new life";
    EXPECT_EQ(sink_.outcome("2001:db8::/32"), "punt_unsupported");
    lives(20'000);
    pass(400);
    EXPECT_EQ(sink_.outcome("2001:db8::/32"), forwards_);
    mirror_.apply(removed(route_));
    mirror_.commit();
    EXPECT_EQ(sink_.outcome("2001:db8::/32"), "none");
    tick();
    EXPECT_EQ(lifetimes_.deadline(), UINT64_MAX);
}

TEST_F(LifetimesTest, ARefreshedLifetimeNeverPunts) {
    tell(route_, 2000);
    tick();
    sink_.clear_log();
    for (int i = 0; i < 20; ++i) {
        pass(1500);
        lives(2000);
    }
    EXPECT_EQ(sink_.outcome("2001:db8::/32"), forwards_);
    EXPECT_TRUE(sink_.calls.empty());
}

TEST_F(LifetimesTest, AShorterLifetimeIsSeenInTime) {
    tell(route_, 1'800'000);
    tick();
    pass(399);
    lives(1000);
    pass(970);
    EXPECT_EQ(sink_.outcome("2001:db8::/32"), forwards_);
    pass(15);
    EXPECT_EQ(sink_.outcome("2001:db8::/32"), "punt_unsupported");
}

TEST_F(LifetimesTest, NoEndAnyMore) {
    tell(route_, 3000);
    tick();
    lives(0);
    pass(100'000);
    EXPECT_EQ(sink_.outcome("2001:db8::/32"), forwards_);
    EXPECT_EQ(lifetimes_.deadline(), UINT64_MAX) << "an ordinary route";
    RouteMessage advertised = route_;
    advertised.protocol = RTPROT_RA;
    tell(replacing(advertised), 0);
    pass(50);
    EXPECT_EQ(sink_.outcome("2001:db8::/32"), forwards_);
    EXPECT_NE(lifetimes_.deadline(), UINT64_MAX) << "the next advertisement may give it one";
}

TEST_F(LifetimesTest, AnotherRouteIsNotBelievedByTheOldAnswer) {
    tell(route_, 3000);
    tick();
    const RouteMessage other = replacing(route("2001:db8::/32", {via("fe80::2", e1)}, 1024));
    lives(0);
    RouteMessage limited = other;
    limited.lifetime_ms = 1000;
    mirror_.apply(limited);
    mirror_.commit();
    tick();
    EXPECT_EQ(sink_.outcome("2001:db8::/32"), "punt_unsupported") << "the kernel still says the old one";
    tell(other, 1000);
    pass(400);
    EXPECT_EQ(sink_.outcome("2001:db8::/32"), "forward 11:02:00:00:00:00:02*1");
}

TEST_F(LifetimesTest, SeveralPathsWithLifetimesAreTheKernels) {
    tell(route("2001:db8::/32", {via("fe80::1", e0), via("fe80::2", e1)}, 1024), 60'000);
    pass(2000);
    EXPECT_EQ(sink_.outcome("2001:db8::/32"), "punt_unsupported");
    // The lifetime was of one of them, and the others are there for good.
    lives(0);
    pass(450);
    EXPECT_EQ(sink_.outcome("2001:db8::/32"), "forward 10:02:00:00:00:00:01*1 11:02:00:00:00:00:02*1");
}

TEST_F(LifetimesTest, ConnectedHostsEndWithTheirPrefix) {
    mirror_.apply(neighbour(e0, "2001:db8::5", 5));
    RouteMessage on_link = route("2001:db8::/64", {on(e0)}, 256);
    on_link.protocol = RTPROT_KERNEL;
    tell(on_link, 2000);
    EXPECT_EQ(sink_.outcome("2001:db8::5/128"), "none");
    tick();
    EXPECT_EQ(sink_.outcome("2001:db8::5/128"), "forward 10:02:00:00:00:00:05*1");
    pass(2000);
    EXPECT_EQ(sink_.outcome("2001:db8::/64"), "punt_unsupported");
    EXPECT_EQ(sink_.outcome("2001:db8::5/128"), "none");
    lives(2000);
    pass(400);
    EXPECT_EQ(sink_.outcome("2001:db8::/64"), "punt_glean");
    EXPECT_EQ(sink_.outcome("2001:db8::5/128"), "forward 10:02:00:00:00:00:05*1");
}

// `ip addr change ... valid_lft`: told of the address, not of the route.
TEST_F(LifetimesTest, AnAddressGivesItsPrefixALifetime) {
    RouteMessage on_link = route("2001:db8::/64", {on(e0)}, 256);
    on_link.protocol = RTPROT_KERNEL;
    tell(on_link, 0);
    pass(1000);
    EXPECT_EQ(kernel_.asked, 0);
    EXPECT_EQ(sink_.outcome("2001:db8::/64"), "punt_glean");
    mirror_.apply(address(e0, "2001:db8::1"));
    mirror_.commit();
    tick();
    EXPECT_EQ(sink_.outcome("2001:db8::/64"), "punt_glean");
    lives(1000);  // a moment after the message
    pass(100);
    EXPECT_EQ(sink_.outcome("2001:db8::/64"), "punt_glean");
    pass(850);
    EXPECT_EQ(sink_.outcome("2001:db8::/64"), "punt_glean");
    pass(50);
    EXPECT_EQ(sink_.outcome("2001:db8::/64"), "punt_unsupported");
}

// A kernel may have it end at once.
TEST_F(LifetimesTest, AnAddressEndsItsPrefix) {
    RouteMessage on_link = route("2001:db8::/64", {on(e0)}, 256);
    on_link.protocol = RTPROT_KERNEL;
    tell(on_link, 0);
    mirror_.apply(address(e0, "2001:db8::1"));
    mirror_.commit();
    kernel_.route.reset();
    EXPECT_EQ(mirror_.suspects().size(), 1U);
    pass(20);
    EXPECT_GT(kernel_.asked, 0);
    EXPECT_EQ(mirror_.limited().size(), 1U);
    EXPECT_TRUE(mirror_.find_entry(net("2001:db8::/64"))->route->limited);
    EXPECT_EQ(sink_.outcome("2001:db8::/64"), "punt_unsupported");
}

// What a dump for a resync has told waits for its end; a lifetime does not.
TEST_F(LifetimesTest, EndsDuringADump) {
    tell(route_, 1000);
    tick();
    EXPECT_EQ(sink_.outcome("2001:db8::/32"), forwards_);
    mirror_.begin_resync();
    now_ += 990;
    kernel_.route.reset();
    (void)lifetimes_.tick(now_);
    EXPECT_EQ(sink_.outcome("2001:db8::/32"), "punt_unsupported");
}

TEST_F(LifetimesTest, MoreThanAreWatchedPunt) {
    for (unsigned i = 0; i < Mirror::limited_most + 10; ++i) {
        RouteMessage m = route(fmt::format("2001:db8:{:x}::/48", i), {via("fe80::1", e0)}, 1024);
        m.lifetime_ms = 60'000;
        mirror_.apply(m);
    }
    mirror_.commit();
    EXPECT_EQ(mirror_.limited().size(), Mirror::limited_most);
    EXPECT_EQ(sink_.outcome(fmt::format("2001:db8:{:x}::/48", Mirror::limited_most + 9).c_str()),
              "punt_unsupported");
    const int asked = kernel_.asked;
    tick();
    EXPECT_EQ(kernel_.asked, asked + 16) << "a piece of work, not all at once";
}

// A dump goes from a multipath route's first path to its last one, over what is between them.
TEST_F(LifetimesTest, ARouteThatADumpHidesIsFoundWhereTheKernelUsesIt) {
    RouteMessage several = route("2001:db8::/32", {via("fe80::1", e0), via("fe80::2", e1)}, 1024);
    RouteMessage advertised = route("2001:db8::/32", {via("fe80::9", e0)}, 1024);
    advertised.exclusive = several.exclusive = false;
    advertised.protocol = RTPROT_RA;
    const auto dumped = [&] {
        mirror_.begin_resync();
        mirror_.apply(link(e0, "e0"));
        mirror_.apply(link(e1, "e1"));
        mirror_.apply(neighbour(e0, "fe80::1", 1));
        mirror_.apply(neighbour(e1, "fe80::2", 2));
        mirror_.apply(several);
        tick();
        EXPECT_EQ(kernel_.asked, 0) << "not while the dump goes on";
        mirror_.end_resync();
        mirror_.end_replay();
        mirror_.commit();
    };
    kernel_.route = advertised;
    dumped();
    tick(20);
    EXPECT_EQ(kernel_.asked, 1);
    EXPECT_EQ(sink_.outcome("2001:db8::/32"), "punt_unsupported");
    // The next dump hides it as well.
    kernel_.asked = 0;
    dumped();
    EXPECT_EQ(sink_.outcome("2001:db8::/32"), "punt_unsupported");
    mirror_.apply(removed(advertised));
    mirror_.commit();
    EXPECT_NE(sink_.outcome("2001:db8::/32"), "punt_unsupported");
}

TEST_F(LifetimesTest, AMultipathRouteThatHidesNoneIsAskedAboutOnce) {
    RouteMessage several = route("2001:db8::/32", {via("fe80::1", e0), via("fe80::2", e1)}, 1024);
    RouteMessage path = route("2001:db8::/32", {via("fe80::3", e0)}, 1024);
    RouteMessage other = route("2001:db8::/32", {on(e0)}, 512);
    // Itself; a path that joins it, whose message is on its way; one of another metric.
    for (const RouteMessage& answer : {several, path, other}) {
        kernel_.route = answer;
        kernel_.asked = 0;
        mirror_.apply(removed(several));
        mirror_.begin_resync();
        mirror_.apply(link(e0, "e0"));
        mirror_.apply(link(e1, "e1"));
        mirror_.apply(neighbour(e0, "fe80::1", 1));
        mirror_.apply(neighbour(e1, "fe80::2", 2));
        mirror_.apply(several);
        mirror_.end_resync();
        mirror_.end_replay();
        mirror_.commit();
        const std::string forwards = sink_.outcome("2001:db8::/32");
        EXPECT_EQ(forwards.substr(0, 7), "forward");
        pass(1000);
        EXPECT_EQ(sink_.outcome("2001:db8::/32"), forwards);
        EXPECT_EQ(kernel_.asked, 1);
    }
}

// A daemon that starts at the very end of a route's lifetime hears of none.
TEST_F(LifetimesTest, ARouteThatADumpTellsAtItsEndEnds) {
    for (const uint8_t protocol : std::initializer_list<uint8_t>{RTPROT_KERNEL, RTPROT_BOOT, RTPROT_STATIC}) {
        for (const int64_t left : {9, 1, -1, -9}) {
            RouteMessage m = route_;
            m.protocol = protocol;
            mirror_.apply(removed(m));
            mirror_.begin_resync();
            mirror_.apply(link(e0, "e0"));
            mirror_.apply(neighbour(e0, "fe80::1", 1));
            mirror_.apply(m);
            kernel_.route = m;
            lives(left);
            mirror_.end_resync();
            mirror_.end_replay();
            mirror_.commit();
            EXPECT_EQ(sink_.outcome("2001:db8::/32"), forwards_);
            pass(40);
            EXPECT_EQ(sink_.outcome("2001:db8::/32"), "punt_unsupported") << left << " ms are left";
        }
    }
}

// The router's anycast address of a connected prefix, whose message is on its way.
TEST_F(LifetimesTest, AnAnswerAboutALongerPrefixSaysNothing) {
    RouteMessage on_link = route("2001:db8::/64", {on(e0)}, 256);
    on_link.protocol = RTPROT_KERNEL;
    mirror_.begin_resync();
    mirror_.apply(link(e0, "e0"));
    mirror_.apply(on_link);
    mirror_.end_resync();
    mirror_.end_replay();
    mirror_.commit();
    kernel_.route = route("2001:db8::/128", {on(e0)}, 0);
    pass(1000);
    EXPECT_EQ(kernel_.asked, 3);
    EXPECT_EQ(sink_.outcome("2001:db8::/64"), "punt_glean");
    EXPECT_TRUE(mirror_.limited().empty());
}

TEST_F(LifetimesTest, WhatADumpTellsWithoutALifetimeForwardsOn) {
    mirror_.begin_resync();
    mirror_.apply(link(e0, "e0"));
    mirror_.apply(neighbour(e0, "fe80::1", 1));
    RouteMessage m = route_;
    m.protocol = RTPROT_BOOT;
    tell(m, 0);
    mirror_.end_resync();
    mirror_.end_replay();
    mirror_.commit();
    EXPECT_EQ(sink_.outcome("2001:db8::/32"), forwards_);
    sink_.clear_log();
    pass(1000);
    EXPECT_EQ(kernel_.asked, 3);
    EXPECT_TRUE(sink_.calls.empty());
    EXPECT_EQ(lifetimes_.deadline(), UINT64_MAX) << "an ordinary route";
}

}  // namespace
}  // namespace millrace::sync::test
