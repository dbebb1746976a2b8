// SPDX-License-Identifier: BSD-3-Clause
#include "fib_sync/route_store.hpp"

#include <linux/rtnetlink.h>

#include <cstring>
#include <type_traits>

namespace millrace::sync {
namespace {

// Fibonacci hashing, a word at a time: each dumped route that is new to its prefix is hashed once.
size_t mix(size_t seed, uint64_t word) {
    const uint64_t h = (seed ^ word) * 0x9e3779b97f4a7c15ULL;
    return h ^ (h >> 32);
}

template <class Value>
size_t hash_of(const Value& value, size_t seed) {
    static_assert(std::is_integral_v<Value> || std::is_enum_v<Value>);
    return mix(seed, static_cast<uint64_t>(value));
}

size_t hash_of(const IpAddress& address, size_t seed) {
    std::array<uint64_t, 2> words{};
    std::memcpy(words.data(), address.bytes.data(), sizeof(words));
    return mix(mix(seed, words[0] + address.size()), words[1]);
}

size_t hash_of(const Prefix& prefix, size_t seed) {
    return prefix.length == 0 ? seed : hash_of(prefix.address, hash_of(prefix.length, seed));
}

size_t hash_of(const Path& path, size_t seed) {
    const auto& [gateway, ifindex, weight, flags] = path;  // all of them
    seed = mix(seed, uint64_t{raw(ifindex)} << 32 | weight);
    seed = mix(seed, flags);
    return gateway ? hash_of(*gateway, seed) : seed;
}

template <class... Fields>
size_t hash_of(const std::tuple<Fields...>& fields, size_t seed) {
    return std::apply(
        [seed](const auto&... field) mutable {
            ((seed = hash_of(field, seed)), ...);
            return seed;
        },
        fields);
}

}  // namespace

size_t RouteStore::Hash::operator()(const Route& r) const {
    const auto [key, identity, type, paths, state, aside] = parts_of(r);
    size_t seed = hash_of(aside, hash_of(state, hash_of(type, hash_of(identity, hash_of(key, 0)))));
    for (const Path& path : paths) {
        seed = hash_of(path, seed);
    }
    return seed;
}

RouteStore::RouteStore() : slots_(1), index_(0, Hash{this}, Equal{this}) {}

RouteId RouteStore::hold(const Route& route) {
    if (const auto found = index_.find(route); found != index_.end()) {
        ++slots_[raw(*found)].users;
        return *found;
    }
    RouteId id{static_cast<uint32_t>(slots_.size())};
    if (free_.empty()) {
        slots_.emplace_back();
    } else {
        id = free_.back();
        free_.pop_back();
    }
    slots_[raw(id)] = {.route = route, .hash = Hash{this}(route), .users = 1, .note = {}};
    index_.insert(id);
    if (route.nexthop != NexthopId{}) {
        ++nexthop_uses_[route.nexthop];
    }
    count_dead(route, true);
    return id;
}

void RouteStore::count_dead(const Route& route, bool more) {
    for (const Path& path : route.paths) {
        if ((path.flags & RTNH_F_DEAD) == 0) {
            continue;
        }
        size_t& count = dead_[path.ifindex];
        count = more ? count + 1 : count - 1;
        if (count == 0) {
            dead_.erase(path.ifindex);
        }
    }
}

void RouteStore::release(RouteId id) {
    Slot& slot = slots_[raw(id)];
    if (--slot.users != 0) {
        return;
    }
    index_.erase(id);
    if (const auto uses = nexthop_uses_.find(slot.route.nexthop);
        uses != nexthop_uses_.end() && --uses->second == 0) {
        nexthop_uses_.erase(uses);
    }
    count_dead(slot.route, false);
    slot = {};
    free_.push_back(id);
}

size_t RouteStore::dead(Ifindex ifindex) const {
    const auto found = dead_.find(ifindex);
    return found == dead_.end() ? 0 : found->second;
}

size_t RouteStore::uses(NexthopId id) const {
    const auto found = nexthop_uses_.find(id);
    return found == nexthop_uses_.end() ? 0 : found->second;
}

}  // namespace millrace::sync
