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

// Do both steer packets alike, and is each as good as the other to the kernel? Path flags other than
// RTNH_F_DEAD come and go without a meaning.
bool same(const Route& a, const Route& b) {
    return identical(a, b) && a.preference == b.preference &&
           std::equal(a.paths.begin(), a.paths.end(), b.paths.begin(),
                      [](const Path& x, const Path& y) { return ((x.flags ^ y.flags) & RTNH_F_DEAD) == 0; });
}

void set_route(Route& route, const RouteMessage& m) {
    route.local = m.table == local_table;
    route.unsupported = m.unsupported;
    route.encapsulation = m.encapsulation;
    route.tos = m.tos;
    route.type = m.type;
    route.protocol = m.protocol;
    route.scope = m.scope;
    route.preference = m.preference;
    route.metric = m.metric;
    route.rest = m.rest;
    route.nexthop = m.nexthop;
    route.paths.clear();
    // Compatibility's expanded hops may be out of date: the id rules.
    if (m.nexthop == NexthopId{}) {
        route.paths.assign(m.paths.begin(), m.paths.end());
    }
}

}  // namespace

// An equal route is announced anew: is anything different that matters?
bool Rib::refresh(Held& held, const Route& route) {
    const Route& old = get(held);
    if (old == route) {
        held.seen = generation_;
        held.round = round_;
        return false;
    }
    const bool changed = old.paths != route.paths || old.preference != route.preference;
    assign(held, route);
    return changed;
}

// Adds the paths of more that the route does not have. True when there was one.
bool Rib::join_paths(Held& held, const Route& more) {
    Route joined = get(held);
    for (const Path& p : more.paths) {
        if (std::none_of(joined.paths.begin(), joined.paths.end(),
                         [&](const Path& q) { return same_way(p, q); })) {
            joined.paths.push_back(p);
        }
    }
    const bool added = joined.paths.size() != get(held).paths.size();
    if (added) {
        assign(held, joined);
    }
    return added;
}

Rib::Change Rib::apply(PrefixEntry& entry, const RouteMessage& message, bool dump) {
    set_route(incoming_, message);
    Routes& routes = load(message.prefix, entry);
    Change change;
    if (message.removed) {
        change = remove(routes, incoming_, message);
    } else if (dump) {
        change = add_dumped(routes, incoming_);
    } else {
        change = add(routes, incoming_, message);
    }
    store(message.prefix, entry, routes);
    return change;
}

bool Rib::confirm(const RouteMessage& message) {
    PrefixEntry* entry = find(message.prefix);
    if (entry == nullptr) {
        return false;
    }
    set_route(incoming_, message);
    Routes& routes = load(message.prefix, *entry);
    for (Held& held : routes) {
        if (key(get(held)) == key(incoming_) && same(get(held), incoming_)) {
            held.round = round_;
            store(message.prefix, *entry, routes);
            return true;
        }
    }
    return false;
}

Rib::Change Rib::add_dumped(Routes& routes, const Route& route) {
    // Those of this key that the dump has told so far come first, in its order; others await the sweep.
    size_t at = 0;
    while (at < routes.size() && key(get(routes[at])) < key(route)) {
        ++at;
    }
    for (; at < routes.size() && key(get(routes[at])) == key(route) && routes[at].seen == generation_; ++at) {
        if (identical(get(routes[at]), route)) {
            return {};
        }
    }
    for (size_t i = at; i < routes.size() && key(get(routes[i])) == key(route); ++i) {
        if (!identical(get(routes[i]), route)) {
            continue;
        }
        const bool moved = i != at;
        std::rotate(routes.begin() + static_cast<ptrdiff_t>(at), routes.begin() + static_cast<ptrdiff_t>(i),
                    routes.begin() + static_cast<ptrdiff_t>(i) + 1);
        return {.changed = refresh(routes[at], route) || moved};
    }
    insert(routes, at, route);
    return {.changed = true};
}

