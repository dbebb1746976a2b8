// SPDX-License-Identifier: BSD-3-Clause
// What routes say, each distinct one held once: a full table has a million routes and a few thousand ways
// to go. Control thread only.
#pragma once

#include <cstdint>
#include <tuple>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "fib_sync/decode.hpp"

namespace millrace::sync {

// A kernel route, its prefix apart.
struct Route {
    bool local = false;  // of the local table, which the kernel looks up first
    bool unsupported = false;
    bool encapsulation = false;
    uint8_t tos = 0;
    uint8_t type = 0;        // RTN_*
    uint8_t protocol = 0;    // RTPROT_*
    uint8_t scope = 0;       // RT_SCOPE_*
    uint8_t preference = 0;  // RTA_PREF
    bool limited = false;    // the kernel may stop using it without a message: Mirror::limited
    uint32_t metric = 0;
    uint32_t rest = 0;  // RouteMessage::rest
    NexthopId nexthop{};
    Prefix source;            // RouteMessage::source
    std::vector<Path> paths;  // empty where nexthop is not 0: the object tells. IPv6: a set, so in order

    bool operator==(const Route&) const = default;
};

// The fields by what they are for. Whatever compares or hashes routes takes them from here, and a new field
// does not compile before it has its place. Of references: good as long as the route.
struct RouteParts {
    // The kernel's order among the routes of a prefix; those of one key come in the order of their arrival.
    std::tuple<const bool& /*local*/, const Prefix& /*source*/, const uint8_t& /*tos*/,
               const uint32_t& /*metric*/>
        key;
    // What makes it another route of the key: this, and the type and the paths, which are compared in their
    // own ways.
    std::tuple<const uint8_t& /*scope*/, const uint8_t& /*protocol*/, const uint32_t& /*rest*/,
               const NexthopId&, const bool& /*unsupported*/, const bool& /*encapsulation*/>
        identity;
    const uint8_t& type;
    const std::vector<Path>& paths;
    // What a route may change and be the same one.
    std::tuple<const uint8_t& /*preference*/> state;
    // No property of the route, but of the time.
    std::tuple<const bool& /*limited*/> aside;
};
[[nodiscard]] inline RouteParts parts_of(const Route& route) {
    const auto& [local, unsupported, encapsulation, tos, type, protocol, scope, preference, limited, metric,
                 rest, nexthop, source, paths] = route;
    return {.key = {local, source, tos, metric},
            .identity = {scope, protocol, rest, nexthop, unsupported, encapsulation},
            .type = type,
            .paths = paths,
            .state = {preference},
            .aside = {limited}};
}

enum class RouteId : uint32_t {};  // 0 = none

class RouteStore {
  public:
    RouteStore();
    RouteStore(const RouteStore&) = delete;
    RouteStore& operator=(const RouteStore&) = delete;

    // Finds or adds it, and counts one more user.
    RouteId hold(const Route& route);
    // One user less; the last one takes it along.
    void release(RouteId id);
    // The reference lasts until the next hold.
    [[nodiscard]] const Route& get(RouteId id) const { return slots_[raw(id)].route; }

    // Distinct ones.
    [[nodiscard]] size_t size() const { return index_.size(); }
    // Distinct ones with this nexthop id.
    [[nodiscard]] size_t uses(NexthopId id) const;
    // Distinct ones with a dead path (RTNH_F_DEAD) over the interface.
    [[nodiscard]] size_t dead(Ifindex ifindex) const;

    // The mirror's note of the group that the route led to, good in one epoch of its own.
    struct Note {
        uint64_t epoch = 0;
        uint32_t group = 0;
    };
    [[nodiscard]] Note& note(RouteId id) { return slots_[raw(id)].note; }

  private:
    struct Slot {
        Route route;
        size_t hash = 0;
        uint32_t users = 0;
        Note note;
    };
    // So that a route can be looked for without a place of its own.
    struct Hash {
        using is_transparent = void;
        const RouteStore* store;
        size_t operator()(RouteId id) const { return store->slots_[raw(id)].hash; }
        size_t operator()(const Route& route) const;
    };
    struct Equal {
        using is_transparent = void;
        const RouteStore* store;
        bool operator()(RouteId a, RouteId b) const { return a == b; }
        bool operator()(const Route& a, RouteId b) const { return a == store->get(b); }
        bool operator()(RouteId a, const Route& b) const { return b == store->get(a); }
    };

    std::vector<Slot> slots_;  // the first one is nobody's
    std::vector<RouteId> free_;
    std::unordered_set<RouteId, Hash, Equal> index_;
    void count_dead(const Route& route, bool more);
    std::unordered_map<NexthopId, size_t> nexthop_uses_;
    std::unordered_map<Ifindex, size_t> dead_;
};

}  // namespace millrace::sync
