// SPDX-License-Identifier: BSD-3-Clause
// What is left to the kernel beyond the single packet's own look, and why: the mirror finds it out, steering
// acts on it, the operator sees it.
#pragma once

#include <compare>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "millrace/reason.hpp"
#include "millrace/types.hpp"

namespace millrace {

// X(constant, name)
#define MILLRACE_KEEP_CAUSES(X)       \
    X(configuration, "configuration") \
    X(rule, "rule")                   \
    X(forwarding, "forwarding")       \
    X(master, "master")               \
    X(qdisc, "qdisc")                 \
    X(filter, "filter")               \
    X(xfrm, "xfrm")                   \
    X(multicast, "multicast")         \
    X(taken, "taken")                 \
    X(tags, "vlan_tags")              \
    X(local, "local")                 \
    X(netfilter, "netfilter")         \
    X(bypass, "bypass")               \
    X(limit, "limit")                 \
    X(learned, "learned")             \
    X(punts, "punts")                 \
    X(heartbeat, "heartbeat")         \
    X(routes, "routes")

enum class KeepCause : uint8_t {
#define MILLRACE_X(constant, name) constant,
    MILLRACE_KEEP_CAUSES(MILLRACE_X)
#undef MILLRACE_X
};

#define MILLRACE_X(constant, name) +1
inline constexpr unsigned keep_cause_count = 0 MILLRACE_KEEP_CAUSES(MILLRACE_X);
#undef MILLRACE_X

constexpr std::string_view name(KeepCause c) {
    constexpr std::string_view names[] = {
#define MILLRACE_X(constant, name) name,
        MILLRACE_KEEP_CAUSES(MILLRACE_X)
#undef MILLRACE_X
    };
    return names[static_cast<unsigned>(c)];
}

// A set of packets: all conditions that are given must hold.
struct Keep {
    KeepCause cause = KeepCause::rule;
    std::string port{};              // that they come in on, or leave over where egress is set; empty = any
    bool egress = false;             // the adjacencies over the port punt; steering has nothing to do
    std::optional<Family> family{};  // none = both
    std::optional<Prefix> prefix{};  // source or destination is in it
    std::string text{};  // one line, in the operator's words: "policy rule 100: fwmark 0x1 lookup 7"

    auto operator<=>(const Keep&) const = default;
    // "all", "IPv4", "10.0.0.0/8", "egress": the part of the port's traffic.
    [[nodiscard]] std::string what() const {
        if (egress) {
            return "egress";
        }
        if (prefix) {
            return prefix->text();
        }
        return !family ? "all" : *family == Family::ipv4 ? "IPv4" : "IPv6";
    }
};

// Prefixes whose routes the fast path can't express.
struct KeptRoutes {
    Reason reason = Reason::punt_unsupported;
    uint64_t prefixes = 0;
};

}  // namespace millrace
