// SPDX-License-Identifier: BSD-3-Clause
#include "fib_sync/keeps_of_rules.hpp"

#include <fmt/core.h>
#include <linux/fib_rules.h>

#include <algorithm>

namespace millrace::sync {
namespace {

bool for_all_packets(const Rule& r) {
    return !r.invert && !r.l3mdev && !r.from && !r.to && r.iif.empty() && r.oif.empty() && !r.first_uid &&
           !r.other;
}

const RulePort* port_named(std::span<const RulePort> ports, const std::string& name) {
    const auto found =
        std::find_if(ports.begin(), ports.end(), [&](const RulePort& p) { return p.name == name; });
    return found == ports.end() ? nullptr : &*found;
}

// No packet in transit between ports meets it. A lookup for transit has the ingress device, no output device,
// and the uid 0 (sock_net_uid without a socket). The reverse path filter's has the egress device as iif.
bool never_for_transit(const Rule& r, std::span<const RulePort> ports) {
    if (r.action == FR_ACT_NOP || r.l3mdev) {
        return true;
    }
    if (r.invert) {
        return false;
    }
    return !r.oif.empty() || (r.first_uid && *r.first_uid != 0) ||
           (!r.iif.empty() && port_named(ports, r.iif) == nullptr);
}

void keep_rule(const Rule& r, std::span<const RulePort> ports, std::vector<Keep>& keeps) {
    Keep keep{.cause = KeepCause::rule, .family = r.family};
    keep.text = fmt::format("policy rule {}: {}", r.preference, r.text);
    if (!r.invert) {
        keep.port = r.iif;
        keep.prefix = more_specific(r.from, r.to);
    }
    keeps.push_back(keep);
    if (keep.port.empty() || r.family == Family::ipv6) {
        return;
    }
    // __fib_validate_source looks up the way back as if the packet came in where it goes out.
    for (const RulePort& port : ports) {
        if (port.reverse_path && port.name != r.iif) {
            Keep other = keep;
            other.port = port.name;
            other.text += " (reverse path filter)";
            keeps.push_back(std::move(other));
        }
    }
}

}  // namespace

std::optional<Prefix> more_specific(const std::optional<Prefix>& a, const std::optional<Prefix>& b) {
    return !a || (b && b->length > a->length) ? b : a;
}

// The fast path knows two steps: the local table, then main. So any rule before main that could tell
// otherwise keeps the packets it is for. What comes behind main is asked only where main has no route, and
// those packets punt.
std::vector<Keep> keeps_of_rules(Family family, std::span<const Rule> rules,
                                 std::span<const RulePort> ports) {
    std::vector<Keep> keeps;
    bool local = false;
    for (const Rule& r : rules) {
        if (never_for_transit(r, ports)) {
            continue;
        }
        const bool lookup = r.action == FR_ACT_TO_TBL;
        if (lookup && r.table == local_table && (local || (for_all_packets(r) && !r.suppress))) {
            local = true;  // a second time it finds nothing new
        } else if (lookup && r.table == main_table && local) {
            // Finds what main has, or the rules go on, at last to main again: the same.
            if (for_all_packets(r) && !r.suppress) {
                return keeps;
            }
        } else {
            keep_rule(r, ports, keeps);
        }
    }
    keeps.push_back({.cause = KeepCause::rule,
                     .family = family,
                     .text = "no policy rule that looks up table local, and then main, for all packets"});
    return keeps;
}

}  // namespace millrace::sync
