// SPDX-License-Identifier: BSD-3-Clause
// What a route message does to the routes of one prefix. The rules are the kernel's: fib_table_insert and
// fib_table_delete (net/ipv4/fib_trie.c), fib6_add_rt2node (net/ipv6/ip6_fib.c).
#include <linux/rtnetlink.h>

#include <algorithm>
#include <tuple>

#include "fib_sync/rib.hpp"

namespace millrace::sync {
namespace {

// The kernel looks at higher TOS first (fib_insert_alias) and then at lower metrics. IPv6 routes by source
// are in a tree of their own below the prefix (CONFIG_IPV6_SUBTREES); the plain ones come first here.
auto key(const Route& r) {
    const auto [local, source, tos, metric] = parts_of(r).key;
    return std::make_tuple(!local, source.length, source, static_cast<uint8_t>(~tos), metric);
}

bool same_way(const Path& a, const Path& b) {
    return a.ifindex == b.ifindex && a.gateway == b.gateway;
}

bool shares_a_way(const Route& a, const Route& b) {
    return std::any_of(a.paths.begin(), a.paths.end(), [&](const Path& p) {
        return std::any_of(b.paths.begin(), b.paths.end(), [&](const Path& q) { return same_way(p, q); });
    });
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
    return same_type(a, b) && parts_of(a).identity == parts_of(b).identity &&
           std::equal(a.paths.begin(), a.paths.end(), b.paths.begin(), b.paths.end(),
                      [](const Path& x, const Path& y) { return same_way(x, y) && x.weight == y.weight; });
}

// rt6_qualify_for_ecmp: IPv6 routes of one key with a gateway are paths of one multipath route, but for those
// that router advertisements made. (What an operator adds with `proto ra` is not told from these.)
bool joins(const Route& r) {
    return r.type == RTN_UNICAST && r.nexthop == NexthopId{} && r.protocol != RTPROT_RA &&
           std::all_of(r.paths.begin(), r.paths.end(), [](const Path& p) { return p.gateway.has_value(); });
}

// Do both steer packets alike, and is each as good as the other to the kernel? Path flags other than
// RTNH_F_DEAD come and go without a meaning.
bool same(const Route& a, const Route& b) {
    return identical(a, b) && parts_of(a).state == parts_of(b).state &&
           std::equal(a.paths.begin(), a.paths.end(), b.paths.begin(),
                      [](const Path& x, const Path& y) { return ((x.flags ^ y.flags) & RTNH_F_DEAD) == 0; });
}

auto in_order(const Path& p) {
    return std::tie(p.ifindex, p.gateway, p.weight, p.flags);
}

bool several_paths(const Route& r) {
    return r.paths.size() > 1;
}

void set_route(Route& route, const RouteMessage& m) {
    auto& [local, unsupported, encapsulation, tos, type, protocol, scope, preference, limited, metric, rest,
           nexthop, source, paths] = route;  // all of them
    const bool ipv6 = m.prefix.address.family == Family::ipv6;
    local = m.table == local_table;
    unsupported = m.unsupported;
    encapsulation = m.encapsulation;
    tos = m.tos;
    type = m.type;
    protocol = m.protocol;
    scope = m.scope;
    preference = m.preference;
    // An advertisement may give a lifetime to a route that had none.
    limited = m.lifetime_ms != 0 || (ipv6 && m.protocol == RTPROT_RA);
    metric = m.metric;
    rest = m.rest;
    nexthop = m.nexthop;
    source = m.source;
    paths.clear();
    // Compatibility's expanded hops may be out of date: the id rules.
    if (m.nexthop == NexthopId{}) {
        paths.assign(m.paths.begin(), m.paths.end());
    }
    if (ipv6 && paths.size() > 1) {
        // A notification begins with the path that is new, a dump with the oldest.
        std::sort(paths.begin(), paths.end(),
                  [](const Path& a, const Path& b) { return in_order(a) < in_order(b); });
    }
}

}  // namespace

// An equal route is announced anew: is anything different that matters?
bool Rib::refresh(Held& held, const Route& route) {
    const Route& old = get(held);
    if (old == route) {
        held.seen = generation_;
        held.round = round_;
        held.untold = false;
        return false;
    }
    const RouteParts before = parts_of(old);
    const RouteParts now = parts_of(route);
    const bool changed = before.paths != now.paths || before.state != now.state || before.aside != now.aside;
    assign(held, route);
    return changed;
}

bool Rib::may_be_untold(const Prefix& prefix, const Routes& routes, const Held& held) const {
    return prefix.address.family == Family::ipv6 && !joins(get(held)) &&
           std::any_of(routes.begin(), routes.end(), [&](const Held& h) {
               return h.seen == generation_ && key(get(h)) == key(get(held)) && joins(get(h)) &&
                      several_paths(get(h));
           });
}

Rib::Change Rib::apply(PrefixEntry& entry, const RouteMessage& message, bool dump) {
    set_route(incoming_, message);
    Routes& routes = load(message.prefix, entry);
    Change change;
    if (message.removed) {
        change = remove(routes, incoming_, message);
    } else if (dump) {
        change = add_dumped(routes, incoming_, message);
    } else {
        change = add(routes, incoming_, message);
    }
    change.untold = !dump && change.changed &&
                    std::any_of(routes.begin(), routes.end(), [](const Held& h) { return h.untold; });
    store(message.prefix, entry, routes);
    return change;
}

Rib::Confirmed Rib::confirm(const RouteMessage& message) {
    PrefixEntry* entry = find(message.prefix);
    if (entry == nullptr) {
        return {};
    }
    set_route(incoming_, message);
    Routes& routes = load(message.prefix, *entry);
    for (Held& held : routes) {
        if (key(get(held)) != key(incoming_) || !same(get(held), incoming_)) {
            continue;
        }
        held.round = round_;
        // That it is limited no more, a lifetime's last hundredth of a second looks like.
        const bool limits = incoming_.limited && !get(held).limited;
        if (limits) {
            const uint32_t seen = held.seen;
            assign(held, incoming_);
            held.seen = seen;
        }
        store(message.prefix, *entry, routes);
        return {.held = true, .changed = limits};
    }
    return {};
}

void Rib::set_limited(const Prefix& prefix, PrefixEntry& entry, bool limited) {
    Routes& routes = load(prefix, entry);
    Route best = get(routes.front());
    best.limited = limited;
    const uint32_t seen = routes.front().seen;
    assign(routes.front(), best);
    routes.front().seen = seen;
    store(prefix, entry, routes);
}

bool Rib::in_force(const RouteMessage& message) {
    const PrefixEntry* entry = find(message.prefix);
    const Route* held = entry != nullptr ? best(message.prefix, *entry) : nullptr;
    set_route(incoming_, message);
    return held != nullptr && key(*held) == key(incoming_) && same(*held, incoming_);
}

Rib::Change Rib::add_dumped(Routes& routes, const Route& route, const RouteMessage& message) {
    // Those of this key that the dump has told so far come first, in its order; others await the sweep.
    size_t at = 0;
    while (at < routes.size() && key(get(routes[at])) < key(route)) {
        ++at;
    }
    for (; at < routes.size() && key(get(routes[at])) == key(route) && routes[at].seen == generation_; ++at) {
        if (identical(get(routes[at]), route)) {
            routes[at].twice = message.prefix.address.family == Family::ipv4;
            return {};
        }
    }
    for (size_t i = at; i < routes.size() && key(get(routes[i])) == key(route); ++i) {
        if (!identical(get(routes[i]), route)) {
            continue;
        }
        const bool moved = i != at;
        Route told = route;
        told.limited = route.limited || get(routes[i]).limited;
        std::rotate(routes.begin() + static_cast<ptrdiff_t>(at), routes.begin() + static_cast<ptrdiff_t>(i),
                    routes.begin() + static_cast<ptrdiff_t>(i) + 1);
        routes[at].twice = false;
        return {.changed = refresh(routes[at], told) || moved};
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
        // The kernel replaces none by a route that it has (fib_table_insert). It says so of each route by a
        // nexthop object that was replaced, wherever it stands.
        if (twin < last) {
            return {.changed = refresh(routes[twin], route), .ambiguous = ambiguous};
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
        routes[twin].twice = true;  // the kernel has none twice that are the same to it
        return {.changed = refresh(routes[twin], route) || moved};
    }
    // Neither replace nor append: `ip route prepend`.
    insert(routes, message.append ? last : first, route);
    return {.changed = true};
}

// A message tells the whole multipath route after the change. Whether a route stands alone is seen from what
// it tells: those that router advertisements made, and those without a gateway, are no paths of another.
Rib::Change Rib::add_ipv6(Routes& routes, size_t first, size_t last, const Route& route,
                          const RouteMessage& message) {
    const bool several = last - first > 1;
    size_t target = first;
    if (message.replace && last > first) {
        while (target < last && joins(get(routes[target])) != joins(route)) {
            ++target;
        }
        target = target < last ? target : first;
        if (identical(get(routes[target]), route)) {
            return {.changed = refresh(routes[target], route), .ambiguous = several};
        }
        // A multipath route that replaces one takes others of the metric along, without a message.
        const bool takes_all = several && several_paths(route);
        assign(routes[target], route);
        return {.changed = true, .missing = takes_all, .replaced = true, .ambiguous = several};
    }
    while (target < last && !identical(get(routes[target]), route)) {
        ++target;
    }
    if (target < last) {
        return {.changed = refresh(routes[target], route)};
    }
    // The kernel has no way twice at one metric, so what shares one with this route was this route.
    Route whole = route;
    bool found = false;
    bool missing = false;
    for (size_t i = last; i-- > first;) {
        if (joins(route) && joins(get(routes[i])) && shares_a_way(get(routes[i]), route)) {
            whole.limited = whole.limited || get(routes[i]).limited;
            // It has ways that this one has not: their removal has not been told.
            missing =
                missing ||
                std::any_of(get(routes[i]).paths.begin(), get(routes[i]).paths.end(), [&](const Path& p) {
                    return std::none_of(route.paths.begin(), route.paths.end(),
                                        [&](const Path& q) { return same_way(p, q); });
                });
            if (found) {
                erase(routes, target);
            }
            found = true;
            target = i;
        }
    }
    if (found) {
        assign(routes[target], whole);
    } else {
        insert(routes, last, route);
    }
    return {.changed = true, .missing = missing};
}

Rib::Change Rib::remove(Routes& routes, const Route& route, const RouteMessage& message) {
    bool same_key = false;
    for (size_t i = 0; i < routes.size(); ++i) {
        if (key(get(routes[i])) != key(route)) {
            continue;
        }
        same_key = true;
        if (identical(get(routes[i]), route)) {
            if (routes[i].twice) {
                // Which of them went, only a dump tells.
                routes[i].twice = false;
                return {.missing = true, .ambiguous = true};
            }
            erase(routes, i);
            return {.changed = true};
        }
    }
    if (message.prefix.address.family == Family::ipv6 && joins(route)) {
        for (size_t i = 0; i < routes.size(); ++i) {
            if (key(get(routes[i])) != key(route) || !joins(get(routes[i])) ||
                !shares_a_way(get(routes[i]), route)) {
                continue;
            }
            Route left = get(routes[i]);
            const size_t gone = std::erase_if(left.paths, [&](const Path& p) {
                return std::any_of(route.paths.begin(), route.paths.end(),
                                   [&](const Path& q) { return same_way(p, q); });
            });
            if (left.paths.empty()) {
                erase(routes, i);
            } else {
                assign(routes[i], left);
            }
            return {.changed = true, .missing = gone != route.paths.size()};
        }
    }
    return {.changed = false, .missing = same_key};
}

}  // namespace millrace::sync
