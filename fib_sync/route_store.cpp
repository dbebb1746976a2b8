// SPDX-License-Identifier: BSD-3-Clause
#include "fib_sync/route_store.hpp"

#include <cstring>

namespace millrace::sync {
namespace {

// Fibonacci hashing, a word at a time: each dumped route that is new to its prefix is hashed once.
size_t mix(size_t seed, uint64_t word) {
    const uint64_t h = (seed ^ word) * 0x9e3779b97f4a7c15ULL;
    return h ^ (h >> 32);
}

size_t hash_of(const Path& path, size_t seed) {
    seed = mix(seed, uint64_t{raw(path.ifindex)} << 32 | path.weight);
    seed = mix(seed, path.flags);
    if (path.gateway) {
        std::array<uint64_t, 2> words{};
        std::memcpy(words.data(), path.gateway->bytes.data(), sizeof(words));
        seed = mix(mix(seed, words[0] + path.gateway->size()), words[1]);
    }
    return seed;
}

}  // namespace

size_t RouteStore::Hash::operator()(const Route& r) const {
    const uint64_t what = uint64_t{r.tos} << 40 | uint64_t{r.type} << 32 | uint64_t{r.protocol} << 24 |
                          uint64_t{r.scope} << 16 | uint64_t{r.preference} << 8 | uint64_t{r.local} << 2 |
                          uint64_t{r.unsupported} << 1 | uint64_t{r.encapsulation};
    size_t seed = mix(mix(0, what), uint64_t{r.metric} << 32 | r.rest);
    seed = mix(seed, raw(r.nexthop));
    for (const Path& path : r.paths) {
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
    return id;
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
    slot = {};
    free_.push_back(id);
}

size_t RouteStore::uses(NexthopId id) const {
    const auto found = nexthop_uses_.find(id);
    return found == nexthop_uses_.end() ? 0 : found->second;
}

}  // namespace millrace::sync
