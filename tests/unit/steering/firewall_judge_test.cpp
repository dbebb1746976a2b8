// SPDX-License-Identifier: BSD-3-Clause
// What follows from a hook, for the operator and for the classifier: pure, of hooks that are made up.
#include "steering_bpf/firewall.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <linux/netfilter.h>

#include <utility>

namespace millrace::test {
namespace {

using steering::Follows;
using steering::Hook;
using Where = Hook::Where;

constexpr Ifindex own{3};
constexpr Ifindex other{4};
constexpr uint32_t all_nft = MILLRACE_MAY_PASS_NFT4 | MILLRACE_MAY_PASS_NFT6 | MILLRACE_MAY_PASS_NETDEV;

Hook function(Where where, uint8_t number, std::string name, uint64_t address = 7) {
    Hook h;
    h.where = where;
    h.number = number;
    h.function = std::move(name);
    h.address = address;
    return h;
}
// Of table t and chain c; without rules.
Hook chain(Where where, uint8_t number, std::string name = "nft_do_chain_inet", uint64_t argument = 100) {
    Hook h = function(where, number, std::move(name));
    h.kind = Hook::Kind::nft;
    h.argument = argument;
    h.table = "t";
    h.chain = "c";
    h.empty = true;
    return h;
}
Hook with_rules(Hook h, uint32_t rules = 1) {
    h.rules = rules;
    h.empty = false;
    return h;
}
Hook at(Hook h, Ifindex device) {
    h.ifindex = device;
    return h;
}
Hook tc(const char* what, uint8_t number, Ifindex device) {
    Hook h = at(function(Where::tc, number, what, 0), device);
    h.kind = Hook::Kind::tc;
    return h;
}
Hook bpf(uint8_t number) {
    Hook h = function(Where::ipv4, number, "nf_hook_run_bpf");
    h.kind = Hook::Kind::bpf;
    return h;
}
steering::Hooks world(std::vector<Hook> all) {
    steering::Hooks hooks;
    hooks.generation = 42;
    hooks.net = 1;
    hooks.devices = {{own, 2}, {other, 5}};
    hooks.all = std::move(all);
    return hooks;
}
millrace_firewall judged(std::vector<Hook> all, const FirewallConfig& config = {}, Ifindex port = own) {
    return steering::judge(world(std::move(all)), config, "e0", port);
}

constexpr uint8_t transit[] = {NF_INET_PRE_ROUTING, NF_INET_FORWARD, NF_INET_POST_ROUTING};

TEST(FirewallJudge, NothingIsClearAtItsGeneration) {
    const auto j = judged({});
    EXPECT_EQ(j.flags, MILLRACE_MAY_READ | all_nft);
    EXPECT_EQ(j.generation, 42U);
    EXPECT_EQ(j.net, 1U);
    EXPECT_EQ(j.dev, 2U);
    EXPECT_THAT(j.harmless, testing::Each(0U));
    EXPECT_THAT(j.nft, testing::Each(0U));
}

TEST(FirewallJudge, WhatOnlyTracksIsClear) {
    for (const char* name :
         {"ipv4_conntrack_in", "ipv6_conntrack_in", "nf_confirm", "ipv4_confirm", "ipv6_confirm",
          "ipv4_conntrack_defrag", "ipv6_defrag", "apparmor_ip_postroute", "ip_sabotage_in"}) {
        for (const uint8_t number : transit) {
            const Hook h = function(Where::ipv6, number, name);
            EXPECT_EQ(follows(h, {}), Follows::nothing) << name;
            EXPECT_EQ(judged({h}).harmless[0], 7U) << name;
        }
    }
}

// Beginnings, endings and other spellings of harmless names as well.
TEST(FirewallJudge, WhatIsNotKnownIsFiltered) {
    for (const char* name :
         {"ipt_do_table", "ip6t_do_table", "iptable_mangle_hook", "nf_nat_ipv4_out", "nf_nat_ipv6_in",
          "ip_vs_forward_icmp", "ipv4_synproxy_hook", "selinux_ip_forward", "somebody_elses", "",
          "nf_confirm_", "nf_confir", "ipv4_conntrack", "accept_all"}) {
        for (const uint8_t number : transit) {
            const Hook h = function(Where::ipv4, number, name);
            EXPECT_EQ(follows(h, {}), Follows::family) << name;
            EXPECT_THAT(judged({h}).harmless, testing::Each(0U)) << name;
        }
    }
    EXPECT_EQ(follows(bpf(NF_INET_FORWARD), {}), Follows::family);
    // A BPF program that has a harmless name.
    Hook disguised = bpf(NF_INET_FORWARD);
    disguised.function = "nf_confirm";
    EXPECT_EQ(follows(disguised, {}), Follows::family);
    EXPECT_THAT(judged({disguised}).harmless, testing::Each(0U));
}

TEST(FirewallJudge, InputAndOutputAreNotMetByTransit) {
    for (const uint8_t number : {NF_INET_LOCAL_IN, NF_INET_LOCAL_OUT}) {
        for (const Hook& h : {function(Where::ipv4, number, "ipt_do_table"), bpf(number),
                              with_rules(chain(Where::ipv4, number))}) {
            EXPECT_EQ(follows(h, {}), Follows::nothing);
            EXPECT_EQ(judged({h}).flags, MILLRACE_MAY_READ | all_nft);
            EXPECT_THAT(judged({h}).nft, testing::Each(0U));
        }
    }
}

TEST(FirewallJudge, AnEmptyChainIsClearAndOneWithARuleOrADropIsNot) {
    for (const uint8_t number : transit) {
        const Hook empty = chain(Where::ipv4, number);
        EXPECT_EQ(follows(empty, {}), Follows::nothing);
        EXPECT_EQ(judged({empty}).nft[0], 100U);
        EXPECT_EQ(judged({empty}).flags, MILLRACE_MAY_READ | all_nft);
        Hook drops = empty;
        drops.drops = true;
        drops.empty = false;
        for (const Hook& h : {with_rules(empty), drops}) {
            EXPECT_EQ(follows(h, {}), Follows::family);
            EXPECT_EQ(judged({h}).flags,
                      MILLRACE_MAY_READ | MILLRACE_MAY_PASS_NFT6 | MILLRACE_MAY_PASS_NETDEV);
            EXPECT_THAT(judged({h}).nft, testing::Each(0U));
        }
    }
}

TEST(FirewallJudge, FamiliesAreApart) {
    const auto j = judged({chain(Where::ipv4, NF_INET_FORWARD, "nft_do_chain_ipv4", 100),
                           with_rules(chain(Where::ipv6, NF_INET_FORWARD, "nft_do_chain_ipv6", 101))});
    EXPECT_EQ(j.flags, MILLRACE_MAY_READ | MILLRACE_MAY_PASS_NFT4 | MILLRACE_MAY_PASS_NETDEV);
    EXPECT_EQ(j.nft[0], 100U);
    EXPECT_EQ(j.nft[1], 0U);
}

TEST(FirewallJudge, PortsAreApart) {
    const Hook rules = at(with_rules(chain(Where::netdev, 0, "nft_do_chain_netdev")), own);
    EXPECT_EQ(follows(rules, {}), Follows::ingress);
    EXPECT_EQ(judged({rules}).flags, MILLRACE_MAY_READ | MILLRACE_MAY_PASS_NFT4 | MILLRACE_MAY_PASS_NFT6);
    EXPECT_EQ(judged({rules}, {}, other).flags, MILLRACE_MAY_READ | all_nft);
    // What is empty on the other port is no permission on this one.
    const Hook empty = at(chain(Where::netdev, 0, "nft_do_chain_netdev", 102), other);
    EXPECT_THAT(judged({empty}).nft, testing::Each(0U));
    EXPECT_EQ(judged({empty}, {}, other).nft[0], 102U);
    EXPECT_EQ(judged({}, {}, other).dev, 5U);
    EXPECT_EQ(judged({}, {}, Ifindex{9}).flags & MILLRACE_MAY_READ, 0U);
}

TEST(FirewallJudge, EgressAndTcHoldForTheirDevice) {
    EXPECT_EQ(follows(at(with_rules(chain(Where::netdev, 1, "nft_do_chain_netdev")), own), {}),
              Follows::egress);
    EXPECT_EQ(follows(tc("tcx", 0, own), {}), Follows::ingress);
    EXPECT_EQ(follows(tc("tc", 1, own), {}), Follows::egress);
    // The classifier sees them for itself.
    EXPECT_EQ(judged({tc("tcx", 0, own), tc("tc", 1, own)}).flags, MILLRACE_MAY_READ | all_nft);
}

TEST(FirewallJudge, TheOperatorsTablesAreIgnoredByFamilyAndWholeName) {
    const Hook h = with_rules(chain(Where::ipv4, NF_INET_FORWARD));
    EXPECT_EQ(follows(h, {.ignore = {"inet x", "inet t"}}), Follows::ignored);
    EXPECT_EQ(judged({h}, {.ignore = {"inet t"}}).nft[0], 100U);
    for (const char* no : {"ip t", "t", "inet", "inet t ", "inet tt", ""}) {
        EXPECT_EQ(follows(h, {.ignore = {no}}), Follows::family) << no;
    }
    Hook ip = h;
    ip.function = "nft_do_chain_ipv4";
    EXPECT_EQ(follows(ip, {.ignore = {"ip t"}}), Follows::ignored);
    EXPECT_EQ(follows(ip, {.ignore = {"inet t"}}), Follows::family);
    // Other hooks have no table.
    EXPECT_EQ(follows(function(Where::ipv4, NF_INET_FORWARD, "ipt_do_table"), {.ignore = {"", "ip "}}),
              Follows::family);
}

TEST(FirewallJudge, ANameThatWasCutIsNotIgnored) {
    Hook h = with_rules(chain(Where::ipv4, NF_INET_FORWARD));
    h.table = std::string(steering::most_name, 'a');
    EXPECT_EQ(follows(h, {.ignore = {"inet " + h.table}}), Follows::family);
    h.table.pop_back();
    EXPECT_EQ(follows(h, {.ignore = {"inet " + h.table}}), Follows::ignored);
}

TEST(FirewallJudge, BypassHoldsForItsPortsAndFamilies) {
    const auto flags = [](const FirewallConfig& config) {
        return judged({}, config).flags & (MILLRACE_MAY_BYPASS4 | MILLRACE_MAY_BYPASS6);
    };
    constexpr auto bypass = FirewallMode::bypass;
    EXPECT_EQ(flags({}), 0U);
    EXPECT_EQ(flags({.ports = {"e0"}, .families = {Family::ipv4}}), 0U);
    EXPECT_EQ(flags({.mode = bypass}), MILLRACE_MAY_BYPASS4 | MILLRACE_MAY_BYPASS6);
    EXPECT_EQ(flags({.mode = bypass, .ports = {"e1"}}), 0U);
    EXPECT_EQ(flags({.mode = bypass, .ports = {"e1", "e0"}, .families = {Family::ipv6}}),
              MILLRACE_MAY_BYPASS6);
    EXPECT_EQ(flags({.mode = bypass, .families = {Family::ipv4}}), MILLRACE_MAY_BYPASS4);
    // Also where nothing can be read; and it is no other permission.
    EXPECT_EQ(steering::judge({}, {.mode = bypass}, "e0", own).flags & MILLRACE_MAY_READ, 0U);
}

TEST(FirewallJudge, ListsThatAreNotWholeAreNoPermission) {
    steering::Hooks cut = world({chain(Where::ipv4, NF_INET_FORWARD)});
    cut.incomplete = true;
    EXPECT_EQ(steering::judge(cut, {}, "e0", own).flags, MILLRACE_MAY_READ);
    cut.net = 0;
    EXPECT_EQ(steering::judge(cut, {}, "e0", own).flags, 0U);
}

TEST(FirewallJudge, WhatDoesntFitIsNoPermission) {
    std::vector<Hook> many;
    for (uint64_t i = 1; i <= MILLRACE_MOST_NFT; ++i) {
        many.push_back(chain(Where::ipv4, NF_INET_FORWARD, "nft_do_chain_ipv4", i));
        many.push_back(many.back());  // the same chain takes no second place
    }
    EXPECT_EQ(judged(many).flags, MILLRACE_MAY_READ | all_nft);
    many.push_back(chain(Where::ipv6, NF_INET_FORWARD, "nft_do_chain_ipv6", 99));
    EXPECT_EQ(judged(many).flags, MILLRACE_MAY_READ | MILLRACE_MAY_PASS_NFT4 | MILLRACE_MAY_PASS_NETDEV);

    std::vector<Hook> functions;
    for (uint64_t i = 1; i <= MILLRACE_MOST_HARMLESS + 1; ++i) {
        functions.push_back(function(Where::ipv4, NF_INET_PRE_ROUTING, "nf_confirm", i));
    }
    EXPECT_THAT(judged(functions).harmless, testing::Not(testing::Contains(MILLRACE_MOST_HARMLESS + 1)));
}

TEST(FirewallWords, NameTheHookWhoseItIsAndItsRules) {
    const Hook h = chain(Where::ipv4, NF_INET_FORWARD);
    EXPECT_EQ(place(h), "forward");
    EXPECT_EQ(whose(h), "table inet t, chain c: no rules");
    EXPECT_EQ(whose(with_rules(h)), "table inet t, chain c: 1 rule");
    Hook drops = with_rules(chain(Where::ipv6, NF_INET_FORWARD, "nft_do_chain_ipv6"), 12);
    drops.drops = true;
    EXPECT_EQ(whose(drops), "table ip6 t, chain c: 12 rules, policy drop");
    EXPECT_EQ(table_of(chain(Where::netdev, 0, "nft_do_chain_netdev")), "netdev t");
    EXPECT_EQ(table_of(function(Where::ipv4, 0, "ipt_do_table")), "");
    EXPECT_EQ(place(tc("tc", 0, own)), "ingress");
    EXPECT_EQ(place(tc("tc", 1, own)), "egress");
    EXPECT_EQ(whose(tc("tcx", 0, own)), "a tcx program");
    EXPECT_EQ(whose(tc("tc", 0, own)), "a tc filter");
    EXPECT_EQ(whose(bpf(NF_INET_FORWARD)), "a BPF program (netfilter link)");
    EXPECT_EQ(whose(function(Where::ipv4, NF_INET_FORWARD, "ipt_do_table")), "iptables-legacy");
    EXPECT_EQ(whose(function(Where::ipv4, NF_INET_POST_ROUTING, "nf_nat_ipv4_out")), "address translation");
    EXPECT_EQ(whose(function(Where::ipv4, NF_INET_FORWARD, "ip_vs_forward_icmp")), "IPVS");
    EXPECT_EQ(whose(function(Where::ipv4, NF_INET_FORWARD, "somebody_elses")), "the kernel's somebody_elses");
    EXPECT_EQ(whose(function(Where::ipv4, NF_INET_FORWARD, "")), "the kernel's ?");
}

}  // namespace
}  // namespace millrace::test
