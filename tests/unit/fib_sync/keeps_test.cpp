// SPDX-License-Identifier: BSD-3-Clause
// What the kernel decides beyond routes -> what is left to it.
#include "fib_sync/keeps.hpp"

#include <gtest/gtest.h>
#include <linux/fib_rules.h>
#include <linux/xfrm.h>

#include "messages.hpp"

namespace millrace::sync::test {
namespace {

using Texts = std::vector<std::string>;

// "e0 IPv4: text"
Texts texts(const std::vector<Keep>& keeps) {
    Texts all;
    for (const Keep& k : keeps) {
        all.push_back(fmt::format("{} {}: {}", k.port.empty() ? "all" : k.port, k.what(), k.text));
    }
    return all;
}

// Without the text, which is the decoder's: "e0 IPv4 10.0.0.0/8".
Texts where(const std::vector<Keep>& keeps) {
    Texts all;
    for (const Keep& k : keeps) {
        all.push_back(fmt::format("{} IPv{}{}", k.port.empty() ? "all" : k.port, raw(*k.family),
                                  k.prefix ? " " + k.prefix->text() : ""));
    }
    return all;
}

const std::vector<PortDevice> ports = {{.ifindex = e0, .name = "e0", .master = {}},
                                       {.ifindex = e1, .name = "e1", .master = {}}};

Rule rule(uint32_t preference, TableId table = TableId{100}) {
    Rule r;
    r.preference = preference;
    r.action = FR_ACT_TO_TBL;
    r.table = table;
    r.text = "...";
    return r;
}
Rule with(Rule r, auto change) {
    change(r);
    return r;
}
Rule act(uint32_t preference, uint8_t action) {
    return with(rule(preference), [&](Rule& r) { r.action = action; });
}
const Rule local = rule(0, local_table);
const Rule main_ = rule(32766, main_table);
const Rule default_ = rule(32767, TableId{253});

Policy of_rules(std::vector<Rule> rules, std::array<uint8_t, 2> rp_filter = {}) {
    Policy p;
    p.rules4 = std::move(rules);
    p.switches4 = SwitchTable{{e0, {.rp_filter = rp_filter[0]}}, {e1, {.rp_filter = rp_filter[1]}}};
    return p;
}

TEST(Keeps, OneRuleBeforeMain) {
    const auto from = [](const char* prefix) {
        return with(rule(100), [&](Rule& r) { r.from = net(prefix); });
    };
    const auto iif = [](const char* name) { return with(rule(100), [&](Rule& r) { r.iif = name; }); };
    const Texts family = {"all IPv4"};
    const struct {
        const char* name;
        Rule rule;
        Texts keeps;
    } cases[] = {
        {"all", rule(100), family},
        {"from", from("10.9.0.0/16"), {"all IPv4 10.9.0.0/16"}},
        {"to", with(rule(100), [](Rule& r) { r.to = net("10.9.0.0/16"); }), {"all IPv4 10.9.0.0/16"}},
        {"to is longer",
         with(from("10.9.0.0/16"), [](Rule& r) { r.to = net("10.8.1.0/24"); }),
         {"all IPv4 10.8.1.0/24"}},
        {"from is longer",
         with(from("10.9.1.0/24"), [](Rule& r) { r.to = net("10.8.0.0/16"); }),
         {"all IPv4 10.9.1.0/24"}},
        {"iif", iif("e0"), {"e0 IPv4"}},
        {"iif and from",
         with(iif("e1"), [](Rule& r) { r.from = net("10.9.0.0/16"); }),
         {"e1 IPv4 10.9.0.0/16"}},
        {"iif of no port", iif("wan"), {}},
        {"iif lo", iif("lo"), {}},
        {"not iif of no port", with(iif("wan"), [](Rule& r) { r.invert = true; }), family},
        {"not iif", with(iif("e0"), [](Rule& r) { r.invert = true; }), family},
        {"not from", with(from("10.9.0.0/16"), [](Rule& r) { r.invert = true; }), family},
        {"oif", with(rule(100), [](Rule& r) { r.oif = "e0"; }), {}},
        {"not oif", with(rule(100), [](Rule& r) { r.oif = "e0", r.invert = true; }), family},
        {"uids of users", with(rule(100), [](Rule& r) { r.first_uid = 1; }), {}},
        {"uid 0, which transit has", with(rule(100), [](Rule& r) { r.first_uid = 0; }), family},
        {"not uids of users", with(rule(100), [](Rule& r) { r.first_uid = 1, r.invert = true; }), family},
        {"other", with(rule(100), [](Rule& r) { r.other = true; }), family},
        {"other and from",
         with(from("10.9.0.0/16"), [](Rule& r) { r.other = true; }),
         {"all IPv4 10.9.0.0/16"}},
        {"l3mdev", with(rule(100), [](Rule& r) { r.l3mdev = true; }), {}},
        {"nop", act(100, FR_ACT_NOP), {}},
        {"goto", act(100, FR_ACT_GOTO), family},
        {"blackhole", act(100, FR_ACT_BLACKHOLE), family},
        {"unreachable from",
         with(from("10.9.0.0/16"), [](Rule& r) { r.action = FR_ACT_UNREACHABLE; }),
         {"all IPv4 10.9.0.0/16"}},
        {"an action of the future", act(100, 99), family},
        {"main", rule(100, main_table), {}},
        {"main from", with(rule(100, main_table), [](Rule& r) { r.from = net("10.9.0.0/16"); }), {}},
        {"main, short prefixes suppressed",
         with(rule(100, main_table), [](Rule& r) { r.suppress = true; }),
         {}},
        {"another table, suppressed", with(rule(100), [](Rule& r) { r.suppress = true; }), family},
        {"local again", with(rule(100, local_table), [](Rule& r) { r.other = true; }), {}},
        {"default", rule(100, TableId{253}), family},
    };
    for (const auto& c : cases) {
        EXPECT_EQ(where(keeps_of(of_rules({local, c.rule, main_, default_}), ports)), c.keeps) << c.name;
    }
}

TEST(Keeps, TheOrderOfRules) {
    const Rule first = rule(0);
    const Rule from_main = with(rule(50, main_table), [](Rule& r) { r.from = net("10.0.0.0/8"); });
    const Rule late_local = rule(32765, local_table);
    const Rule l3mdev = with(rule(1000), [](Rule& r) { r.l3mdev = true; });
    const Texts none;
    const struct {
        const char* name;
        std::vector<Rule> rules;
        size_t keeps;
    } cases[] = {
        {"three defaults", {local, main_, default_}, 0},
        {"no default", {local, main_}, 0},
        {"behind main", {local, main_, rule(32800), act(33000, FR_ACT_UNREACHABLE)}, 0},
        {"an early main", {local, rule(50, main_table), rule(100), main_}, 0},
        {"main for some, then another table", {local, from_main, rule(100), main_}, 1},
        {"local moved behind l3mdev", {l3mdev, late_local, main_, default_}, 0},
        {"another table before local", {first, local, main_, default_}, 1},
        {"no local: main is asked first", {main_, default_}, 3},
        {"no main", {local}, 1},
        {"no main but default", {local, default_}, 2},
        {"nothing", {}, 1},
        {"two", {local, rule(100), rule(101), main_}, 2},
        {"one, twice", {local, rule(100), rule(100), main_}, 1},
    };
    for (const auto& c : cases) {
        EXPECT_EQ(keeps_of(of_rules(c.rules), ports).size(), c.keeps) << c.name;
    }
    EXPECT_EQ(texts(keeps_of(of_rules({local}), ports)),
              Texts{"all IPv4: no policy rule that looks up table local, and then main, for all packets"});
    EXPECT_TRUE(keeps_of({}, ports).empty()) << "a kernel without policy rules";
}

TEST(Keeps, ReversePathFilterLooksUpAsIfItCameInWhereItGoesOut) {
    const Rule iif = with(rule(100), [](Rule& r) { r.iif = "e0", r.to = net("10.0.0.0/8"); });
    const std::vector<Rule> rules = {local, iif, main_};
    EXPECT_EQ(where(keeps_of(of_rules(rules, {1, 0}), ports)), (Texts{"e0 IPv4 10.0.0.0/8"}));
    EXPECT_EQ(texts(keeps_of(of_rules(rules, {0, 2}), ports)),
              (Texts{"e0 10.0.0.0/8: policy rule 100: ...",
                     "e1 10.0.0.0/8: policy rule 100: ... (reverse path filter)"}));
    Policy six = of_rules({local, main_}, {2, 2});
    six.rules6 = {local, with(iif, [](Rule& r) { r.family = Family::ipv6, r.to.reset(); }), main_};
    EXPECT_EQ(where(keeps_of(six, ports)), (Texts{"e0 IPv6"})) << "IPv6 has no filter";
}

TEST(Keeps, Switches) {
    Policy p;
    EXPECT_TRUE(keeps_of(p, ports).empty()) << "a kernel that doesn't tell";
    const Switches off{.forwarding = false};
    p.switches4 = {{all_devices, off}, {e0, {}}, {e1, {}}};
    EXPECT_TRUE(keeps_of(p, ports).empty()) << "the ingress device alone decides";
    p.switches4 = {{all_devices, {}}, {e1, off}};
    EXPECT_EQ(texts(keeps_of(p, ports)),
              (Texts{"e0 IPv4: the kernel has no IPv4 on it", "e1 IPv4: net.ipv4.conf.e1.forwarding = 0"}));
    p = {};
    p.switches6 = {{all_devices, {}}, {e0, off}, {e1, off}};
    EXPECT_TRUE(keeps_of(p, ports).empty()) << "in IPv6 the device's switch is about advertisements";
    p.switches6 = {{all_devices, off}, {e0, {}}, {e1, {}}};
    EXPECT_EQ(texts(keeps_of(p, ports)), Texts{"all IPv6: net.ipv6.conf.all.forwarding = 0"});
    p = {};
    p.ipv6 = {{e0, {.disabled = true}}, {e1, {.present = false}}, {wan, {.disabled = true}}};
    EXPECT_EQ(texts(keeps_of(p, ports)), (Texts{"e0 IPv6: net.ipv6.conf.e0.disable_ipv6 = 1",
                                                "e1 IPv6: the kernel has no IPv6 on it (MTU below 1280?)"}));
    p = {};
    p.switches4 = {{e0, {.multicast = true}}, {e1, {}}};
    p.switches6 = {{e0, {}}, {e1, {.multicast = true}}};
    EXPECT_EQ(texts(keeps_of(p, ports)),
              (Texts{"e0 224.0.0.0/4: multicast routing", "e1 ff00::/8: multicast routing"}));
}

TEST(Keeps, QueuesAndFilters) {
    const Qdisc clsact{.ifindex = e0, .kind = "clsact", .handle = 0xffff0000, .parent = 0xfffffff1};
    const auto egress_kept = [](const Policy& p) { return device_policies(p, ports).at(e0).egress_kept; };
    const auto queue = [](const char* kind) {
        return Qdisc{.ifindex = e0, .kind = kind, .handle = 0x80010000, .parent = 0xffffffff};
    };
    Policy p;
    for (const char* kind :
         {"noqueue", "noop", "pfifo_fast", "pfifo", "bfifo", "mq", "fq_codel", "fq", "sfq"}) {
        p.qdiscs = {queue(kind)};
        EXPECT_TRUE(keeps_of(p, ports).empty() && !egress_kept(p)) << kind;
    }
    for (const char* kind : {"tbf", "htb", "hfsc", "cake", "netem", "prio", "ets", "red", "of_the_future"}) {
        p.qdiscs = {queue("mq"), queue(kind)};
        EXPECT_EQ(texts(keeps_of(p, ports)), Texts{fmt::format("e0 egress: qdisc {} 8001:", kind)});
        EXPECT_TRUE(egress_kept(p)) << kind;
    }
    p.qdiscs = {queue("fq")};
    p.qdiscs[0].paced = true;
    EXPECT_EQ(texts(keeps_of(p, ports)), Texts{"e0 egress: qdisc fq 8001: with a maximum rate"});
    p.qdiscs = {queue("tbf")};
    p.qdiscs[0].ifindex = wan;
    EXPECT_TRUE(keeps_of(p, ports).empty()) << "not a port";

    p.qdiscs = {clsact};
    EXPECT_TRUE(keeps_of(p, ports).empty() && !egress_kept(p));
    p.hooks[e0] = {.ingress = true};
    EXPECT_EQ(texts(keeps_of(p, ports)), Texts{"e0 all: tc filter at ingress"});
    EXPECT_FALSE(egress_kept(p));
    p.hooks[e0] = {.egress = true};
    EXPECT_EQ(texts(keeps_of(p, ports)), Texts{"e0 egress: tc filter at egress"});
    EXPECT_TRUE(egress_kept(p));
    p.hooks.clear();
    p.qdiscs[0].ingress_block = true;
    EXPECT_EQ(texts(keeps_of(p, ports)), Texts{"e0 all: tc filter at ingress"}) << "a shared block";
    p.qdiscs[0].egress_block = true;
    EXPECT_TRUE(egress_kept(p));
}

TEST(Keeps, XfrmPolicies) {
    const XfrmPolicy out{.family = Family::ipv4,
                         .source = net("10.1.0.0/16"),
                         .destination = net("10.2.0.0/24"),
                         .direction = XFRM_POLICY_OUT};
    const auto of = [](const XfrmPolicy& x) {
        Policy p;
        p.xfrm = {x};
        return keeps_of(p, ports);
    };
    EXPECT_EQ(texts(of(out)), Texts{"all 10.2.0.0/24: XFRM policy src 10.1.0.0/16 dst 10.2.0.0/24 dir out"});
    XfrmPolicy x = out;
    x.destination.reset();
    x.direction = XFRM_POLICY_FWD;
    x.block = true;
    EXPECT_EQ(texts(of(x)),
              Texts{"all 10.1.0.0/16: XFRM policy src 10.1.0.0/16 dst 0.0.0.0/0 dir fwd action block"});
    x = {.family = Family::ipv6, .direction = XFRM_POLICY_OUT};
    EXPECT_EQ(texts(of(x)), Texts{"all IPv6: XFRM policy src ::/0 dst ::/0 dir out"});
    x = out;
    x.direction = XFRM_POLICY_IN;
    EXPECT_TRUE(of(x).empty()) << "only for what is delivered";
    x = out;
    x.interface_id = 7;
    EXPECT_TRUE(of(x).empty()) << "only over XFRM interfaces";
    Policy p;
    p.xfrm = {out, out};
    EXPECT_EQ(keeps_of(p, ports).size(), 1U) << "none twice";
    p.xfrm_blocks_by_default = true;
    EXPECT_EQ(texts(keeps_of(p, ports))[0], "all all: the default XFRM policy is block");
}

TEST(Keeps, Masters) {
    const std::vector<PortDevice> enslaved = {{.ifindex = e0, .name = "e0", .master = "br0 (bridge)"},
                                              ports[1]};
    EXPECT_EQ(texts(keeps_of({}, enslaved)), Texts{"e0 all: member of br0 (bridge)"});
}

TEST(Keeps, DevicePolicies) {
    Policy p;
    p.switches4 = {{all_devices, {.rp_filter = 1}}, {e0, {.rp_filter = 2}}, {e1, {}}};
    p.ipv6 = {{e1, {.mtu = 1400}}};
    const auto all = device_policies(p, ports);
    EXPECT_EQ(all.at(e0), (DevicePolicy{.rp_filter = 2, .mtu6 = 0, .egress_kept = false}));
    EXPECT_EQ(all.at(e1), (DevicePolicy{.rp_filter = 1, .mtu6 = 1400, .egress_kept = false}));
}

}  // namespace
}  // namespace millrace::sync::test
