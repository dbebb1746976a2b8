// SPDX-License-Identifier: BSD-3-Clause
// What the mirror tells an audit: which dumped routes it holds, and which of its own no dump told.
#include <gtest/gtest.h>

#include "fib_sync/mirror.hpp"
#include "messages.hpp"
#include "recording_sink.hpp"

namespace millrace::sync::test {
namespace {

class MirrorAudit : public testing::Test {
  protected:
    void apply(const std::vector<RouteMessage>& routes) {
        for (const RouteMessage& m : routes) {
            mirror_.apply(m);
        }
        mirror_.commit();
    }
    // All of it, in steps of one.
    std::vector<Prefix> unconfirmed() {
        std::vector<Prefix> all;
        std::optional<Prefix> last;
        do {
            const auto step = mirror_.unconfirmed(last ? &*last : nullptr, 1);
            all.insert(all.end(), step.prefixes.begin(), step.prefixes.end());
            last = step.last;
        } while (last);
        EXPECT_EQ(mirror_.unconfirmed(nullptr, 1000).prefixes, all);
        return all;
    }

    RecordingSink sink_;
    Mirror mirror_{sink_, {"e0", "e1"}};
};

TEST_F(MirrorAudit, ConfirmsWhatItHoldsJustSo) {
    RouteMessage local = typed("192.0.2.9/32", RTN_LOCAL, local_table);
    const RouteMessage multi = route("2001:db8::/32", {via("fe80::1", e0, 2), via("fe80::2", e1, 3)}, 1024);
    const std::vector<RouteMessage> all = {route("10.0.0.0/8", {via("192.0.2.1", e0)}),
                                           by_id("10.1.0.0/16", 7), multi, local};
    apply(all);
    mirror_.begin_audit();
    EXPECT_EQ(unconfirmed().size(), all.size());
    for (const RouteMessage& m : all) {
        EXPECT_TRUE(mirror_.confirm(m)) << m.prefix.text();
    }
    EXPECT_TRUE(unconfirmed().empty());
}

TEST_F(MirrorAudit, RefusesWhatIsDifferent) {
    const RouteMessage held = route("10.0.0.0/8", {via("192.0.2.1", e0, 2), via("192.0.2.2", e1, 3)}, 5);
    apply({held});
    mirror_.begin_audit();
    std::vector<RouteMessage> others(16, held);
    others[0].metric = 6;
    others[1].tos = 4;
    others[2].paths[0].weight = 1;
    others[3].paths[0].gateway = ip("192.0.2.3");
    others[4].paths.pop_back();
    others[5].type = RTN_BLACKHOLE;
    others[6].preference = 1;
    others[7].paths[1].flags = RTNH_F_DEAD;
    others[8].prefix = net("10.0.0.0/9");
    others[9].nexthop = NexthopId{3};
    others[10].source = net("10.9.0.0/16");
    others[11].protocol = RTPROT_STATIC;
    others[12].scope = RT_SCOPE_LINK;
    others[13].rest = 7;
    others[14].unsupported = true;
    others[15].encapsulation = true;
    for (size_t i = 0; i < others.size(); ++i) {
        EXPECT_FALSE(mirror_.confirm(others[i])) << i;
    }
    EXPECT_EQ(unconfirmed(), std::vector<Prefix>{held.prefix});
    RouteMessage linkdown = held;
    linkdown.paths[1].flags = RTNH_F_LINKDOWN;
    EXPECT_TRUE(mirror_.confirm(linkdown));
    RouteMessage elsewhere = held;
    elsewhere.table = TableId{100};
    EXPECT_TRUE(mirror_.confirm(elsewhere));
}

TEST_F(MirrorAudit, WhatComesOrChangesInARoundCountsAsConfirmed) {
    apply({route("10.0.0.0/8", {via("192.0.2.1", e0)}), route("10.1.0.0/16", {via("192.0.2.1", e0)}),
           route("2001:db8::/32", {via("fe80::1", e0), via("fe80::2", e1)}, 1024),
           route("2001:db8:1::/48", {via("fe80::1", e0)}, 1024)});
    mirror_.begin_audit();
    apply({replacing(route("10.1.0.0/16", {via("192.0.2.2", e0)})),
           route("10.2.0.0/16", {via("192.0.2.1", e0)}),
           removed(route("2001:db8::/32", {via("fe80::1", e0)}, 1024)),
           appending(route("2001:db8:1::/48", {via("fe80::2", e1), via("fe80::1", e0)}, 1024))});
    EXPECT_EQ(unconfirmed(), std::vector<Prefix>{net("10.0.0.0/8")});
    mirror_.begin_audit();
    EXPECT_EQ(unconfirmed().size(), 5U);
}

// `ip -6 route append` and `prepend`: a notification begins with the new path, a dump with the oldest.
TEST_F(MirrorAudit, Ipv6PathsAreASet) {
    const auto paths = [](std::vector<Path> p) { return route("2001:db8::/32", std::move(p), 1024); };
    const Path a = via("fe80::1", e0, 2);
    const Path b = via("fe80::2", e1, 3);
    apply({paths({a}), appending(paths({b, a}))});
    mirror_.begin_audit();
    EXPECT_TRUE(mirror_.confirm(paths({a, b})));
    EXPECT_TRUE(mirror_.confirm(paths({b, a})));
    EXPECT_TRUE(unconfirmed().empty());
    EXPECT_FALSE(mirror_.confirm(paths({a, via("fe80::2", e1, 2)}))) << "another weight";
    EXPECT_FALSE(mirror_.confirm(paths({via("fe80::1", e0, 3), via("fe80::2", e1, 2)})))
        << "the other way round";
    EXPECT_FALSE(mirror_.confirm(paths({a})));
    EXPECT_FALSE(mirror_.confirm(paths({a, b, via("fe80::3", e1)})));
}

TEST_F(MirrorAudit, LifetimesAreNoDifference) {
    RouteMessage held = route("2001:db8::/32", {via("fe80::1", e0)}, 1024);
    held.lifetime_ms = 5000;
    apply({held});
    mirror_.begin_audit();
    for (const int64_t lifetime : {4990, 1, -20'000, 0}) {
        held.lifetime_ms = lifetime;
        EXPECT_TRUE(mirror_.confirm(held)) << lifetime;
    }
    EXPECT_TRUE(unconfirmed().empty());
}

TEST_F(MirrorAudit, EachRouteOfAPrefixIsConfirmedByItself) {
    apply({route("10.0.0.0/8", {via("192.0.2.1", e0)}, 1), route("10.0.0.0/8", {via("192.0.2.1", e0)}, 2)});
    mirror_.begin_audit();
    EXPECT_TRUE(mirror_.confirm(route("10.0.0.0/8", {via("192.0.2.1", e0)}, 2)));
    EXPECT_EQ(unconfirmed().size(), 1U);
    EXPECT_TRUE(mirror_.confirm(route("10.0.0.0/8", {via("192.0.2.1", e0)}, 1)));
    EXPECT_TRUE(unconfirmed().empty());
}

}  // namespace
}  // namespace millrace::sync::test
