// SPDX-License-Identifier: BSD-3-Clause
// The kernel's main and local routing tables as one ordered table of prefixes, each with all its routes:
// key = table, prefix, TOS, metric; several metrics side by side. Values only: nothing here knows the sink,
// but for the places where a prefix keeps its group and the mirror its marks. Control thread only.
//
// Made for a million prefixes: one with one route, as nearly all have, takes 16 bytes beside its key. What
// few have (several routes, being connected) is kept apart.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <unordered_map>
#include <vector>

#include "fib_sync/decode.hpp"
#include "fib_sync/groups.hpp"
#include "fib_sync/prefix_table.hpp"
#include "fib_sync/route_store.hpp"

namespace millrace::sync {

struct PrefixEntry {
    RouteId route{};  // 0 = no route, or several
    uint32_t seen = 0;
    Groups::Handle group{};  // what the sink has for the prefix; 0 = nothing
    uint8_t round = 0;
    bool several : 1 = false;    // routes; or one that is untold or twice
    bool routed : 1 = false;     // it had a route at its last commit
    bool connected : 1 = false;  // Rib::glean is not 0
    bool dirty : 1 = false;      // Mirror::mark
    bool listed : 1 = false;

    [[nodiscard]] bool has_route() const { return several || route != RouteId{}; }
};

class Rib {
  public:
    using Table = PrefixTable<PrefixEntry>;

    struct Change {
        bool changed = false;
        bool missing = false;    // a removal of something that is not here, though its key is; or one untold
        bool replaced = false;   // another route made place for this one
        bool ambiguous = false;  // ... one of several: which one was first then?
        bool untold = false;     // of one that a dump has left out, the next one may tell whether it is there
    };
    // For messages of the main and local tables only, to the entry of the message's prefix. dump: the message
    // is part of one; equal keys come in the kernel's order then.
    Change apply(PrefixEntry& entry, const RouteMessage& message, bool dump);
    // Routes that apply() is told from now on are seen in this generation.
    void set_generation(uint32_t generation) { generation_ = generation; }
    // Removes the routes that were not seen in this generation. True when there was one.
    bool sweep(const Prefix& prefix, PrefixEntry& entry);
    // Is there one?
    [[nodiscard]] bool unseen(const Prefix& prefix, const PrefixEntry& entry) const;
    // None of its routes counts as seen any more.
    void unsee(const Prefix& prefix, PrefixEntry& entry);

    // An audit compares the table with the kernel in rounds. Routes that come or change in a round count as
    // confirmed in it.
    void begin_round() { ++round_; }
    // Is the message, of a dump, what the table holds, so that applying it would change nothing but whether
    // the route is limited? Confirms it then, and takes that over. Not held too where the table has no such
    // route.
    struct Confirmed {
        bool held = false;
        bool changed = false;
    };
    Confirmed confirm(const RouteMessage& message);
    // Whether the route in force, which there must be, is limited.
    void set_limited(const Prefix& prefix, PrefixEntry& entry, bool limited);
    // Is the message, of the kernel, the route in force of its prefix?
    [[nodiscard]] bool in_force(const RouteMessage& message);
    // Is each of the routes confirmed in this round?
    [[nodiscard]] bool confirmed(const Prefix& prefix, const PrefixEntry& entry) const;

    PrefixEntry& at(const Prefix& prefix) { return table_.at(prefix); }
    [[nodiscard]] PrefixEntry* find(const Prefix& prefix) { return table_.find(prefix); }
    [[nodiscard]] const PrefixEntry* find(const Prefix& prefix) const { return table_.find(prefix); }
    void erase(const Prefix& prefix) { table_.erase(prefix); }
    [[nodiscard]] Table& table() { return table_; }
    [[nodiscard]] const Table& table() const { return table_; }

    // The route in force and the one after it: local ones first, then by TOS (highest first), metric, and
    // the kernel's order. nullptr = none. Good until the next apply.
    [[nodiscard]] const Route* best(const Prefix& prefix, const PrefixEntry& entry) const {
        return route(prefix, entry, 0);
    }
    [[nodiscard]] const Route* second(const Prefix& prefix, const PrefixEntry& entry) const {
        return route(prefix, entry, 1);
    }
    // Is one of its routes for packets of a source only?
    [[nodiscard]] bool by_source(const Prefix& prefix, const PrefixEntry& entry) const;
    // A dump leaves out what the kernel has between the paths of an IPv6 multipath route (fib6_dump_node):
    // others of its metric, which may be there or not. Has the prefix one of these?
    [[nodiscard]] bool untold(const Prefix& prefix, const PrefixEntry& entry) const;
    // The mirror's note on the route in force, which there must be.
    [[nodiscard]] RouteStore::Note& note(const Prefix& prefix, const PrefixEntry& entry);

    // To be told when an entry comes to have routes, or has none any more; keeps longest_match fast.
    void count_length(const Prefix& prefix, bool routed);
    // The longest prefix with routes (at its last commit) that covers the address, its host prefix apart.
    [[nodiscard]] std::optional<Prefix> longest_match(const IpAddress& address) const;

    // The interface that the prefix is connected to, for its hosts; 0 = none. True when it is another now.
    bool set_glean(const Prefix& prefix, PrefixEntry& entry, Ifindex glean);
    [[nodiscard]] Ifindex glean(const Prefix& prefix) const;

    [[nodiscard]] const RouteStore& routes() const { return store_; }

  private:
    struct Held {
        RouteId route{};
        uint32_t seen = 0;
        uint8_t round = 0;
        bool untold = false;  // the last dump may have left it out
        // The kernel has another that looks the same: a weight of a single IPv4 hop is not told.
        bool twice = false;
    };
    using Routes = std::vector<Held>;

    [[nodiscard]] const Route* route(const Prefix& prefix, const PrefixEntry& entry, size_t index) const;
    // The entry's routes, in a vector that the next call uses again; and back.
    Routes& load(const Prefix& prefix, const PrefixEntry& entry);
    void store(const Prefix& prefix, PrefixEntry& entry, const Routes& routes);

    [[nodiscard]] const Route& get(const Held& held) const { return store_.get(held.route); }
    [[nodiscard]] bool may_be_untold(const Prefix& prefix, const Routes& routes, const Held& held) const;
    Change add(Routes& routes, const Route& route, const RouteMessage& message);
    Change add_dumped(Routes& routes, const Route& route, const RouteMessage& message);
    Change add_ipv4(Routes& routes, size_t first, size_t last, const Route& route,
                    const RouteMessage& message);
    Change add_ipv6(Routes& routes, size_t first, size_t last, const Route& route,
                    const RouteMessage& message);
    Change remove(Routes& routes, const Route& route, const RouteMessage& message);
    bool refresh(Held& held, const Route& route);
    void insert(Routes& routes, size_t index, const Route& route);
    void assign(Held& held, const Route& route);
    void erase(Routes& routes, size_t index);

    Table table_;
    RouteStore store_;
    std::unordered_map<Prefix, Routes> several_;
    std::unordered_map<Prefix, Ifindex> gleans_;
    Routes loaded_;
    Route incoming_;  // of the message at hand; its paths keep their memory
    uint32_t generation_ = 0;
    uint8_t round_ = 0;
    std::array<size_t, 33> lengths4_{};  // prefixes of each length
    std::array<size_t, 129> lengths6_{};
};

}  // namespace millrace::sync
