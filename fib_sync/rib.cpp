// SPDX-License-Identifier: BSD-3-Clause
#include "fib_sync/rib.hpp"

#include <algorithm>
#include <utility>

namespace millrace::sync {

const Route* Rib::route(const Prefix& prefix, const PrefixEntry& entry, size_t index) const {
    if (!entry.several) {
        return index == 0 && entry.route != RouteId{} ? &store_.get(entry.route) : nullptr;
    }
    const Routes& routes = several_.at(prefix);
    return index < routes.size() ? &get(routes[index]) : nullptr;
}

bool Rib::by_source(const Prefix& prefix, const PrefixEntry& entry) const {
    const auto is = [](const Route& r) { return r.source.length != 0; };
    if (!entry.several) {
        return entry.route != RouteId{} && is(store_.get(entry.route));
    }
    const Routes& routes = several_.at(prefix);
    return std::any_of(routes.begin(), routes.end(), [&](const Held& h) { return is(get(h)); });
}

bool Rib::untold(const Prefix& prefix, const PrefixEntry& entry) const {
    if (!entry.several) {
        return false;
    }
    const Routes& routes = several_.at(prefix);
    return std::any_of(routes.begin(), routes.end(), [](const Held& h) { return h.untold; });
}

RouteStore::Note& Rib::note(const Prefix& prefix, const PrefixEntry& entry) {
    return store_.note(entry.several ? several_.at(prefix).front().route : entry.route);
}

Rib::Routes& Rib::load(const Prefix& prefix, const PrefixEntry& entry) {
    loaded_.clear();
    if (entry.several) {
        loaded_ = several_.at(prefix);
    } else if (entry.route != RouteId{}) {
        loaded_.push_back({.route = entry.route, .seen = entry.seen, .round = entry.round});
    }
    return loaded_;
}

void Rib::store(const Prefix& prefix, PrefixEntry& entry, const Routes& routes) {
    if (routes.size() > 1 || (!routes.empty() && (routes.front().untold || routes.front().twice))) {
        several_[prefix] = routes;
        entry.several = true;
        entry.route = RouteId{};
        return;
    }
    if (entry.several) {
        several_.erase(prefix);
        entry.several = false;
    }
    const Held one = routes.empty() ? Held{} : routes.front();
    entry.route = one.route;
    entry.seen = one.seen;
    entry.round = one.round;
}

void Rib::count_length(const Prefix& prefix, bool routed) {
    size_t& n =
        prefix.address.family == Family::ipv4 ? lengths4_.at(prefix.length) : lengths6_.at(prefix.length);
    n = routed ? n + 1 : n - 1;
}

std::optional<Prefix> Rib::longest_match(const IpAddress& address) const {
    const bool ipv4 = address.family == Family::ipv4;
    for (unsigned length = address_bits(address.family); length-- > 0;) {
        if ((ipv4 ? lengths4_.at(length) : lengths6_.at(length)) == 0) {
            continue;
        }
        const Prefix prefix = Prefix::make(address, length);
        const PrefixEntry* entry = find(prefix);
        if (entry != nullptr && entry->routed) {
            return prefix;
        }
    }
    return std::nullopt;
}

bool Rib::set_glean(const Prefix& prefix, PrefixEntry& entry, Ifindex glean) {
    if (!entry.connected && glean == Ifindex{}) {
        return false;
    }
    entry.connected = glean != Ifindex{};
    if (!entry.connected) {
        gleans_.erase(prefix);
        return true;
    }
    return std::exchange(gleans_[prefix], glean) != glean;
}

Ifindex Rib::glean(const Prefix& prefix) const {
    const auto found = gleans_.find(prefix);
    return found == gleans_.end() ? Ifindex{} : found->second;
}

bool Rib::sweep(const Prefix& prefix, PrefixEntry& entry) {
    if (!entry.several && (entry.route == RouteId{} || entry.seen == generation_)) {
        return false;
    }
    Routes& routes = load(prefix, entry);
    bool changed = false;
    for (size_t i = routes.size(); i-- > 0;) {
        if (routes[i].seen == generation_) {
            continue;
        }
        if (may_be_untold(prefix, routes, routes[i])) {
            changed = changed || !routes[i].untold;
            routes[i].untold = true;
        } else {
            erase(routes, i);
            changed = true;
        }
    }
    if (changed) {
        store(prefix, entry, routes);
    }
    return changed;
}

bool Rib::unseen(const Prefix& prefix, const PrefixEntry& entry) const {
    if (!entry.several) {
        return entry.route != RouteId{} && entry.seen != generation_;
    }
    const Routes& routes = several_.at(prefix);
    return std::any_of(routes.begin(), routes.end(), [&](const Held& h) {
        return h.seen != generation_ && !may_be_untold(prefix, routes, h);
    });
}

void Rib::unsee(const Prefix& prefix, PrefixEntry& entry) {
    entry.seen = 0;
    if (entry.several) {
        for (Held& held : several_.at(prefix)) {
            held.seen = 0;
        }
    }
}

bool Rib::confirmed(const Prefix& prefix, const PrefixEntry& entry) const {
    if (!entry.several) {
        return entry.route == RouteId{} || entry.round == round_;
    }
    const Routes& routes = several_.at(prefix);
    return std::all_of(routes.begin(), routes.end(),
                       [&](const Held& h) { return h.round == round_ || may_be_untold(prefix, routes, h); });
}

void Rib::insert(Routes& routes, size_t index, const Route& route) {
    routes.insert(routes.begin() + static_cast<ptrdiff_t>(index),
                  {.route = store_.hold(route), .seen = generation_, .round = round_});
}

void Rib::assign(Held& held, const Route& route) {
    const RouteId before = held.route;
    held = {.route = store_.hold(route), .seen = generation_, .round = round_};
    store_.release(before);
}

void Rib::erase(Routes& routes, size_t index) {
    store_.release(routes[index].route);
    routes.erase(routes.begin() + static_cast<ptrdiff_t>(index));
}

}  // namespace millrace::sync
