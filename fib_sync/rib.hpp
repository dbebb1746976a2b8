// SPDX-License-Identifier: BSD-3-Clause
// The kernel's main and local routing tables as one ordered table of prefixes, each with all its routes:
// key = table, prefix, TOS, metric; several metrics side by side. Values only: nothing here knows the sink,
// but for the place where a prefix keeps the group it points to. Control thread only.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <unordered_map>
#include <vector>

#include "fib_sync/decode.hpp"
#include "fib_sync/groups.hpp"

namespace millrace::sync {

struct Route {
    bool local = false;  // of the local table, which the kernel looks up first
    bool unsupported = false;
    bool encapsulation = false;
    uint8_t tos = 0;
    uint8_t type = 0;        // RTN_*
    uint8_t protocol = 0;    // RTPROT_*
    uint8_t scope = 0;       // RT_SCOPE_*
    uint8_t preference = 0;  // RTA_PREF
    uint32_t metric = 0;
    uint32_t rest = 0;  // RouteMessage::rest
    uint32_t seen = 0;  // generation
    NexthopId nexthop{};
    std::vector<Path> paths;  // empty where nexthop is not 0: the object tells
};

struct PrefixEntry {
    std::vector<Route> routes;       // local ones first, then by TOS (highest first), metric, kernel's order
    Groups::Group* group = nullptr;  // what the sink has for the prefix; null = nothing
    Ifindex glean{};                 // the interface that the prefix is connected to, for its hosts
    bool routed = false;             // routes was not empty at the last commit
    bool dirty = false;
};

class Rib {
  public:
    using Table = std::map<Prefix, PrefixEntry>;

    struct Change {
        bool changed = false;
        bool missing = false;    // a removal of something that is not here, though its key is; or one untold
        bool replaced = false;   // another route made place for this one
        bool ambiguous = false;  // ... one of several: which one was first then?
    };
    // For messages of the main and local tables only. dump: the message is part of one; equal keys come in
    // the kernel's order then.
    Change apply(PrefixEntry& entry, const RouteMessage& message, uint32_t generation, bool dump);
    // Removes the routes of another generation. True when there was one.
    bool sweep(PrefixEntry& entry, uint32_t generation);

    PrefixEntry& at(const Prefix& prefix) { return table_[prefix]; }
    [[nodiscard]] PrefixEntry* find(const Prefix& prefix);
    [[nodiscard]] const PrefixEntry* find(const Prefix& prefix) const;
    void erase(const Prefix& prefix) { table_.erase(prefix); }
    [[nodiscard]] Table& table() { return table_; }
    [[nodiscard]] const Table& table() const { return table_; }

    // To be told when an entry comes to have routes, or has none any more; keeps longest_match fast.
    void count_length(const Prefix& prefix, bool routed);
    // The longest prefix with routes (at the last commit) that covers the address, its host prefix apart.
    [[nodiscard]] const PrefixEntry* longest_match(const IpAddress& address) const;

    // Routes with this nexthop id.
    [[nodiscard]] size_t uses(NexthopId id) const;

  private:
    using Routes = std::vector<Route>;
    void count(const Route& route, int change);
    Change add(Routes& routes, Route route, const RouteMessage& message);
    Change add_dumped(Routes& routes, Route route);
    Change add_ipv4(Routes& routes, size_t first, size_t last, Route route, const RouteMessage& message);
    Change add_ipv6(Routes& routes, size_t first, size_t last, Route route, const RouteMessage& message);
    Change remove(Routes& routes, const Route& route, const RouteMessage& message);
    void insert(Routes& routes, size_t index, Route route);
    void assign(Routes& routes, size_t index, Route route);
    void erase(Routes& routes, size_t index);

    Table table_;
    std::unordered_map<uint32_t, size_t> nexthop_uses_;
    std::array<size_t, 33> lengths4_{};  // prefixes of each length
    std::array<size_t, 129> lengths6_{};
};

}  // namespace millrace::sync
