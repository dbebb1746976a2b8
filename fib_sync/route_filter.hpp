// SPDX-License-Identifier: BSD-3-Clause
// Which prefixes `show routes` is asked for. Control thread only.
#pragma once

#include <bitset>
#include <optional>

#include "fib_sync/mirror.hpp"
#include "fib_sync/show_words.hpp"
#include "millrace/rows.hpp"

namespace millrace::sync {

struct RouteFilter {
    // Where to look. Nothing of these: everywhere.
    enum class Where : uint8_t { everywhere, exact, longer, lookup };
    Where where = Where::everywhere;
    Prefix prefix;       // exact: this one; longer: it and all within; lookup: the address as a host prefix
    bool count = false;  // rows are not wanted, their number is

    // What a prefix's group must be; nullopt = any.
    std::optional<NexthopId> nexthop;
    std::optional<Outcome> outcome;
    std::optional<IpAddress> gateway;  // one of the next hops
    std::optional<Ifindex> interface;  // one of the next hops', or the one it is connected to
    // What its route must be: RTPROT_*, and one place more for neighbours' host routes.
    static constexpr size_t neighbor = 256;
    std::optional<std::bitset<neighbor + 1>> protocols;

    // The family that can match at all; nullopt = both.
    std::optional<Family> family;

    [[nodiscard]] bool takes(const Groups& groups, const Groups::Group& group) const;
    [[nodiscard]] bool takes_protocol(const Mirror::Entry& entry) const;
    // Nothing but the group and the family decides.
    [[nodiscard]] bool by_group_alone() const { return where == Where::everywhere && !protocols; }
};

// Arguments, each of which may be missing: family = ipv4 | ipv6; prefix, with match = exact (as without it) |
// longer; lookup = an address; via = a gateway's address or an interface's name; nexthop_id; outcome =
// forward | glean | punt | drop; protocol = a name as rows have it, or a number; count = true.
// Error: one line in the operator's words; also for a name that is none of these, or two that exclude each
// other.
[[nodiscard]] Result<RouteFilter> parse_route_filter(const ShowArguments& arguments, const Links& links);

}  // namespace millrace::sync
