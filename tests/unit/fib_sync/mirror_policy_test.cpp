// SPDX-License-Identifier: BSD-3-Clause
// What the kernel's switches of a device change in the mirror.
#include <gtest/gtest.h>

#include "messages.hpp"
#include "recording_sink.hpp"

namespace millrace::sync::test {
namespace {

using B = Bench<RecordingSink>;

TEST(MirrorPolicy, AnEgressThatIsKeptPuntsAndComesBack) {
    B m;
    m.apply({neighbour(e0, "192.0.2.1", 1), neighbour(e1, "192.0.2.65", 2), route("192.0.2.0/26", {on(e0)}),
             route("10.0.0.0/8", {via("192.0.2.1", e0)}), route("10.1.0.0/16", {via("192.0.2.65", e1)})});
    const uint64_t version = m.mirror.links().version();
    m.mirror.set_device_policies({{e0, {.egress_kept = true}}, {e1, {}}});
    EXPECT_EQ(m.sink.outcome("10.0.0.0/8"), "forward 10:punt_qdisc*1");
    EXPECT_EQ(m.sink.outcome("192.0.2.1/32"), "forward 10:punt_qdisc*1");
    EXPECT_EQ(m.sink.outcome("10.1.0.0/16"), "forward 11:02:00:00:00:00:02*1");
    m.apply({neighbour(e0, "192.0.2.1", 9)});
    EXPECT_EQ(m.sink.outcome("10.0.0.0/8"), "forward 10:punt_qdisc*1");
    m.apply({link(e0, "e0", false)});
    EXPECT_EQ(m.sink.outcome("10.0.0.0/8"), "forward 10:punt_link_down*1") << "the better reason";
    m.apply({link(e0, "e0")});
    EXPECT_EQ(m.sink.outcome("10.0.0.0/8"), "forward 10:punt_qdisc*1");
    EXPECT_EQ(m.mirror.links().version(), version + 2);
    m.mirror.set_device_policies({});
    EXPECT_EQ(m.sink.outcome("10.0.0.0/8"), "forward 10:02:00:00:00:00:09*1");
}

TEST(MirrorPolicy, InterfacesCarryMtuAndReversePathFilter) {
    B m;
    m.mirror.set_device_policies({{e0, {.rp_filter = 2, .mtu6 = 1400}}, {e1, {.rp_filter = 1}}});
    EXPECT_EQ(m.sink.interfaces[e0].mtu6, 1400U);
    EXPECT_EQ(m.sink.interfaces[e1].mtu6, 1500U);
    EXPECT_EQ(m.sink.interfaces[e0].reverse_path, ReversePath::strict) << "no IPv4 address yet";
    EXPECT_EQ(m.sink.interfaces[e1].reverse_path, ReversePath::strict);
    m.apply({address(e0, "2001:db8::1"), address(wan, "192.0.2.1")});
    EXPECT_EQ(m.sink.interfaces[e0].reverse_path, ReversePath::strict);
    m.apply({address(e0, "192.0.2.2")});
    EXPECT_EQ(m.sink.interfaces[e0].reverse_path, ReversePath::loose);
    LinkMessage smaller = link(e0, "e0");
    smaller.mtu = 1300;
    m.apply({smaller});
    EXPECT_EQ(m.sink.interfaces[e0].mtu6, 1300U) << "at once; the kernel lowers the other with it";
    EXPECT_EQ(m.sink.interfaces[e0].reverse_path, ReversePath::loose);
    m.sink.clear_log();
    m.mirror.set_device_policies({{e0, {.rp_filter = 2, .mtu6 = 1400}}, {e1, {.rp_filter = 1}}});
    EXPECT_EQ(m.sink.call_count, 0U) << "nothing new";
    m.apply({removed(address(e0, "192.0.2.2"))});
    EXPECT_EQ(m.sink.interfaces[e0].reverse_path, ReversePath::strict);

    m.mirror.begin_resync();
    for (const Message& told :
         std::vector<Message>{link(e0, "e0"), link(e1, "e1"), address(e0, "192.0.2.3")}) {
        m.mirror.apply(told);
    }
    m.mirror.end_resync();
    m.mirror.commit();
    EXPECT_EQ(m.sink.interfaces[e0].reverse_path, ReversePath::loose);
    m.mirror.begin_resync();
    for (const Message& told : std::vector<Message>{link(e0, "e0"), link(e1, "e1")}) {
        m.mirror.apply(told);
    }
    m.mirror.end_resync();
    m.mirror.commit();
    EXPECT_EQ(m.sink.interfaces[e0].reverse_path, ReversePath::strict) << "swept";
}

TEST(MirrorPolicy, PortsAndTheirMasters) {
    B m;
    LinkMessage bridge = link(Ifindex{30}, "br0");
    bridge.kind = "bridge";
    LinkMessage member = link(e1, "e1");
    member.master = Ifindex{30};
    m.apply({bridge, member});
    const auto devices = m.mirror.links().port_devices();
    ASSERT_EQ(devices.size(), 2U);
    EXPECT_EQ(devices[0].name + devices[0].master, "e0");
    EXPECT_EQ(devices[1].master, "br0 (bridge)");
    const uint64_t version = m.mirror.links().version();
    m.apply({member, bridge});
    EXPECT_EQ(m.mirror.links().version(), version) << "nothing new";
    m.apply({link(e1, "e1")});
    EXPECT_EQ(m.mirror.links().version(), version + 1);
    m.apply({removed(link(e1, "e1"))});
    EXPECT_EQ(m.mirror.links().version(), version + 2);
}

TEST(MirrorPolicy, RoutesLeftToTheKernelAreCounted) {
    B m;
    RouteMessage tunnel = route("10.1.0.0/16", {via("192.0.2.1", e0)});
    tunnel.encapsulation = true;
    RouteMessage other = tunnel;
    other.prefix = net("10.2.0.0/16");
    NexthopMessage tunnel_object = object(5, via("192.0.2.1", e0));
    tunnel_object.encapsulation = true;
    m.apply({tunnel, other, route("10.3.0.0/16", {via("192.0.2.1", e0)}), tunnel_object,
             object(6, via("192.0.2.1", e0)), group(7, {{NexthopId{5}, 1}, {NexthopId{6}, 1}}),
             by_id("10.5.0.0/16", 5), by_id("10.7.0.0/16", 7), typed("10.8.0.0/16", RTN_THROW)});
    for (const char* prefix : {"10.1.0.0/16", "10.2.0.0/16", "10.5.0.0/16", "10.7.0.0/16"}) {
        EXPECT_EQ(m.sink.outcome(prefix), "punt_encapsulation") << prefix;
    }
    const auto counted = [&m] {
        std::map<Reason, uint64_t> all;
        for (const KeptRoutes& kept : m.mirror.kept_routes()) {
            all[kept.reason] = kept.prefixes;
        }
        return all;
    };
    EXPECT_EQ(counted(),
              (std::map<Reason, uint64_t>{{Reason::punt_unsupported, 1}, {Reason::punt_encapsulation, 4}}));
    m.apply({removed(tunnel), removed(typed("10.8.0.0/16", RTN_THROW)), object(5, via("192.0.2.1", e0))});
    EXPECT_EQ(counted(),
              (std::map<Reason, uint64_t>{{Reason::punt_unsupported, 0}, {Reason::punt_encapsulation, 1}}));
}

}  // namespace
}  // namespace millrace::sync::test
