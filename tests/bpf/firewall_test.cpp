// SPDX-License-Identifier: BSD-3-Clause
// The kernel's hooks, read and judged, and a classifier that goes past them or doesn't. The ruleset is real.
#include <algorithm>

#include "firewall_fixture.hpp"

namespace millrace::test {
namespace {

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

// Nobody knows here which device a packet will leave over: a chain at its egress may be what is new.
TEST_F(Firewall, WhateverChangesInTheRulesetIsKeptUntilItIsJudged) {
    for (const char* change :
         {"add table inet t", "add chain inet t c", "add chain netdev t e", "delete table inet t"}) {
        ASSERT_TRUE(nft(std::string("add table netdev t; ") + change));
        both(kept, kept);
        judge_firewall();
        both(fast, fast);
    }
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

}  // namespace
}  // namespace millrace::test
