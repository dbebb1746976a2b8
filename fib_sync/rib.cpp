// SPDX-License-Identifier: BSD-3-Clause
#include "fib_sync/rib.hpp"

#include <algorithm>

namespace millrace::sync {

PrefixEntry* Rib::find(const Prefix& prefix) {
    const auto found = table_.find(prefix);
    return found == table_.end() ? nullptr : &found->second;
}

const PrefixEntry* Rib::find(const Prefix& prefix) const {
    const auto found = table_.find(prefix);
    return found == table_.end() ? nullptr : &found->second;
}

void Rib::count_length(const Prefix& prefix, bool routed) {
    size_t& n =
        prefix.address.family == Family::ipv4 ? lengths4_.at(prefix.length) : lengths6_.at(prefix.length);
    n = routed ? n + 1 : n - 1;
}

const PrefixEntry* Rib::longest_match(const IpAddress& address) const {
    const bool ipv4 = address.family == Family::ipv4;
    for (unsigned length = address_bits(address.family); length-- > 0;) {
        if ((ipv4 ? lengths4_.at(length) : lengths6_.at(length)) == 0) {
            continue;
        }
        const PrefixEntry* entry = find(Prefix::make(address, length));
        if (entry != nullptr && entry->routed) {
            return entry;
        }
    }
    return nullptr;
}

size_t Rib::uses(NexthopId id) const {
    const auto found = nexthop_uses_.find(raw(id));
    return found == nexthop_uses_.end() ? 0 : found->second;
}

void Rib::count(const Route& route, int change) {
    if (route.nexthop == NexthopId{}) {
        return;
    }
    size_t& n = nexthop_uses_[raw(route.nexthop)];
    n = change > 0 ? n + 1 : n - 1;
    if (n == 0) {
        nexthop_uses_.erase(raw(route.nexthop));
    }
}

void Rib::insert(Routes& routes, size_t index, Route route) {
    count(route, 1);
    routes.insert(routes.begin() + static_cast<ptrdiff_t>(index), std::move(route));
}

void Rib::assign(Routes& routes, size_t index, Route route) {
    count(routes[index], -1);
    count(route, 1);
    routes[index] = std::move(route);
}

void Rib::erase(Routes& routes, size_t index) {
    count(routes[index], -1);
    routes.erase(routes.begin() + static_cast<ptrdiff_t>(index));
}

bool Rib::sweep(PrefixEntry& entry, uint32_t generation) {
    bool changed = false;
    for (size_t i = entry.routes.size(); i-- > 0;) {
        if (entry.routes[i].seen != generation) {
            erase(entry.routes, i);
            changed = true;
        }
    }
    return changed;
}

}  // namespace millrace::sync
