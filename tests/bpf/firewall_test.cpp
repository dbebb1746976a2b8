// SPDX-License-Identifier: BSD-3-Clause
// The kernel's hooks, read and judged, and a classifier that goes past them or doesn't. The ruleset is real.
#include "steering_bpf/firewall.hpp"

#include <gtest/gtest.h>
#include <linux/netfilter.h>

#include <algorithm>
#include <array>

#include "classifier_fixture.hpp"

namespace millrace::test {
namespace {

using steering::Follows;
using steering::Hook;

bool nft(const std::string& commands) {
    return run({"nft", commands}).code == 0;
}

class Firewall : public ClassifierTest {
  protected:
    void SetUp() override {
        ClassifierTest::SetUp();
        if (!IsSkipped()) {
            ASSERT_TRUE(nft("flush ruleset"));
            ASSERT_NO_FATAL_FAILURE(judge_firewall());
        }
    }
    void TearDown() override {
        if (!IsSkipped()) {
            EXPECT_TRUE(nft("flush ruleset"));
        }
        ClassifierTest::TearDown();
    }
    static steering::Hooks hooks() {
        auto reader = steering::HookReader::load();
        const std::array ports = {loopback};
        auto hooks = reader->read(ports);
        EXPECT_TRUE(hooks) << hooks.error().text();
        return hooks.value_or(steering::Hooks{});
    }
    static std::vector<std::string> listed() {
        std::vector<std::string> lines;
        for (const Hook& h : hooks().all) {
            lines.push_back(fmt::format("{} {}: {}", h.where == Hook::Where::ipv6 ? 6 : 4, steering::place(h),
                                        steering::whose(h)));
        }
        std::sort(lines.begin(), lines.end());
        return lines;
    }
    void both(millrace_steer_reason four, millrace_steer_reason six) {
        expect(four, Frame().ethernet().ipv4().udp().payload(18).bytes());
        expect(six, Frame().ethernet().ipv6().udp().payload(18).bytes());
    }
};
constexpr auto kept = MILLRACE_STEER_KEEP_NETFILTER;
constexpr auto fast = MILLRACE_STEER_REDIRECT;
constexpr const char* forward =
    "add table inet t; add chain inet t c { type filter hook forward priority 0; }";

TEST_F(Firewall, NothingRegisteredIsFast) {
    EXPECT_TRUE(listed().empty());
    both(fast, fast);
}

TEST_F(Firewall, AnEmptyChainIsKeptUntilItIsJudgedAndTheNextRuleAtOnce) {
    ASSERT_TRUE(nft(forward));
    both(kept, kept);
    judge_firewall();
    both(fast, fast);
    EXPECT_EQ(listed(), (std::vector<std::string>{"4 forward: table inet t, chain c: no rules",
                                                  "6 forward: table inet t, chain c: no rules"}));
    ASSERT_TRUE(nft("add rule inet t c counter"));
    both(kept, kept);
    judge_firewall();
    both(kept, kept);
    EXPECT_EQ(listed()[0], "4 forward: table inet t, chain c: 1 rule");
}

TEST_F(Firewall, APolicyOfDropIsKept) {
    ASSERT_TRUE(
        nft("add table ip t; add chain ip t c { type filter hook forward priority 0; policy drop; }"));
    judge_firewall();
    both(kept, fast);
    EXPECT_EQ(listed(), std::vector<std::string>{"4 forward: table ip t, chain c: no rules, policy drop"});
}

TEST_F(Firewall, ConntrackForRulesOnInputAloneIsFast) {
    ASSERT_TRUE(
        nft("add table inet t; add chain inet t c { type filter hook input priority 0; };"
            "add rule inet t c ct state new drop"));
    both(kept, kept);  // functions that nobody has told it of
    judge_firewall();
    both(fast, fast);
    const auto lines = listed();
    EXPECT_NE(std::find(lines.begin(), lines.end(), "4 prerouting: connection tracking"), lines.end());
    EXPECT_NE(std::find(lines.begin(), lines.end(), "6 postrouting: connection tracking"), lines.end());
}

TEST_F(Firewall, AnIgnoredTableIsFastAndOthersAreNot) {
    ASSERT_TRUE(nft(std::string(forward) + "; add rule inet t c counter"));
    judge_firewall({.ignore = {"inet other"}});
    both(kept, kept);
    judge_firewall({.ignore = {"inet t"}});
    both(fast, fast);
    ASSERT_TRUE(
        nft("add table ip t; add chain ip t c { type filter hook forward priority 0; };"
            "add rule ip t c counter"));
    judge_firewall({.ignore = {"inet t"}});
    both(kept, fast);
}

TEST_F(Firewall, BypassHoldsForItsFamilyWhateverThereIs) {
    ASSERT_TRUE(nft(std::string(forward) + "; add rule inet t c drop"));
    judge_firewall({.mode = FirewallMode::bypass, .families = {Family::ipv6}});
    both(kept, fast);
    judge_firewall({.mode = FirewallMode::bypass, .ports = {"eth7"}});
    both(kept, kept);
}

TEST_F(Firewall, ARuleThatAFailingTransactionDeletesIsInForce) {
    ASSERT_TRUE(nft(std::string(forward) + "; add rule inet t c counter"));
    ASSERT_FALSE(nft("flush chain inet t c; add rule inet t c jump nowhere"));
    judge_firewall();
    both(kept, kept);
}

TEST_F(Firewall, NothingThatHasBeenJudgedIsKept) {
    ASSERT_TRUE(maps().set_firewall({}));
    both(kept, kept);
}

// Pure.
Hook hook(Hook::Where where, uint8_t number, std::string function, uint64_t address) {
    Hook h;
    h.where = where;
    h.number = number;
    h.function = std::move(function);
    h.address = address;
    return h;
}
steering::Hooks world(std::vector<Hook> all) {
    steering::Hooks hooks;
    hooks.net = 1;
    hooks.devices = {{Ifindex{3}, 2}};
    hooks.all = std::move(all);
    return hooks;
}

TEST(FirewallJudge, WhatIsNotKnownIsNoPermission) {
    const auto judged = steering::judge(
        world({hook(Hook::Where::ipv4, NF_INET_FORWARD, "ip_vs_forward_icmp", 7),
               hook(Hook::Where::ipv4, NF_INET_POST_ROUTING, "nf_nat_ipv4_out", 8),
               hook(Hook::Where::ipv6, NF_INET_PRE_ROUTING, "ipv6_conntrack_in", 9),
               hook(Hook::Where::ipv6, NF_INET_PRE_ROUTING, "ipv6_conntrack_in_of_somebody_else", 10)}),
        {}, "e0", Ifindex{3});
    EXPECT_EQ(judged.harmless[0], 9U);
    EXPECT_EQ(judged.harmless[1], 0U);
}

TEST(FirewallJudge, AChainWithRulesTakesThePermissionOfItsFamilyAlone) {
    Hook rules = hook(Hook::Where::ipv4, NF_INET_FORWARD, "nft_do_chain_ipv4", 7);
    rules.kind = Hook::Kind::nft;
    Hook empty = hook(Hook::Where::ipv6, NF_INET_FORWARD, "nft_do_chain_ipv6", 8);
    empty.kind = Hook::Kind::nft;
    empty.empty = true;
    Hook elsewhere = hook(Hook::Where::netdev, 0, "nft_do_chain_netdev", 9);
    elsewhere.kind = Hook::Kind::nft;
    elsewhere.ifindex = Ifindex{4};
    Hook input = rules;
    input.where = Hook::Where::ipv6;
    input.number = NF_INET_LOCAL_IN;
    const auto judged = steering::judge(world({rules, empty, elsewhere, input}), {}, "e0", Ifindex{3});
    EXPECT_EQ(judged.flags, MILLRACE_MAY_READ | MILLRACE_MAY_PASS_NFT6 | MILLRACE_MAY_PASS_NETDEV);
}

TEST(FirewallJudge, WhatIsNotWholeOrWithoutADeviceIsNoPermission) {
    steering::Hooks cut = world({});
    cut.incomplete = true;
    EXPECT_EQ(steering::judge(cut, {}, "e0", Ifindex{3}).flags, MILLRACE_MAY_READ);
    EXPECT_EQ(steering::judge(world({}), {}, "e1", Ifindex{4}).flags & MILLRACE_MAY_READ, 0U);
    EXPECT_EQ(steering::judge({}, {.mode = FirewallMode::bypass}, "e0", Ifindex{3}).flags &
                  (MILLRACE_MAY_READ | MILLRACE_MAY_BYPASS4 | MILLRACE_MAY_BYPASS6),
              MILLRACE_MAY_BYPASS4 | MILLRACE_MAY_BYPASS6);
}

TEST(FirewallJudge, MoreFunctionsThanFitAreNoPermission) {
    std::vector<Hook> many;
    for (uint64_t i = 1; i <= MILLRACE_MOST_NFT + 1; ++i) {
        Hook h = hook(Hook::Where::ipv4, NF_INET_FORWARD, "nft_do_chain_ipv4", i);
        h.kind = Hook::Kind::nft;
        h.empty = true;
        many.push_back(h);
    }
    EXPECT_EQ(steering::judge(world(many), {}, "e0", Ifindex{3}).flags & MILLRACE_MAY_PASS_NFT4, 0U);
}

}  // namespace
}  // namespace millrace::test
