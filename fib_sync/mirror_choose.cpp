// SPDX-License-Identifier: BSD-3-Clause
// What a prefix does, from its routes, and what a host does that has none.
#include <linux/rtnetlink.h>

#include <algorithm>

#include "fib_sync/mirror.hpp"

namespace millrace::sync {
namespace {

// Neighbours that no unicast packet is forwarded to by a route of its own: link-local gateways serve their
// own link only (RFC 4291 2.5.6), and the kernel keeps NOARP entries for groups it sends to.
bool never_a_host_route(const IpAddress& a) {
    if (a.family == Family::ipv4) {
        return a.bytes[0] >= 224;
    }
    return a.bytes[0] == 0xff || (a.bytes[0] == 0xfe && (a.bytes[1] & 0xc0) == 0x80);
}

Forwarding punt(Reason reason) {
    return {.reason = reason, .hops = {}, .glean = {}};
}

}  // namespace

bool Mirror::in_local_prefix(const Prefix& prefix) const {
    return std::any_of(wide_locals_.begin(), wide_locals_.end(), [&](const Prefix& wide) {
        return wide.length < prefix.length && wide.contains(prefix.address);
    });
}

Mirror::Choice Mirror::choose(const Prefix& prefix, const PrefixEntry& entry, const Route& best) const {
    if (best.local) {
        const bool plain = best.type == RTN_LOCAL || best.type == RTN_BROADCAST || best.type == RTN_ANYCAST ||
                           best.type == RTN_MULTICAST;
        return Choice{{}, punt(plain && best.tos == 0 ? Reason::punt_local : Reason::punt_unsupported)};
    }
    // The kernel looks the local table up first, as a whole: a short prefix there beats a long one here.
    if (in_local_prefix(prefix)) {
        return Choice{{}, punt(Reason::punt_local)};
    }
    if (best.encapsulation) {
        return Choice{{}, punt(Reason::punt_encapsulation)};
    }
    // Routes by TOS are the kernel's alone; the highest TOS comes first. So are several IPv6 routes of one
    // metric that are not one multipath route: it looks at preference (RFC 4191), at which router is
    // reachable, and at an order that changes when a path of the first is deleted (rt6_select). Link-local
    // prefixes, one for each link, are no transit's.
    const Route* second = rib_.second(prefix, entry);
    const bool several = prefix.address.family == Family::ipv6 && second != nullptr &&
                         second->metric == best.metric && !never_a_host_route(prefix.address);
    // Below a prefix with a route by source the kernel has a tree of sources, and where none of them fits, it
    // goes on to a wider prefix, not to the plain route (fib6_node_lookup_1).
    const bool by_source = rib_.by_source(prefix, entry);
    if (best.tos != 0 || best.unsupported || several || by_source || rib_.untold(prefix, entry) ||
        may_have_ended(prefix, best)) {
        return Choice{{}, punt(Reason::punt_unsupported)};
    }
    const bool unicast = best.type == RTN_UNICAST;
    if (best.nexthop != NexthopId{} && (unicast || best.type == RTN_BLACKHOLE)) {
        return Choice{best.nexthop, nexthops_.resolve(best.nexthop, links_)};
    }
    if (unicast) {
        const Forwarding content = resolve_paths(best.paths, links_);
        // A host connected by a route of its own: the far end of a point-to-point address, for one.
        const auto host = prefix.is_host() ? choose_neighbour(prefix.address, content.glean) : std::nullopt;
        return host ? *host : Choice{{}, content};
    }
    switch (best.type) {
        case RTN_BLACKHOLE:
            return Choice{{}, punt(Reason::drop_blackhole)};
        case RTN_UNREACHABLE:
        case RTN_PROHIBIT:
            return Choice{{}, punt(Reason::punt_unreachable)};
        default:
            return Choice{{}, punt(Reason::punt_unsupported)};
    }
}

std::optional<Mirror::Choice> Mirror::choose_host(const IpAddress& address) const {
    if (never_a_host_route(address)) {
        return std::nullopt;
    }
    const auto cover = rib_.longest_match(address);
    return cover ? choose_neighbour(address, rib_.glean(*cover)) : std::nullopt;
}

// glean: of the prefix that the address is in; none = it is not connected.
std::optional<Mirror::Choice> Mirror::choose_neighbour(const IpAddress& address, Ifindex glean) const {
    const Neighbor* neighbour = glean == Ifindex{} ? nullptr : neighbours_.find({address, glean});
    if (neighbour == nullptr || !neighbour->usable()) {
        return std::nullopt;
    }
    return Choice{{}, Forwarding{Reason::forwarded, {Hop{glean, address, 1}}, {}, true}};
}

}  // namespace millrace::sync
