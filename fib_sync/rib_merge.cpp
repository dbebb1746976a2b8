// SPDX-License-Identifier: BSD-3-Clause
// What a route message does to the routes of one prefix. The rules are the kernel's: fib_table_insert and
// fib_table_delete (net/ipv4/fib_trie.c), fib6_add_rt2node (net/ipv6/ip6_fib.c).
#include <linux/rtnetlink.h>

#include <algorithm>
#include <tuple>

#include "fib_sync/rib.hpp"

namespace millrace::sync {
namespace {

// The kernel looks at higher TOS first (fib_insert_alias) and then at lower metrics.
auto key(const Route& r) {
    return std::make_tuple(!r.local, static_cast<uint8_t>(~r.tos), r.metric);
}

bool same_way(const Path& a, const Path& b) {
    return a.ifindex == b.ifindex && a.gateway == b.gateway;
}

// By a nexthop object, a route is a blackhole when its object is one, and may turn into the other without a
// message of its own.
bool same_type(const Route& a, const Route& b) {
    const auto follows = [](const Route& r) {
        return r.nexthop != NexthopId{} && (r.type == RTN_UNICAST || r.type == RTN_BLACKHOLE);
    };
    return a.type == b.type || (follows(a) && follows(b));
}

// Is it the same route to the kernel? State flags come and go without making it another one.
bool identical(const Route& a, const Route& b) {
    return same_type(a, b) && a.scope == b.scope && a.protocol == b.protocol && a.rest == b.rest &&
           a.nexthop == b.nexthop && a.unsupported == b.unsupported && a.encapsulation == b.encapsulation &&
           std::equal(a.paths.begin(), a.paths.end(), b.paths.begin(), b.paths.end(),
                      [](const Path& x, const Path& y) { return same_way(x, y) && x.weight == y.weight; });
}

// rt6_qualify_for_ecmp: IPv6 routes of one key with a gateway are paths of one multipath route.
bool joins(const Route& r) {
    return r.type == RTN_UNICAST && r.nexthop == NexthopId{} && !r.unsupported && !r.encapsulation &&
           std::all_of(r.paths.begin(), r.paths.end(), [](const Path& p) { return p.gateway.has_value(); });
}

Route make_route(const RouteMessage& m, uint32_t generation) {
    return {.local = m.table == local_table,
            .unsupported = m.unsupported,
            .encapsulation = m.encapsulation,
            .tos = m.tos,
            .type = m.type,
            .protocol = m.protocol,
            .scope = m.scope,
            .preference = m.preference,
            .metric = m.metric,
            .rest = m.rest,
            .seen = generation,
            .nexthop = m.nexthop,
            // Compatibility's expanded hops may be out of date: the id rules.
            .paths = m.nexthop == NexthopId{} ? m.paths : std::vector<Path>{}};
}

// Adds the paths of more that into does not have. True when there was one.
bool join_paths(Route& into, const Route& more) {
    bool added = false;
    for (const Path& p : more.paths) {
        if (std::none_of(into.paths.begin(), into.paths.end(),
                         [&](const Path& q) { return same_way(p, q); })) {
            into.paths.push_back(p);
            added = true;
        }
    }
    return added;
}

// An equal route is announced anew: is anything different that matters?
bool refresh(Route& old, Route&& route) {
    const bool changed = old.paths != route.paths || old.preference != route.preference;
    old = std::move(route);
    return changed;
}

}  // namespace

Rib::Change Rib::apply(PrefixEntry& entry, const RouteMessage& message, uint32_t generation, bool dump) {
    Route route = make_route(message, generation);
    if (message.removed) {
        return remove(entry.routes, route, message);
    }
    return dump ? add_dumped(entry.routes, std::move(route)) : add(entry.routes, std::move(route), message);
}

Rib::Change Rib::add_dumped(Routes& routes, Route route) {
    // Those of this key that the dump has told so far come first, in its order; others await the sweep.
    size_t at = 0;
    while (at < routes.size() && key(routes[at]) < key(route)) {
        ++at;
    }
    for (; at < routes.size() && key(routes[at]) == key(route) && routes[at].seen == route.seen; ++at) {
        if (identical(routes[at], route)) {
            return {};
        }
    }
    for (size_t i = at; i < routes.size() && key(routes[i]) == key(route); ++i) {
        if (!identical(routes[i], route)) {
            continue;
        }
        const bool moved = i != at;
        std::rotate(routes.begin() + static_cast<ptrdiff_t>(at), routes.begin() + static_cast<ptrdiff_t>(i),
                    routes.begin() + static_cast<ptrdiff_t>(i) + 1);
        return {.changed = refresh(routes[at], std::move(route)) || moved};
    }
    insert(routes, at, std::move(route));
    return {.changed = true};
}

Rib::Change Rib::add(Routes& routes, Route route, const RouteMessage& message) {
    size_t first = 0;
    while (first < routes.size() && key(routes[first]) < key(route)) {
        ++first;
    }
    size_t last = first;
    while (last < routes.size() && key(routes[last]) == key(route)) {
        ++last;
    }
    if (message.exclusive && last > first) {
        // The kernel had none of this key: ours went without a message.
        if (last - first == 1 && identical(routes[first], route)) {
            return {.changed = refresh(routes[first], std::move(route))};
        }
        while (last > first + 1) {
            erase(routes, --last);
        }
        assign(routes, first, std::move(route));
        return {.changed = true};
    }
    return message.prefix.address.family == Family::ipv4
               ? add_ipv4(routes, first, last, std::move(route), message)
               : add_ipv6(routes, first, last, std::move(route), message);
}

Rib::Change Rib::add_ipv4(Routes& routes, size_t first, size_t last, Route route,
                          const RouteMessage& message) {
    size_t twin = first;
    while (twin < last && !identical(routes[twin], route)) {
        ++twin;
    }
    if (message.replace && last > first) {
        // Replayed over a dump that is newer, the first of several may not be the one that was replaced; and
        // one of the others may be, brought back by an older message.
        const bool ambiguous = last - first > 1;
        if (twin == first) {
            return {.changed = refresh(routes[first], std::move(route)), .ambiguous = ambiguous};
        }
        if (twin < last) {
            erase(routes, twin);
        }
        assign(routes, first, std::move(route));
        return {.changed = true, .replaced = true, .ambiguous = ambiguous};
    }
    if (twin < last) {
        const bool moved = !message.append && twin != first;
        if (moved) {
            std::rotate(routes.begin() + static_cast<ptrdiff_t>(first),
                        routes.begin() + static_cast<ptrdiff_t>(twin),
                        routes.begin() + static_cast<ptrdiff_t>(twin) + 1);
            twin = first;
        }
        return {.changed = refresh(routes[twin], std::move(route)) || moved};
    }
    // Neither replace nor append: `ip route prepend`.
    insert(routes, message.append ? last : first, std::move(route));
    return {.changed = true};
}

Rib::Change Rib::add_ipv6(Routes& routes, size_t first, size_t last, Route route,
                          const RouteMessage& message) {
    const bool joining = joins(route);
    size_t like = first;
    while (like < last && joins(routes[like]) != joining) {
        ++like;
    }
    if (message.replace && last > first) {
        const size_t target = like < last ? like : first;
        const bool several = last - first > 1;
        if (identical(routes[target], route)) {
            return {.changed = refresh(routes[target], std::move(route)), .ambiguous = several};
        }
        // A multipath route that replaces one takes all others of the metric along, without a message.
        const bool takes_all = several && route.paths.size() > 1;
        assign(routes, target, std::move(route));
        return {.changed = true, .missing = takes_all, .replaced = true, .ambiguous = several};
    }
    if (joining && like < last) {
        // Kernels announce the whole route after each change; before 4.11 each path was a message.
        if (route.paths.size() == 1 && message.append) {
            return {.changed = join_paths(routes[like], route)};
        }
        const bool changed = !identical(routes[like], route);
        const bool refreshed = refresh(routes[like], std::move(route));
        return {.changed = changed || refreshed};
    }
    for (size_t i = first; i < last; ++i) {
        if (identical(routes[i], route)) {
            return {.changed = refresh(routes[i], std::move(route))};
        }
    }
    insert(routes, last, std::move(route));
    return {.changed = true};
}

Rib::Change Rib::remove(Routes& routes, const Route& route, const RouteMessage& message) {
    bool same_key = false;
    for (size_t i = 0; i < routes.size(); ++i) {
        if (key(routes[i]) != key(route)) {
            continue;
        }
        same_key = true;
        if (identical(routes[i], route)) {
            erase(routes, i);
            return {.changed = true};
        }
    }
    if (message.prefix.address.family == Family::ipv6 && joins(route)) {
        for (size_t i = 0; i < routes.size(); ++i) {
            if (key(routes[i]) != key(route) || !joins(routes[i])) {
                continue;
            }
            const size_t gone = std::erase_if(routes[i].paths, [&](const Path& p) {
                return std::any_of(route.paths.begin(), route.paths.end(),
                                   [&](const Path& q) { return same_way(p, q); });
            });
            if (routes[i].paths.empty()) {
                erase(routes, i);
            }
            return {.changed = gone != 0, .missing = gone != route.paths.size()};
        }
    }
    return {.changed = false, .missing = same_key};
}

}  // namespace millrace::sync
