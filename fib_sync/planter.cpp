// SPDX-License-Identifier: BSD-3-Clause
#include "fib_sync/planter.hpp"

#include <fmt/core.h>
#include <linux/rtnetlink.h>

namespace millrace::sync {
namespace {

RouteMessage message_of(const Prefix& prefix, const Route& route) {
    RouteMessage m;
    m.unsupported = route.unsupported;
    m.encapsulation = route.encapsulation;
    m.table = route.local ? local_table : main_table;
    m.prefix = prefix;
    m.source = route.source;
    m.tos = route.tos;
    m.type = route.type;
    m.protocol = route.protocol;
    m.scope = route.scope;
    m.preference = route.preference;
    m.metric = route.metric;
    m.rest = route.rest;
    m.nexthop = route.nexthop;
    m.paths = route.paths;
    return m;
}

}  // namespace

Result<std::string> plant_difference(Mirror& mirror, ForwardingSink& sink, std::string_view kind,
                                     const Prefix& prefix) {
    const auto entry = mirror.find_entry(prefix);
    if (!entry) {
        return fail(fmt::format("the fast path has no route of exactly {}", prefix.text()));
    }
    if (kind == "fib") {
        sink.remove_route(main_table, prefix);
        sink.commit();
        return fmt::format("{} is not in the fast path", prefix.text());
    }
    if (kind == "fib-group") {
        for (const auto& [key, group] : mirror.groups().all()) {
            if (group->id != entry->group->id) {
                sink.set_route(main_table, prefix, group->id);
                sink.commit();
                return fmt::format("{} leads to group {} in the fast path", prefix.text(), raw(group->id));
            }
        }
        return fail("there is no other group to lead to");
    }
    if (kind != "mirror" && kind != "mirror-route") {
        return fail(fmt::format("kind: \"{}\" is none of fib, fib-group, mirror, mirror-route", kind));
    }
    if (entry->route == nullptr) {
        return fail(fmt::format("{} is a neighbour's, no route of the kernel", prefix.text()));
    }
    RouteMessage message = message_of(prefix, *entry->route);
    if (kind == "mirror") {
        message.removed = true;
    } else {
        message.replace = true;
        message.type = RTN_BLACKHOLE;
        message.nexthop = {};
        message.paths.clear();
    }
    mirror.apply(message);
    mirror.commit();
    return fmt::format("the mirror {} {}", message.removed ? "has lost" : "has a blackhole for",
                       prefix.text());
}

}  // namespace millrace::sync
