// SPDX-License-Identifier: BSD-3-Clause
// What the kernel is asked about neighbours, and when; the kernel is played by hand.
#include "fib_sync/neighbour_care.hpp"

#include <gtest/gtest.h>

#include <algorithm>

#include "messages.hpp"
#include "recording_sink.hpp"

namespace millrace::sync::test {
namespace {

using Kind = NeighbourRequest::Kind;

class Requests : public NeighbourRequests {
  public:
    bool submit(const NeighbourRequest& request) override {
        if (full) {
            return false;
        }
        all.push_back(request);
        return true;
    }
    [[nodiscard]] size_t count(Kind kind) const {
        return static_cast<size_t>(
            std::count_if(all.begin(), all.end(), [&](const auto& r) { return r.kind == kind; }));
    }
    std::vector<NeighbourRequest> all;
    bool full = false;
};

// As the kernel shows an entry that it keeps for us.
NeighborMessage kept(NeighborMessage m, uint8_t protocol = NeighbourCare::protocol) {
    m.flags = NTF_EXT_LEARNED;
    m.flags_ext = NTF_EXT_MANAGED;
    m.protocol = protocol;
    return m;
}

class CareTest : public testing::Test {
  protected:
    CareTest() { bench_.apply({route("192.0.2.0/24", {on(e0)}), route("2001:db8::/64", {on(e0)}, 256)}); }
    void start(bool managed = true, CareOptions options = {}) {
        care_.emplace(bench_.mirror, bench_.sink, requests_, managed, options);
    }
    // Lets the time pass as a daemon does, and returns what was asked meanwhile.
    std::vector<NeighbourRequest> pass(uint64_t ms) {
        requests_.all.clear();
        for (const uint64_t end = now_ + ms; now_ < end; now_ += 5) {
            care_->tick(now_);
        }
        return requests_.all;
    }
    void apply(const std::vector<Message>& messages) { bench_.apply(messages); }
    void traffic_to(std::string_view address, Ifindex ifindex = e0) {
        bench_.sink.used.insert(bench_.mirror.groups().adjacencies().at({ifindex, ip(address)}).id);
    }
    static std::vector<NeighbourRequest> one(Kind kind, std::string_view address, Ifindex ifindex = e0) {
        return {{kind, {ip(address), ifindex}}};
    }
    Care care_of(std::string_view address) { return care_->care_of({ip(address), e0}); }

