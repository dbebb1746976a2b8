// SPDX-License-Identifier: BSD-3-Clause
#include <fmt/core.h>
#include <linux/fib_rules.h>
#include <linux/rtnetlink.h>

#include "fib_sync/decode_policy.hpp"
#include "fib_sync/decode_route.hpp"

namespace millrace::sync {
namespace {

constexpr uint32_t not_set = 0xffffffff;  // FRA_SUPPRESS_*

std::string table_name(TableId table) {
    switch (raw(table)) {
        case RT_TABLE_MAIN:
            return "main";
        case RT_TABLE_LOCAL:
            return "local";
        case RT_TABLE_DEFAULT:
            return "default";
        default:
            return std::to_string(raw(table));
    }
}

// What a rule says beyond the fields that Rule has; gathered for its text.
struct RuleDetails {
    std::string conditions;
    uint32_t mark = 0;
    uint32_t mask = 0;
    bool marked = false;
    uint32_t target = 0;
    std::string suppress;
};

std::string range_text(const fib_rule_port_range& r) {
    return r.start == r.end ? std::to_string(r.start) : fmt::format("{}-{}", r.start, r.end);
}

std::string rule_text(const Rule& rule, const RuleDetails& d) {
    std::string s = rule.invert ? "not " : "";
    s += "from " + (rule.from ? rule.from->text() : "all");
    s += rule.to ? " to " + rule.to->text() : "";
    s += d.marked ? fmt::format(" fwmark {:#x}/{:#x}", d.mark, d.mask) : "";
    s += rule.iif.empty() ? "" : " iif " + rule.iif;
    s += rule.oif.empty() ? "" : " oif " + rule.oif;
    s += d.conditions;
    switch (rule.action) {
        case FR_ACT_TO_TBL:
            s += " lookup " + (rule.l3mdev ? "[l3mdev-table]" : table_name(rule.table));
            break;
        case FR_ACT_GOTO:
            s += fmt::format(" goto {}", d.target);
            break;
        case FR_ACT_NOP:
            s += " nop";
            break;
        case FR_ACT_BLACKHOLE:
            s += " blackhole";
            break;
        case FR_ACT_UNREACHABLE:
            s += " unreachable";
            break;
        case FR_ACT_PROHIBIT:
            s += " prohibit";
            break;
        default:
            s += fmt::format(" action {}", rule.action);
    }
    return s + d.suppress;
}

// The name of the attribute when its value is malformed, else empty.
std::string_view read_rule_attribute(const Attribute& a, const fib_rule_hdr& header, Rule& rule,
                                     RuleDetails& d) {
    const auto number = read<uint32_t>(a.value);
    switch (a.type) {
        case FRA_SRC:
        case FRA_DST: {
            const bool source = a.type == FRA_SRC;
            const unsigned length = source ? header.src_len : header.dst_len;
            const auto address = address_of(a.value);
            if (!address || address->family != rule.family || length > address_bits(rule.family)) {
                return source ? "FRA_SRC" : "FRA_DST";
            }
            (source ? rule.from : rule.to) = longer_than_0(*address, length);
            return {};
        }
        case FRA_IIFNAME:
            rule.iif = text_of(a.value);
            return {};
        case FRA_OIFNAME:
            rule.oif = text_of(a.value);
            return {};
        case FRA_PRIORITY:
            rule.preference = number.value_or(0);
            return number ? "" : "FRA_PRIORITY";
        case FRA_TABLE:
            rule.table = TableId{number.value_or(0)};
            return number ? "" : "FRA_TABLE";
        case FRA_GOTO:
            d.target = number.value_or(0);
            return number ? "" : "FRA_GOTO";
        case FRA_FWMARK:
        case FRA_FWMASK:
            (a.type == FRA_FWMARK ? d.mark : d.mask) = number.value_or(0);
            return number ? "" : "FRA_FWMARK";
        case FRA_L3MDEV:
            rule.l3mdev = read<uint8_t>(a.value).value_or(0) != 0;
            return a.value.empty() ? "FRA_L3MDEV" : "";
        case FRA_UID_RANGE: {
            const auto range = read<fib_rule_uid_range>(a.value);
            if (!range) {
                return "FRA_UID_RANGE";
            }
            rule.first_uid = range->start;
            d.conditions += fmt::format(" uidrange {}-{}", range->start, range->end);
            return {};
        }
        case FRA_SUPPRESS_PREFIXLEN:
        case FRA_SUPPRESS_IFGROUP:
            // All ones = not set; the kernel tells the prefix length always.
            if (number && *number != not_set) {
                rule.suppress = true;
                d.suppress += fmt::format(
                    " {} {}", a.type == FRA_SUPPRESS_PREFIXLEN ? "suppress_prefixlength" : "suppress_ifgroup",
                    *number);
            }
            return number ? "" : "FRA_SUPPRESS";
        case FRA_IP_PROTO:
            rule.other = true;
            d.conditions += fmt::format(" ipproto {}", read<uint8_t>(a.value).value_or(0));
            return a.value.empty() ? "FRA_IP_PROTO" : "";
        case FRA_SPORT_RANGE:
        case FRA_DPORT_RANGE: {
            const auto range = read<fib_rule_port_range>(a.value);
            if (!range) {
                return "FRA_PORT_RANGE";
            }
            rule.other = true;
            d.conditions += (a.type == FRA_SPORT_RANGE ? " sport " : " dport ") + range_text(*range);
            return {};
        }
        case FRA_UNSPEC:
        case FRA_PROTOCOL:  // who made it
        case FRA_PAD:
        case FRA_FLOW:  // realms: a label for statistics
            return {};
        default:
            rule.other = true;
            d.conditions += fmt::format(" attribute {}", a.type);
            return {};
    }
}

}  // namespace

Result<std::optional<Rule>> decode_rule(Bytes payload) {
    constexpr std::string_view name = "RTM_NEWRULE";
    const auto header = read<fib_rule_hdr>(payload);
    if (!header) {
        return bad(name, "header");
    }
    const auto family = family_of(header->family);
    if (!family) {
        return std::nullopt;  // multicast routing has rules of its own
    }
    Rule rule;
    rule.family = *family;
    rule.action = header->action;
    rule.table = TableId{header->table};
    rule.invert = (header->flags & FIB_RULE_INVERT) != 0;
    RuleDetails details;
    if (header->tos != 0) {
        rule.other = true;
        details.conditions += fmt::format(" tos {:#x}", header->tos);
    }
    AttributeReader reader(after(payload, sizeof(fib_rule_hdr)));
    while (const auto a = reader.next()) {
        if (const auto wrong = read_rule_attribute(*a, *header, rule, details); !wrong.empty()) {
            return bad(name, wrong);
        }
    }
    if (reader.malformed()) {
        return bad(name, "attribute");
    }
    if (details.mark != 0 || details.mask != 0) {
        details.marked = rule.other = true;
    }
    rule.text = rule_text(rule, details);
    return rule;
}

}  // namespace millrace::sync
