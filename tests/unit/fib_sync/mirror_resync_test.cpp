// SPDX-License-Identifier: BSD-3-Clause
// Mark, apply, sweep.
#include <gtest/gtest.h>

#include "messages.hpp"
#include "recording_sink.hpp"

namespace millrace::sync::test {
namespace {

using Mirrored = Bench<RecordingSink>;

const std::vector<Message> all = {
    link(e0, "e0"),
    link(e1, "e1"),
    link(wan, "wan"),
    address(e0, "192.0.2.7"),
    neighbour(e0, "192.0.2.9", 9),
    object(5, via("192.0.2.9", e0)),
    object(6, via("192.0.2.8", e1)),
    group(7, {{NexthopId{5}, 1}, {NexthopId{6}, 1}}),
    typed("192.0.2.7/32", RTN_LOCAL, local_table),
    route("192.0.2.0/24", {on(e0)}),
    by_id("10.0.0.0/8", 5),
    by_id("10.1.0.0/16", 7),
    route("10.2.0.0/16", {via("192.0.2.9", e0), via("192.0.2.8", e1)}),
};

void dump(Mirrored& m, const std::vector<Message>& messages) {
    m.mirror.begin_resync();
    for (const Message& message : messages) {
        m.mirror.apply(message);
    }
    m.mirror.end_resync();
    m.mirror.commit();
}

TEST(MirrorResync, SameDumpSaysNothing) {
    Mirrored m;
    dump(m, all);
    const auto before = m.sink.fib();
    EXPECT_EQ(before.size(), 6U);
    m.sink.clear_log();
    dump(m, all);
    EXPECT_EQ(m.sink.call_count, 0U) << m.sink.calls.front();
    EXPECT_EQ(m.sink.fib(), before);
}

TEST(MirrorResync, EachKindIsSwept) {
    for (size_t i = 0; i < all.size(); ++i) {
        SCOPED_TRACE(i);
        std::vector<Message> without = all;
        without.erase(without.begin() + static_cast<ptrdiff_t>(i));
        Mirrored swept;
        dump(swept, all);
        dump(swept, without);
        Mirrored fresh;
        dump(fresh, without);
        EXPECT_EQ(swept.sink.fib(), fresh.sink.fib());
        EXPECT_EQ(swept.sink.locals, fresh.sink.locals);
        EXPECT_EQ(swept.sink.groups.size(), fresh.sink.groups.size());
        EXPECT_EQ(swept.sink.adjacencies.size(), fresh.sink.adjacencies.size());
        EXPECT_EQ(swept.sink.interfaces, fresh.sink.interfaces);
        dump(swept, {});
        EXPECT_TRUE(swept.sink.routes.empty() && swept.sink.groups.empty() &&
                    swept.sink.adjacencies.empty() && swept.sink.locals.empty() &&
                    swept.sink.interfaces.empty());
    }
}

TEST(MirrorResync, OrderOfEqualRoutesIsTheDumps) {
    Mirrored m;
    const RouteMessage a = route("10.0.0.0/8", {on(e0)});
    const RouteMessage b = typed("10.0.0.0/8", RTN_BLACKHOLE);
    m.apply({a, appending(b)});
    EXPECT_EQ(m.sink.outcome("10.0.0.0/8"), "punt_glean");
    const std::vector<Message> links(all.begin(), all.begin() + 3);
    std::vector<Message> turned = links;
    turned.insert(turned.end(), {b, a});
    dump(m, turned);
    EXPECT_EQ(m.sink.outcome("10.0.0.0/8"), "drop_blackhole");
    turned.pop_back();
    dump(m, turned);
    m.apply({removed(b)});
    EXPECT_EQ(m.sink.outcome("10.0.0.0/8"), "none");
}

TEST(MirrorResync, StartedOver) {
    Mirrored m;
    dump(m, all);
    const auto before = m.sink.fib();
    m.mirror.begin_resync();
    m.mirror.apply(all[0]);
    m.mirror.apply(route("172.16.0.0/12", {on(e0)}));  // gone before the second attempt
    dump(m, all);
    EXPECT_EQ(m.sink.fib(), before);
}

TEST(MirrorResync, ReplayedOverANewerDump) {
    Mirrored m;
    const auto hop = [](const char* gateway) { return route("10.0.0.0/8", {via(gateway, e0)}); };
    std::vector<Message> now(all.begin(), all.begin() + 3);
    now.insert(now.end(), {hop("192.0.2.6"), appending(hop("192.0.2.7"))});
    m.mirror.begin_resync();
    for (const Message& message : now) {
        m.mirror.apply(message);
    }
    m.mirror.end_resync();
    // What led there: 5 6 -> append 7, replace the first by 9, delete 9.
    m.mirror.apply(appending(hop("192.0.2.7")));
    m.mirror.apply(replacing(hop("192.0.2.9")));
    m.mirror.apply(removed(hop("192.0.2.9")));
    m.mirror.commit();
    EXPECT_TRUE(m.mirror.take_doubt()) << "6 was replaced here, the kernel still has it";
    m.mirror.begin_resync();
    for (const Message& message : now) {
        m.mirror.apply(message);
    }
    m.mirror.end_resync();
    m.mirror.apply(removed(hop("192.0.2.5")));  // older than the dump: nothing to worry about
    m.mirror.commit();
    EXPECT_FALSE(m.mirror.take_doubt());
}

// What is replayed here led to the dump; the mirror ends with another table than the kernel's, and must know.
struct Replay {
    const char* name;
    std::vector<Message> dump;
    std::vector<Message> replayed;
};

TEST(MirrorResync, ReplaysThatMislead) {
    const auto hop4 = [](const char* gateway) { return route("10.0.0.0/8", {via(gateway, e0)}); };
    const auto hop6 = [](Path path) { return route("2001:db8::/32", {path}, 1024); };
    const auto via6 = hop6(via("2001:db8::4", e0));
    const std::vector<Replay> replays = {
        {"an older message brings back what a replace took, IPv4",
         {hop4("192.0.2.7")},
         {appending(hop4("192.0.2.5")), replacing(hop4("192.0.2.7"))}},
        {"an older message brings back what a replace took, IPv6",
         {via6},
         {appending(hop6(on(e1))), replacing(via6)}},
        // Blackhole, connected -> via 4 added and deleted, then the blackhole replaced by via 4.
        {"removed, then the successor of another one",
         {via6, hop6(on(e1))},
         {removed(via6), replacing(via6)}},
    };
    for (const Replay& r : replays) {
        SCOPED_TRACE(r.name);
        Mirrored m;
        m.mirror.begin_resync();
        for (size_t i = 0; i < 3; ++i) {
            m.mirror.apply(all[i]);
        }
        for (const Message& message : r.dump) {
            m.mirror.apply(message);
        }
        m.mirror.end_resync();
        for (const Message& message : r.replayed) {
            m.mirror.apply(message);
        }
        m.mirror.commit();
        EXPECT_TRUE(m.mirror.take_doubt());
    }
}

// What the kernel has between the paths of a multipath route, a dump leaves out (fib6_dump_node).
TEST(MirrorResync, RoutesThatADumpCantTell) {
    Bench<RecordingSink> m;
    const RouteMessage several = route("2001:db8::/32", {via("fe80::1", e0), via("fe80::2", e1)}, 1024);
    RouteMessage advertised = route("2001:db8::/32", {via("fe80::3", e0)}, 1024);
    advertised.protocol = RTPROT_RA;
    advertised.exclusive = false;
    const auto resync = [&](const std::vector<Message>& told) {
        m.mirror.begin_resync();
        for (const Message& each :
             std::initializer_list<Message>{link(e0, "e0"), link(e1, "e1"), link(wan, "wan")}) {
            m.mirror.apply(each);
        }
        for (const Message& each : told) {
            m.mirror.apply(each);
        }
        m.mirror.end_resync();
        m.mirror.commit();
    };
    m.apply({several, advertised});
    EXPECT_EQ(m.sink.outcome("2001:db8::/32"), "punt_unsupported");
    resync({several});
    EXPECT_EQ(m.sink.outcome("2001:db8::/32"), "punt_unsupported") << "it may still be there";
    m.mirror.begin_audit();
    EXPECT_TRUE(m.mirror.confirm(several));
    EXPECT_TRUE(m.mirror.confirmed(several.prefix)) << "an audit can't tell either";
    EXPECT_FALSE(m.mirror.take_doubt());
    // The multipath route goes, and whether the other one is there has to be asked.
    m.apply({removed(several)});
    EXPECT_TRUE(m.mirror.take_doubt());
    EXPECT_EQ(m.sink.outcome("2001:db8::/32"), "punt_unsupported");
    resync({});
    EXPECT_EQ(m.sink.outcome("2001:db8::/32"), "none");
    // It goes with a message of its own.
    m.apply({several, advertised});
    resync({several});
    m.apply({removed(advertised)});
    EXPECT_NE(m.sink.outcome("2001:db8::/32"), "punt_unsupported");
}

}  // namespace
}  // namespace millrace::sync::test