Rib::Change Rib::add(Routes& routes, const Route& route, const RouteMessage& message) {
    size_t first = 0;
    while (first < routes.size() && key(get(routes[first])) < key(route)) {
        ++first;
    }
    size_t last = first;
    while (last < routes.size() && key(get(routes[last])) == key(route)) {
        ++last;
    }
    if (message.exclusive && last > first) {
        // The kernel had none of this key: ours went without a message.
        if (last - first == 1 && identical(get(routes[first]), route)) {
            return {.changed = refresh(routes[first], route)};
        }
        while (last > first + 1) {
            erase(routes, --last);
        }
        assign(routes[first], route);
        return {.changed = true};
    }
    return message.prefix.address.family == Family::ipv4 ? add_ipv4(routes, first, last, route, message)
                                                         : add_ipv6(routes, first, last, route, message);
}

Rib::Change Rib::add_ipv4(Routes& routes, size_t first, size_t last, const Route& route,
                          const RouteMessage& message) {
    size_t twin = first;
    while (twin < last && !identical(get(routes[twin]), route)) {
        ++twin;
    }
    if (message.replace && last > first) {
        // Replayed over a dump that is newer, the first of several may not be the one that was replaced; and
        // one of the others may be, brought back by an older message.
        const bool ambiguous = last - first > 1;
        if (twin == first) {
            return {.changed = refresh(routes[first], route), .ambiguous = ambiguous};
        }
        if (twin < last) {
            erase(routes, twin);
        }
        assign(routes[first], route);
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
        return {.changed = refresh(routes[twin], route) || moved};
    }
    // Neither replace nor append: `ip route prepend`.
    insert(routes, message.append ? last : first, route);
    return {.changed = true};
}

Rib::Change Rib::add_ipv6(Routes& routes, size_t first, size_t last, const Route& route,
                          const RouteMessage& message) {
    const bool joining = joins(route);
    size_t like = first;
    while (like < last && joins(get(routes[like])) != joining) {
        ++like;
    }
    if (message.replace && last > first) {
        const size_t target = like < last ? like : first;
        const bool several = last - first > 1;
        if (identical(get(routes[target]), route)) {
            return {.changed = refresh(routes[target], route), .ambiguous = several};
        }
        // A multipath route that replaces one takes all others of the metric along, without a message.
        const bool takes_all = several && route.paths.size() > 1;
        assign(routes[target], route);
        return {.changed = true, .missing = takes_all, .replaced = true, .ambiguous = several};
    }
    if (joining && like < last) {
        // Kernels announce the whole route after each change; before 4.11 each path was a message.
        if (route.paths.size() == 1 && message.append) {
            return {.changed = join_paths(routes[like], route)};
        }
        const bool changed = !identical(get(routes[like]), route);
        const bool refreshed = refresh(routes[like], route);
        return {.changed = changed || refreshed};
    }
    for (size_t i = first; i < last; ++i) {
        if (identical(get(routes[i]), route)) {
            return {.changed = refresh(routes[i], route)};
        }
    }
    insert(routes, last, route);
    return {.changed = true};
}

Rib::Change Rib::remove(Routes& routes, const Route& route, const RouteMessage& message) {
    bool same_key = false;
    for (size_t i = 0; i < routes.size(); ++i) {
        if (key(get(routes[i])) != key(route)) {
            continue;
        }
        same_key = true;
        if (identical(get(routes[i]), route)) {
            erase(routes, i);
            return {.changed = true};
        }
    }
    if (message.prefix.address.family == Family::ipv6 && joins(route)) {
        for (size_t i = 0; i < routes.size(); ++i) {
            if (key(get(routes[i])) != key(route) || !joins(get(routes[i]))) {
                continue;
            }
            Route left = get(routes[i]);
            const size_t gone = std::erase_if(left.paths, [&](const Path& p) {
                return std::any_of(route.paths.begin(), route.paths.end(),
                                   [&](const Path& q) { return same_way(p, q); });
            });
            if (left.paths.empty()) {
                erase(routes, i);
            } else if (gone != 0) {
                assign(routes[i], left);
            }
            return {.changed = gone != 0, .missing = gone != route.paths.size()};
        }
    }
    return {.changed = false, .missing = same_key};
}

}  // namespace millrace::sync
