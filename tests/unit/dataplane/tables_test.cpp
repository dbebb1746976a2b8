// SPDX-License-Identifier: BSD-3-Clause
#include "dataplane/fib/tables.hpp"

#include <gtest/gtest.h>

#include <set>

namespace millrace::dataplane {
namespace {

class TablesTest : public testing::Test {
  protected:
    void SetUp() override {
        SizeConfig sizes;
        sizes.fib4_megabytes = 1;
        sizes.fib6_megabytes = 1;
        sizes.groups = 16;
        sizes.adjacencies = 16;
        auto made = Tables::create({{.name = "p0"}, {.name = "p1"}}, sizes, 1);
        ASSERT_TRUE(made);
        tables = std::move(*made);
        tables->set_interface(interface);
        adjacency = tables->create_adjacency();
    }
    const Adjacency& current() { return tables->adjacencies().get(raw(adjacency)); }

    std::unique_ptr<Tables> tables;
    AdjacencyId adjacency{};
    Interface interface { Ifindex{7}, "p1", "p1", MacAddress{{2, 0, 0, 0, 0, 1}}, 1500, 1400, true };
    AdjacencyState usable{Ifindex{7}, Reason::forwarded, MacAddress{{2, 0, 0, 0, 0, 9}}};
};

TEST_F(TablesTest, AdjacencyHoldsWhatGoesOnTheWire) {
    tables->set_adjacency(adjacency, usable);
    EXPECT_EQ(current().reason, Reason::forwarded);
    EXPECT_EQ(current().port, 1);
    EXPECT_EQ(current().mtu, 1500U);
    EXPECT_EQ(current().mtu6, 1400U);
    EXPECT_EQ(current().l2, (std::array<uint8_t, 12>{2, 0, 0, 0, 0, 9, 2, 0, 0, 0, 0, 1}));
}

TEST_F(TablesTest, AdjacencyFollowsItsInterface) {
    tables->set_adjacency(adjacency, usable);
    interface.mtu = 1400;
    interface.mac.bytes[5] = 0x77;
    tables->set_interface(interface);
    EXPECT_EQ(current().mtu, 1400U);
    EXPECT_EQ(current().l2[11], 0x77);
    interface.usable = false;
    tables->set_interface(interface);
    EXPECT_EQ(current().reason, Reason::punt_link_down);
    interface.usable = true;
    tables->set_interface(interface);
    EXPECT_EQ(current().reason, Reason::forwarded);
    tables->remove_interface(interface.ifindex);
    EXPECT_EQ(current().reason, Reason::punt_unmanaged);
}

// The sockets are bound to a netdev, not to its name: after "ip link del p1; ip link add p1" they are dead.
TEST_F(TablesTest, AnotherNetdevOfThePortsNameIsNotThePort) {
    tables->bind(PortId{1}, interface.ifindex);
    tables->set_adjacency(adjacency, usable);
    EXPECT_EQ(current().reason, Reason::forwarded);
    tables->remove_interface(interface.ifindex);
    std::vector<PortId> heard;
    tables->observe({[&](PortId p, const Interface*) { heard.push_back(p); }, {}, {}});
    interface.ifindex = Ifindex{8};
    usable.ifindex = Ifindex{8};
    tables->set_interface(interface);
    tables->set_adjacency(adjacency, usable);
    EXPECT_EQ(current().reason, Reason::punt_unmanaged);
    EXPECT_EQ(tables->interface_of(PortId{1}), nullptr);
    EXPECT_TRUE(heard.empty());
}

// The netdev comes back from another namespace with its name and index; the sockets don't.
TEST_F(TablesTest, APortThatIsBoundToNothingIsNoPortAnyMore) {
    tables->bind(PortId{1}, interface.ifindex);
    tables->set_adjacency(adjacency, usable);
    EXPECT_EQ(current().reason, Reason::forwarded);
    tables->bind(PortId{1}, Ifindex{});
    EXPECT_EQ(current().reason, Reason::punt_unmanaged) << "at once";
    tables->remove_interface(interface.ifindex);
    tables->set_interface(interface);
    tables->set_adjacency(adjacency, usable);
    EXPECT_EQ(current().reason, Reason::punt_unmanaged);
    EXPECT_EQ(tables->interface_of(PortId{1}), nullptr);
}

TEST_F(TablesTest, AdjacencyOverUnknownInterfacePunts) {
    usable.ifindex = Ifindex{99};
    tables->set_adjacency(adjacency, usable);
    EXPECT_EQ(current().reason, Reason::punt_unmanaged);
}

TEST_F(TablesTest, ObserversHearOfPortsAndLocals) {
    std::vector<std::string> heard;
    tables->observe(
        {[&](PortId p, const Interface* i) {
             heard.push_back(fmt::format("{} {}", raw(p), i == nullptr ? 0 : i->mtu));
         },
         [&](const IpAddress& a, bool present) { heard.push_back((present ? "+" : "-") + a.text()); },
         {}});
    interface.mtu = 9000;
    tables->set_interface(interface);
    tables->add_local(IpAddress::parse("192.0.2.1").value());
    tables->remove_local(IpAddress::parse("192.0.2.1").value());
    EXPECT_EQ(tables->interface_of(PortId{1})->mtu, 9000U);
    EXPECT_EQ(tables->interface_of(PortId{0}), nullptr);
    tables->remove_interface(interface.ifindex);
    EXPECT_EQ(heard, (std::vector<std::string>{"1 9000", "+192.0.2.1", "-192.0.2.1", "1 0"}));
}

TEST_F(TablesTest, RoutesOfOtherTablesAreNotMixedIn) {
    const GroupId group = tables->create_group();
    const auto prefix = Prefix::parse("198.51.100.0/24").value();
    const auto address = IpAddress::parse("198.51.100.1").value();
    tables->set_route(TableId{100}, prefix, group);
    EXPECT_EQ(tables->fib4().lookup(address), 0U);
    tables->set_route(main_table, prefix, group);
    EXPECT_EQ(tables->fib4().lookup(address), raw(group));
    tables->remove_route(TableId{100}, prefix);
    EXPECT_EQ(tables->fib4().lookup(address), raw(group));
    tables->remove_route(main_table, prefix);
    EXPECT_EQ(tables->fib4().lookup(address), 0U);
}

TEST_F(TablesTest, RoutesReadBack) {
    const GroupId one = tables->create_group();
    const GroupId other = tables->create_group();
    std::map<Prefix, GroupId> told;
    for (uint32_t i = 0; i < 5000; ++i) {
        const IpAddress a{Family::ipv4, {10, static_cast<uint8_t>(i / 200), static_cast<uint8_t>(i), 0}};
        told[Prefix::make(a, 16 + i % 9)] = i % 2 == 0 ? one : other;
    }
    for (const auto& [prefix, group] : told) {
        tables->set_route(main_table, prefix, group);
    }
    tables->set_route(main_table, Prefix::parse("2001:db8::/32").value(), other);
    std::map<Prefix, GroupId> found;
    size_t cursor = 0;
    size_t calls = 0;
    do {
        size_t visited = 0;
        cursor = tables->scan_routes(main_table, Family::ipv4, cursor, 100, [&](const Prefix& p, GroupId g) {
            EXPECT_TRUE(found.emplace(p, g).second) << p.text() << " twice";
            ++visited;
        });
        EXPECT_LT(visited, 200U);
        ++calls;
    } while (cursor != 0);
    EXPECT_EQ(found, told);
    EXPECT_GT(calls, 10U);
    EXPECT_EQ(tables->route_count(main_table, Family::ipv4), told.size());
    EXPECT_EQ(tables->route_count(main_table, Family::ipv6), 1U);
    EXPECT_EQ(tables->route_count(TableId{100}, Family::ipv4), 0U);
    EXPECT_EQ(tables->fib_usage(Family::ipv6).now.prefixes, 1U);
    const auto prefix = Prefix::parse("2001:db8::/32").value();
    EXPECT_EQ(tables->find_route(main_table, prefix), other);
    EXPECT_EQ(tables->find_route(TableId{100}, prefix), std::nullopt);
    EXPECT_EQ(tables->find_route(main_table, Prefix::parse("2001:db8::/33").value()), std::nullopt);
    EXPECT_EQ(tables->lookup_route(main_table, IpAddress::parse("2001:db8::1").value()), other);
    EXPECT_EQ(tables->lookup_route(main_table, IpAddress::parse("2001:db9::1").value()), no_route);
}

TEST_F(TablesTest, ManyReplacementsWithinOneBatchAreTheKernelsUntilThereIsRoom) {
    tables->set_adjacency(adjacency, usable);
    tables->quiescence().add_worker(0);
    tables->quiescence().online(0);  // a worker that never reports: nothing is reclaimed
    for (int i = 0; i < 1000; ++i) {
        usable.destination.bytes[5] = static_cast<uint8_t>(i);
        tables->set_adjacency(adjacency, usable);
        const bool latest = current().l2[5] == static_cast<uint8_t>(i);
        ASSERT_TRUE(latest || current().reason == Reason::punt_no_room) << "never an older MAC";
    }
    EXPECT_EQ(current().reason, Reason::punt_no_room);
    tables->commit();
    EXPECT_EQ(current().reason, Reason::punt_no_room);
    tables->quiescence().quiescent(0);
    tables->commit();
    tables->commit();
    EXPECT_EQ(current().reason, Reason::forwarded) << "without another change";
    EXPECT_EQ(current().l2[5], static_cast<uint8_t>(999));
}

class RoomTest : public TablesTest {
  protected:
    void SetUp() override {
        TablesTest::SetUp();
        tables->observe(
            {{}, {}, [this](std::span<const Keep> all) { keeps.assign(all.begin(), all.end()); }});
    }
    // What is kept, after telling: "10.0.0.0/24", "IPv4".
    std::set<std::string> kept() {
        tables->commit();
        tables->tell_room();
        std::set<std::string> all;
        for (const Keep& keep : keeps) {
            EXPECT_EQ(keep.cause, KeepCause::limit);
            all.insert(keep.what());
        }
        return all;
    }
    // Each under a root entry of its own; i: below 16384 for IPv6.
    static Prefix nth(Family family, uint32_t i) {
        const auto byte = [](uint32_t v) { return static_cast<uint8_t>(v); };
        return family == Family::ipv4 ? Prefix{{Family::ipv4, {10, byte(i >> 8), byte(i), 1}}, 32}
                                      : Prefix{{Family::ipv6, {0x20, 1, byte(i >> 6), byte(i << 2)}}, 128};
    }
    std::vector<Keep> keeps;
};

TEST_F(RoomTest, PrefixesWithoutAGroupAreKeptAndComeBack) {
    std::vector<GroupId> groups;
    for (GroupId id = tables->create_group(); id != no_room; id = tables->create_group()) {
        groups.push_back(id);
    }
    const auto a = Prefix::parse("198.51.100.0/24").value();
    const auto b = Prefix::parse("2001:db8::/32").value();
    tables->set_route(main_table, a, groups[0]);
    EXPECT_EQ(kept(), std::set<std::string>{});
    tables->set_route(main_table, a, no_room);
    tables->set_route(main_table, b, no_room);
    EXPECT_EQ(kept(), (std::set<std::string>{a.text(), b.text()}));
    tables->set_route(main_table, a, groups[0]);
    EXPECT_EQ(kept(), std::set<std::string>{b.text()});
    tables->remove_route(main_table, b);
    EXPECT_EQ(kept(), std::set<std::string>{});
}

TEST_F(RoomTest, MorePrefixesThanAClassifierHoldsKeepTheFamily) {
    for (uint32_t i = 0; i <= MILLRACE_MAX_KEEP; ++i) {
        tables->set_route(main_table, nth(Family::ipv4, i), no_room);
    }
    EXPECT_EQ(kept(), std::set<std::string>{"IPv4"});
    tables->remove_route(main_table, nth(Family::ipv4, 0));
    EXPECT_EQ(kept(), std::set<std::string>{"IPv4"}) << "until there are none";
    for (uint32_t i = 1; i <= MILLRACE_MAX_KEEP; ++i) {
        tables->remove_route(main_table, nth(Family::ipv4, i));
    }
    EXPECT_EQ(kept(), std::set<std::string>{});
}

TEST_F(RoomTest, WhatTheFullFibHidesIsKeptAndTheMirrorsKeepsStay) {
    const std::vector<Keep> of_mirror = {{.cause = KeepCause::limit, .port = "p0", .text = "the mirror's"}};
    tables->set_keeps(of_mirror);
    for (const Family family : {Family::ipv4, Family::ipv6}) {
        SCOPED_TRACE(raw(family));
        uint32_t n = 0;
        const auto punting = [&] { return tables->fib_usage(family).now.punting; };
        while (punting() < 3) {
            ASSERT_LT(n, family == Family::ipv4 ? 65536U : 16384U);
            tables->set_route(main_table, nth(family, n), GroupId{2 + n % 8});
            ++n;
        }
        const auto all = kept();
        EXPECT_EQ(all.size(), 1 + punting());
        EXPECT_TRUE(all.contains("all"));
        for (const std::string& text : all) {
            if (text != "all") {
                const auto prefix = Prefix::parse(text).value();
                EXPECT_EQ(tables->lookup_route(main_table, prefix.address), no_room) << text;
            }
        }
        for (uint32_t i = 0; i < n; ++i) {
            tables->remove_route(main_table, nth(family, i));
        }
        for (int i = 0; i < 100 && punting() != 0; ++i) {
            tables->commit();
        }
        EXPECT_EQ(kept(), std::set<std::string>{"all"});
    }
}

}  // namespace
}  // namespace millrace::dataplane