    Bench<RecordingSink> bench_;
    Requests requests_;
    std::optional<NeighbourCare> care_;
    uint64_t now_ = 1'000'000;
    const RouteMessage ten_ = route("10.0.0.0/8", {via("192.0.2.1", e0)});
    const std::vector<NeighbourRequest> nothing_;
};

TEST_F(CareTest, GatewayIsManagedForAsLongAsItIsInUse) {
    start();
    apply({neighbour(e0, "192.0.2.1", 1), neighbour(e0, "192.0.2.2", 2)});
    EXPECT_EQ(pass(2000), nothing_);
    apply({ten_});
    EXPECT_EQ(pass(600), one(Kind::manage, "192.0.2.1"));
    EXPECT_EQ(care_of("192.0.2.1"), Care::managed);
    EXPECT_EQ(care_of("192.0.2.2"), Care::none);
    apply({kept(neighbour(e0, "192.0.2.1", 1))});
    EXPECT_EQ(pass(100'000), nothing_) << "the kernel does the rest";
    apply({removed(ten_)});
    EXPECT_EQ(pass(600), one(Kind::give_back, "192.0.2.1"));
    apply({neighbour(e0, "192.0.2.1", 1)});
    EXPECT_EQ(pass(100'000), nothing_);
    EXPECT_EQ(care_->cared_for(), 2U) << "the adjacencies of two hosts";
}

TEST_F(CareTest, GatewayWithoutAnEntryAndOfTheOtherFamily) {
    start();
    apply({route("10.0.0.0/8", {via("fe80::1", e0)})});
    EXPECT_EQ(pass(600), one(Kind::manage, "fe80::1"));
    apply({kept(neighbour(e0, "fe80::1", 0, NUD_FAILED))});
    EXPECT_EQ(pass(10'000), nothing_) << "the kernel goes on trying";
}

TEST_F(CareTest, ANexthopObjectsGateways) {
    start();
    apply({object(1, via("192.0.2.1", e0)), object(2, via("192.0.2.2", e1)),
           group(9, {{NexthopId{1}}, {NexthopId{2}}})});
    EXPECT_EQ(pass(600), nothing_) << "no route uses them";
    apply({by_id("10.0.0.0/8", 9)});
    EXPECT_EQ(pass(600), (std::vector<NeighbourRequest>{{Kind::manage, {ip("192.0.2.1"), e0}},
                                                        {Kind::manage, {ip("192.0.2.2"), e1}}}));
}

TEST_F(CareTest, ARequestWithoutEffectIsRepeatedMoreRarely) {
    start();
    apply({ten_});
    EXPECT_EQ(pass(600).size(), 1U);
    EXPECT_EQ(pass(10'000).size(), 3U);
    EXPECT_LE(pass(400'000).size(), 100U);
    EXPECT_GE(requests_.all.size(), 80U);
}

TEST_F(CareTest, AgainAtOnceWhenTheKernelDroppedIt) {
    start();
    apply({ten_});
    pass(600);
    apply({kept(neighbour(e0, "192.0.2.1", 1))});
    pass(600);
    apply({link(e0, "e0", false), removed(kept(neighbour(e0, "192.0.2.1", 1)))});
    EXPECT_EQ(pass(10'000), nothing_) << "nobody to ask behind a dead link";
    EXPECT_EQ(care_of("192.0.2.1"), Care::none);
    apply({link(e0, "e0")});
    EXPECT_EQ(pass(600), one(Kind::manage, "192.0.2.1"));
    // An operator's "ip neigh replace" takes the flags off.
    apply({kept(neighbour(e0, "192.0.2.1", 1))});
    pass(600);
    apply({neighbour(e0, "192.0.2.1", 7)});
    EXPECT_EQ(pass(600), one(Kind::manage, "192.0.2.1"));
}

TEST_F(CareTest, WhatSomebodyElseKeepsOrFixedIsLeftAlone) {
    start();
    constexpr uint8_t zebra = 11;
    auto learned = neighbour(e0, "192.0.2.1", 1);
    learned.flags = NTF_EXT_LEARNED;
    for (const NeighborMessage& m :
         {neighbour(e0, "192.0.2.1", 1, NUD_PERMANENT), neighbour(e0, "192.0.2.1", 1, NUD_NOARP), learned,
          kept(neighbour(e0, "192.0.2.1", 1), zebra), kept(neighbour(e0, "192.0.2.1", 1), 0)}) {
        apply({m, ten_});
        traffic_to("192.0.2.1");
        EXPECT_EQ(pass(5000), nothing_);
        EXPECT_EQ(care_of("192.0.2.1"), Care::none);
        apply({removed(ten_)});
        EXPECT_EQ(pass(5000), nothing_);
    }
}

TEST_F(CareTest, AHostIsManagedWhileItCarriesTraffic) {
    start();
    apply({neighbour(e0, "192.0.2.9", 9, NUD_STALE), neighbour(e0, "2001:db8::9", 9)});
    EXPECT_EQ(pass(5000), nothing_) << "idle";
    traffic_to("192.0.2.9");
    EXPECT_EQ(pass(600), one(Kind::manage, "192.0.2.9"));
    apply({kept(neighbour(e0, "192.0.2.9", 9))});
    for (int minute = 0; minute < 10; ++minute) {
        traffic_to("192.0.2.9");
        EXPECT_EQ(pass(59'000), nothing_);
    }
    ASSERT_FALSE(pass(1600).empty());
    EXPECT_EQ(requests_.all.front(), one(Kind::give_back, "192.0.2.9").front());
    EXPECT_EQ(care_of("192.0.2.9"), Care::none);
    apply({neighbour(e0, "192.0.2.9", 9)});
    EXPECT_EQ(pass(5000), nothing_);
}

TEST_F(CareTest, AHostThatFailedIsGivenBack) {
    start();
    apply({neighbour(e0, "192.0.2.9", 9)});
    traffic_to("192.0.2.9");
    pass(600);
    apply({kept(neighbour(e0, "192.0.2.9", 9))});
    pass(600);
    apply({kept(neighbour(e0, "192.0.2.9", 9, NUD_FAILED))});
    EXPECT_EQ(pass(1100), one(Kind::give_back, "192.0.2.9"));
    apply({neighbour(e0, "192.0.2.9", 9, NUD_FAILED)});
    EXPECT_EQ(pass(5000), nothing_) << "its traffic punts, and so has the kernel try";
}

TEST_F(CareTest, AHostThatIsAGatewayTooIsKeptWithoutTraffic) {
    start();
    apply({neighbour(e0, "192.0.2.9", 9), route("10.0.0.0/8", {via("192.0.2.9", e0)})});
    EXPECT_EQ(pass(600), one(Kind::manage, "192.0.2.9"));
    apply({kept(neighbour(e0, "192.0.2.9", 9))});
    EXPECT_EQ(pass(100'000), nothing_);
    // A /32 by way of itself is one, too.
    apply({removed(route("10.0.0.0/8", {via("192.0.2.9", e0)})),
           route("192.0.2.9/32", {via("192.0.2.9", e0)})});
    EXPECT_EQ(pass(100'000), nothing_);
    apply({removed(route("192.0.2.9/32", {via("192.0.2.9", e0)}))});
    EXPECT_EQ(pass(600), one(Kind::give_back, "192.0.2.9"));
}

TEST_F(CareTest, WhatAKilledDaemonLeftIsAdoptedOrGivenBack) {
    apply({kept(neighbour(e0, "192.0.2.1", 1)), kept(neighbour(e0, "192.0.2.2", 2)),
           kept(neighbour(e0, "192.0.2.3", 3, NUD_FAILED)), kept(neighbour(wan, "192.0.2.4", 4)), ten_});
    start();
    const auto asked = pass(600);
    // On wan, which is no port of ours, another daemon may keep it.
    EXPECT_EQ(asked, (std::vector<NeighbourRequest>{{Kind::give_back, {ip("192.0.2.2"), e0}},
                                                    {Kind::give_back, {ip("192.0.2.3"), e0}}}));
    EXPECT_EQ(care_of("192.0.2.1"), Care::managed);
}

TEST_F(CareTest, TheOrderlyEndGivesAllBack) {
    start();
    apply({kept(neighbour(e0, "192.0.2.1", 1)), neighbour(e0, "192.0.2.9", 9), ten_,
           route("10.9.0.0/16", {via("192.0.2.7", e0)})});
    pass(600);
    requests_.all.clear();
    care_->give_back_all();
    // 192.0.2.7 was asked for; the kernel announces no entry before it is resolved or has failed.
    EXPECT_EQ(requests_.all, (std::vector<NeighbourRequest>{{Kind::give_back, {ip("192.0.2.1"), e0}},
                                                            {Kind::give_back, {ip("192.0.2.7"), e0}}}));
}

TEST_F(CareTest, WithoutManagedEntriesStaleOnesAreUsed) {
    start(false);
    apply({neighbour(e0, "192.0.2.1", 1, NUD_STALE), neighbour(e0, "192.0.2.8", 8, NUD_STALE),
           neighbour(e0, "192.0.2.9", 9, NUD_STALE), ten_});
    traffic_to("192.0.2.9");
    EXPECT_EQ(pass(600), (std::vector<NeighbourRequest>{{Kind::use, {ip("192.0.2.1"), e0}},
                                                        {Kind::use, {ip("192.0.2.9"), e0}}}));
    EXPECT_EQ(care_of("192.0.2.1"), Care::refreshed);
    EXPECT_EQ(care_of("192.0.2.8"), Care::none);
    EXPECT_EQ(care_of("192.0.2.9"), Care::refreshed);
    EXPECT_EQ(pass(3000), nothing_) << "the kernel is in DELAY, and does not say so";
    apply({neighbour(e0, "192.0.2.1", 1, NUD_PROBE), neighbour(e0, "192.0.2.9", 9, NUD_PROBE)});
    EXPECT_EQ(pass(10'000), nothing_);
    apply({neighbour(e0, "192.0.2.1", 1), neighbour(e0, "192.0.2.9", 9)});
    EXPECT_EQ(pass(10'000), nothing_);
    // A gateway is resolved anew, traffic or not.
    apply({neighbour(e0, "192.0.2.1", 1, NUD_FAILED), neighbour(e0, "192.0.2.9", 9, NUD_FAILED)});
    EXPECT_EQ(pass(600), one(Kind::use, "192.0.2.1"));
    apply({removed(neighbour(e0, "192.0.2.1", 1))});
    EXPECT_EQ(pass(4500), one(Kind::use, "192.0.2.1"));
    care_->give_back_all();
    EXPECT_EQ(requests_.count(Kind::give_back), 0U);
}

TEST_F(CareTest, HostsBeyondTheLimitAreRefreshed) {
    start(true, {.managed_hosts = 3});
    std::vector<Message> hosts;
    for (int i = 10; i < 20; ++i) {
        hosts.emplace_back(neighbour(e0, fmt::format("192.0.2.{}", i), 1, NUD_STALE));
    }
    apply(hosts);
    for (int i = 10; i < 20; ++i) {
        traffic_to(fmt::format("192.0.2.{}", i));
    }
    pass(600);
    EXPECT_EQ(requests_.count(Kind::manage), 3U);
    EXPECT_EQ(requests_.count(Kind::use), 7U);
    apply({ten_});
    const auto asked = pass(600);
    EXPECT_EQ(std::count(asked.begin(), asked.end(), one(Kind::manage, "192.0.2.1").front()), 1)
        << "gateways are not limited";
    // One of the three fails: another one takes its place.
    EXPECT_EQ(care_of("192.0.2.13"), Care::refreshed);
    apply({removed(neighbour(e0, "192.0.2.10", 1))});
    pass(1600);
    EXPECT_EQ(care_of("192.0.2.13"), Care::managed);
    EXPECT_EQ(care_of("192.0.2.14"), Care::refreshed);
}

TEST_F(CareTest, ManyHostsAtABoundedRateWithinABoundedTime) {
    start(true, {.repeat_ms = 60'000, .repeat_max_ms = 60'000});
    std::vector<Message> hosts{route("10.1.0.0/16", {on(e0)})};
    constexpr unsigned count = 5000;
    for (unsigned i = 0; i < count; ++i) {
        hosts.emplace_back(neighbour(e0, fmt::format("10.1.{}.{}", 1 + i / 250, 1 + i % 250), 1));
    }
    apply(hosts);
    for (const auto& [key, adjacency] : bench_.mirror.groups().adjacencies()) {
        bench_.sink.used.insert(adjacency.id);
    }
    EXPECT_LE(pass(1000).size(), 1700U);
    EXPECT_GE(requests_.all.size(), 1000U);
    pass(3500);
    EXPECT_EQ(care_->requested(), count) << "each once";
}

TEST_F(CareTest, NoRoomForARequest) {
    start();
    apply({ten_});
    requests_.full = true;
    pass(600);
    EXPECT_EQ(care_->requested(), 0U);
    requests_.full = false;
    EXPECT_EQ(pass(600), one(Kind::manage, "192.0.2.1"));
}

TEST_F(CareTest, EntriesThatNeverResolvedCostNothing) {
    start();
    std::vector<Message> scanned;
    for (unsigned i = 0; i < 1000; ++i) {
        NeighborMessage m =
            neighbour(e0, fmt::format("192.0.2.{}", i % 250), 0, i % 2 == 0 ? NUD_FAILED : NUD_INCOMPLETE);
        m.mac.reset();
        scanned.emplace_back(m);
    }
    apply(scanned);
    EXPECT_EQ(pass(2000), nothing_);
    EXPECT_EQ(care_->cared_for(), 0U);
    EXPECT_TRUE(bench_.sink.adjacencies.empty());
    EXPECT_EQ(bench_.mirror.rib().table().size(), 2U);
}

}  // namespace
}  // namespace millrace::sync::test
