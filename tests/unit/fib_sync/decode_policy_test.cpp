// SPDX-License-Identifier: BSD-3-Clause
#include "fib_sync/decode_policy.hpp"

#include <gtest/gtest.h>
#include <linux/fib_rules.h>
#include <linux/ipv6.h>
#include <linux/netconf.h>
#include <linux/pkt_sched.h>
#include <linux/xfrm.h>

#include <random>

#include "messages.hpp"

namespace millrace::sync::test {
namespace {

using Payload = std::vector<std::byte>;

Payload payload(const Wire& wire) {
    Payload all = wire.bytes();
    return {all.begin() + NLMSG_HDRLEN, all.end()};
}

fib_rule_hdr rule_header(uint8_t family, uint8_t from = 0, uint8_t to = 0, uint8_t action = FR_ACT_TO_TBL,
                         uint32_t flags = 0, uint8_t tos = 0) {
    fib_rule_hdr h{};
    h.family = family;
    h.src_len = from;
    h.dst_len = to;
    h.action = action;
    h.flags = flags;
    h.tos = tos;
    h.table = RT_TABLE_COMPAT;
    return h;
}
Wire rule_wire(const fib_rule_hdr& h, uint32_t preference = 100) {
    return Wire(RTM_NEWRULE, 0, h)
        .attribute(FRA_PRIORITY, preference)
        .attribute(FRA_TABLE, uint32_t{1000})
        .attribute(FRA_SUPPRESS_PREFIXLEN, uint32_t{0xffffffff})
        .attribute(FRA_PROTOCOL, uint8_t{RTPROT_ZEBRA});
}
Rule plain_rule(std::string text) {
    Rule r;
    r.preference = 100;
    r.action = FR_ACT_TO_TBL;
    r.table = TableId{1000};
    r.text = std::move(text);
    return r;
}
Rule with(Rule r, auto change) {
    change(r);
    return r;
}

struct RuleCase {
    Wire wire;
    Rule rule;
};
std::vector<RuleCase> rules() {
    const fib_rule_port_range ports{.start = 53, .end = 53};
    const fib_rule_uid_range uids{.start = 0, .end = 99};
    const fib_rule_hdr v4 = rule_header(AF_INET);
    const auto other = [](Rule& r) { r.other = true; };
    return {
        {rule_wire(v4), plain_rule("from all lookup 1000")},
        {Wire(RTM_NEWRULE, 0, rule_header(AF_INET)).attribute(FRA_TABLE, uint32_t{RT_TABLE_LOCAL}),
         with(plain_rule("from all lookup local"), [](Rule& r) { r.preference = 0, r.table = local_table; })},
        {rule_wire(rule_header(AF_INET, 16, 24)).address(FRA_SRC, "10.9.0.0").address(FRA_DST, "10.8.1.0"),
         with(plain_rule("from 10.9.0.0/16 to 10.8.1.0/24 lookup 1000"),
              [](Rule& r) { r.from = net("10.9.0.0/16"), r.to = net("10.8.1.0/24"); })},
        {rule_wire(rule_header(AF_INET6, 0, 48)).address(FRA_DST, "2001:db8:1::"),
         with(plain_rule("from all to 2001:db8:1::/48 lookup 1000"),
              [](Rule& r) { r.family = Family::ipv6, r.to = net("2001:db8:1::/48"); })},
        {rule_wire(v4).address(FRA_SRC, "0.0.0.0"), plain_rule("from all lookup 1000")},
        {rule_wire(rule_header(AF_INET, 0, 0, FR_ACT_TO_TBL, FIB_RULE_INVERT)).text(FRA_IIFNAME, "e0"),
         with(plain_rule("not from all iif e0 lookup 1000"), [](Rule& r) { r.iif = "e0", r.invert = true; })},
        {rule_wire(v4).text(FRA_OIFNAME, "e1"),
         with(plain_rule("from all oif e1 lookup 1000"), [](Rule& r) { r.oif = "e1"; })},
        {rule_wire(v4).attribute(FRA_FWMARK, uint32_t{7}).attribute(FRA_FWMASK, uint32_t{0xff}),
         with(plain_rule("from all fwmark 0x7/0xff lookup 1000"), other)},
        {rule_wire(v4).attribute(FRA_FWMARK, uint32_t{0}).attribute(FRA_FWMASK, uint32_t{0xff}),
         with(plain_rule("from all fwmark 0x0/0xff lookup 1000"), other)},
        {rule_wire(rule_header(AF_INET, 0, 0, FR_ACT_TO_TBL, 0, 16)),
         with(plain_rule("from all tos 0x10 lookup 1000"), other)},
        {rule_wire(v4).attribute(FRA_IP_PROTO, uint8_t{17}).attribute(FRA_DPORT_RANGE, ports),
         with(plain_rule("from all ipproto 17 dport 53 lookup 1000"), other)},
        {rule_wire(v4).attribute(FRA_UID_RANGE, uids),
         with(plain_rule("from all uidrange 0-99 lookup 1000"), [](Rule& r) { r.first_uid = 0; })},
        {rule_wire(v4).attribute(FRA_TUN_ID, uint64_t{1}),
         with(plain_rule(fmt::format("from all attribute {} lookup 1000", int{FRA_TUN_ID})), other)},
        {rule_wire(v4).attribute(99, uint32_t{1}),
         with(plain_rule("from all attribute 99 lookup 1000"), other)},
        {rule_wire(v4).attribute(FRA_L3MDEV, uint8_t{1}),
         with(plain_rule("from all lookup [l3mdev-table]"), [](Rule& r) { r.l3mdev = true; })},
        {rule_wire(v4).attribute(FRA_SUPPRESS_IFGROUP, uint32_t{3}),
         with(plain_rule("from all lookup 1000 suppress_ifgroup 3"), [](Rule& r) { r.suppress = true; })},
        {rule_wire(rule_header(AF_INET, 0, 0, FR_ACT_GOTO)).attribute(FRA_GOTO, uint32_t{200}),
         with(plain_rule("from all goto 200"), [](Rule& r) { r.action = FR_ACT_GOTO; })},
        {rule_wire(rule_header(AF_INET, 0, 0, FR_ACT_PROHIBIT)),
         with(plain_rule("from all prohibit"), [](Rule& r) { r.action = FR_ACT_PROHIBIT; })},
    };
}

TEST(DecodePolicy, Rules) {
    for (const RuleCase& c : rules()) {
        SCOPED_TRACE(c.rule.text);
        const auto got = decode_rule(payload(c.wire));
        ASSERT_TRUE(got.has_value()) << got.error().text();
        ASSERT_TRUE(got->has_value());
        EXPECT_EQ((*got)->text, c.rule.text);
        EXPECT_TRUE(**got == c.rule);
    }
    constexpr uint8_t of_multicast_routing = 128;  // RTNL_FAMILY_IPMR
    EXPECT_EQ(*decode_rule(payload(rule_wire(rule_header(of_multicast_routing)))), std::nullopt);
}

TEST(DecodePolicy, Switches) {
    netconfmsg header{};
    header.ncm_family = AF_INET;
    const auto of = [&](uint32_t ifindex, uint32_t forwarding, uint32_t filter, uint32_t multicast) {
        return Wire(RTM_NEWNETCONF, 0, header)
            .attribute(NETCONFA_IFINDEX, ifindex)
            .attribute(NETCONFA_FORWARDING, forwarding)
            .attribute(NETCONFA_RP_FILTER, filter)
            .attribute(NETCONFA_MC_FORWARDING, multicast);
    };
    const auto some = decode_switches(payload(of(10, 0, 2, 1)));
    ASSERT_TRUE(some.has_value() && some->has_value());
    EXPECT_TRUE(**some ==
                (SwitchesMessage{.family = Family::ipv4,
                                 .ifindex = e0,
                                 .switches = {.forwarding = false, .multicast = true, .rp_filter = 2}}));
    const auto all = decode_switches(payload(of(static_cast<uint32_t>(NETCONFA_IFINDEX_ALL), 1, 0, 0)));
    EXPECT_EQ((*all)->ifindex, all_devices);
    EXPECT_TRUE((*all)->switches == Switches{});
    header.ncm_family = AF_MPLS;
    EXPECT_EQ(*decode_switches(payload(of(10, 0, 0, 0))), std::nullopt);
    header.ncm_family = AF_INET6;
    EXPECT_EQ(decode_switches(payload(Wire(RTM_NEWNETCONF, 0, header))).error().what,
              "RTM_NEWNETCONF: malformed NETCONFA_IFINDEX");
}

Wire qdisc_wire(const char* kind) {
    tcmsg header{};
    header.tcm_ifindex = 10;
    header.tcm_handle = 0x80010000;
    header.tcm_parent = TC_H_ROOT;
    return Wire(RTM_NEWQDISC, 0, header).text(TCA_KIND, kind);
}

TEST(DecodePolicy, Qdiscs) {
    const Qdisc plain{.ifindex = e0, .kind = "tbf", .handle = 0x80010000, .parent = TC_H_ROOT};
    EXPECT_TRUE(**decode_qdisc(payload(qdisc_wire("tbf"))) == plain);
    Qdisc blocks = plain;
    blocks.kind = "clsact";
    blocks.ingress_block = true;
    EXPECT_TRUE(**decode_qdisc(payload(qdisc_wire("clsact").attribute(TCA_INGRESS_BLOCK, uint32_t{1}))) ==
                blocks);
    EXPECT_TRUE(blocks.hooks());
    for (const auto& [rate, paced] : {std::pair{0xffffffffU, false}, std::pair{125000U, true}}) {
        Payload options;
        append_attribute(options, TCA_FQ_FLOW_MAX_RATE, &rate, sizeof(rate));
        EXPECT_EQ((*decode_qdisc(payload(qdisc_wire("fq").nested(TCA_OPTIONS, options))))->paced, paced);
        EXPECT_FALSE((*decode_qdisc(payload(qdisc_wire("tbf").nested(TCA_OPTIONS, options))))->paced);
    }
    EXPECT_EQ(decode_qdisc(payload(Wire(RTM_NEWQDISC, 0, tcmsg{}))).error().what,
              "RTM_NEWQDISC: malformed TCA_KIND");
}

xfrm_userpolicy_info xfrm_info() {
    xfrm_userpolicy_info info{};
    info.sel.family = AF_INET;
    std::memcpy(&info.sel.saddr, ip("10.1.2.3").bytes.data(), 4);
    std::memcpy(&info.sel.daddr, ip("10.2.0.0").bytes.data(), 4);
    info.sel.prefixlen_s = 16;
    info.dir = XFRM_POLICY_FWD;
    info.action = XFRM_POLICY_BLOCK;
    return info;
}

TEST(DecodePolicy, Xfrm) {
    XfrmPolicy expected{
        .family = Family::ipv4, .source = net("10.1.0.0/16"), .direction = XFRM_POLICY_FWD, .block = true};
    EXPECT_TRUE(**decode_xfrm_policy(payload(Wire(0, 0, xfrm_info()))) == expected);
    expected.interface_id = 7;
    EXPECT_TRUE(**decode_xfrm_policy(payload(Wire(0, 0, xfrm_info()).attribute(XFRMA_IF_ID, 7U))) ==
                expected);
    xfrm_userpolicy_info info = xfrm_info();
    info.sel.prefixlen_d = 33;
    EXPECT_FALSE(decode_xfrm_policy(payload(Wire(0, 0, info))).has_value());
    info.sel.family = AF_INET6;
    EXPECT_EQ((*decode_xfrm_policy(payload(Wire(0, 0, info))))->destination->length, 33);
    info.sel.family = AF_UNSPEC;
    EXPECT_EQ(*decode_xfrm_policy(payload(Wire(0, 0, info))), std::nullopt);
    const auto blocks = [](uint8_t in, uint8_t fwd, uint8_t out) {
        return *decode_xfrm_default(
            payload(Wire(0, 0, xfrm_userpolicy_default{.in = in, .fwd = fwd, .out = out})));
    };
    EXPECT_FALSE(blocks(XFRM_USERPOLICY_BLOCK, XFRM_USERPOLICY_ACCEPT, XFRM_USERPOLICY_ACCEPT));
    EXPECT_TRUE(blocks(XFRM_USERPOLICY_ACCEPT, XFRM_USERPOLICY_BLOCK, XFRM_USERPOLICY_ACCEPT));
    EXPECT_TRUE(blocks(XFRM_USERPOLICY_ACCEPT, XFRM_USERPOLICY_ACCEPT, XFRM_USERPOLICY_BLOCK));
}

Wire link_wire(int32_t mtu, int32_t disabled) {
    std::array<int32_t, DEVCONF_DISABLE_IPV6 + 5> conf{};
    conf[DEVCONF_MTU6] = mtu;
    conf[DEVCONF_DISABLE_IPV6] = disabled;
    Payload inet6;
    append_attribute(inet6, IFLA_INET6_CONF, conf.data(), sizeof(conf));
    Payload families;
    append_attribute(families, AF_INET, "\0\0\0", 4);
    append_attribute(families, AF_INET6, inet6.data(), inet6.size());
    return Wire(RTM_NEWLINK, 0, ifinfomsg{}).nested(IFLA_AF_SPEC, families);
}

TEST(DecodePolicy, Ipv6OfALink) {
    EXPECT_TRUE(*decode_link_ipv6(payload(link_wire(1400, 0))) == (LinkIpv6{.mtu = 1400}));
    EXPECT_TRUE(*decode_link_ipv6(payload(link_wire(1500, 1))) == (LinkIpv6{.disabled = true, .mtu = 1500}));
    Payload families;
    append_attribute(families, AF_INET, "\0\0\0", 4);
    EXPECT_TRUE(
        *decode_link_ipv6(payload(Wire(RTM_NEWLINK, 0, ifinfomsg{}).nested(IFLA_AF_SPEC, families))) ==
        LinkIpv6{.present = false});
    EXPECT_TRUE(*decode_link_ipv6(payload(Wire(RTM_NEWLINK, 0, ifinfomsg{}))) == LinkIpv6{})
        << "a link that doesn't tell is as before";
}

// ASan sees a read past the end: each copy has its own allocation of exactly that size.
TEST(DecodePolicy, CutAndFlipped) {
    const auto seed = std::random_device{}();
    SCOPED_TRACE(testing::Message() << "seed " << seed);
    std::mt19937 random(seed);
    std::vector<Payload> all = {payload(link_wire(1400, 0)), payload(Wire(0, 0, xfrm_info())),
                                payload(qdisc_wire("fq").nested(TCA_OPTIONS, Payload(8)))};
    for (const RuleCase& c : rules()) {
        all.push_back(payload(c.wire));
    }
    size_t understood = 0;
    const auto decode_all = [&understood](const Payload& p) {
        understood += decode_rule(p).has_value() ? 1 : 0;
        understood += decode_switches(p).has_value() ? 1 : 0;
        understood += decode_qdisc(p).has_value() ? 1 : 0;
        understood += decode_xfrm_policy(p).has_value() ? 1 : 0;
        understood += decode_xfrm_default(p).has_value() ? 1 : 0;
        understood += decode_link_ipv6(p).has_value() ? 1 : 0;
    };
    for (const Payload& whole : all) {
        for (size_t size = 0; size <= whole.size(); ++size) {
            Payload cut(whole.begin(), whole.begin() + static_cast<ptrdiff_t>(size));
            cut.shrink_to_fit();
            decode_all(cut);
        }
        for (int i = 0; i < 1000; ++i) {
            Payload flipped = whole;
            for (auto n = 1 + random() % 3; n > 0; --n) {
                flipped[random() % flipped.size()] = static_cast<std::byte>(random() & 0xff);
            }
            decode_all(flipped);
        }
    }
    EXPECT_GT(understood, 0U);
    for (size_t size = 0; size < sizeof(fib_rule_hdr); ++size) {
        EXPECT_FALSE(decode_rule(Payload(size)).has_value());
    }
}

}  // namespace
}  // namespace millrace::sync::test
