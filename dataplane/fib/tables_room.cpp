// SPDX-License-Identifier: BSD-3-Clause
// What becomes of a prefix when a table is full: it is the kernel's, from the classifier on where that can
// be.
#include <fmt/core.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <iterator>
#include <utility>

#include "dataplane/fib/tables.hpp"

namespace millrace::dataplane {

void Tables::Shortage::begin(std::string_view what, std::string_view remedy) {
    if (!std::exchange(now, true)) {
        spdlog::error("no room for more {}: what leads over the others is left to the kernel; raise {}", what,
                      remedy);
    }
}

void Tables::Shortage::end(std::string_view what) {
    if (std::exchange(now, false)) {
        spdlog::warn("there is room for {} again", what);
    }
}

// Before the prefix changes in the table.
void Tables::count_roomless(Fib& fib, const Prefix& prefix, bool roomless) {
    if (fib.roomless == 0 && !roomless) {
        return;
    }
    const bool before = fib.roomless != 0 && fib.trie.find(prefix) == raw(no_room);
    if (before == roomless) {
        return;
    }
    room_changed_ = true;
    roomless ? ++fib.roomless : --fib.roomless;
    if (fib.roomless == 0) {
        fib.uncounted = false;
    }
    if (!roomless) {
        fib.roomless_prefixes.erase(prefix);
    } else if (!fib.uncounted) {
        fib.roomless_prefixes.insert(prefix);
    }
    if (fib.roomless_prefixes.size() > MILLRACE_MAX_KEEP) {
        fib.uncounted = true;
        fib.roomless_prefixes.clear();
    }
}

bool Tables::take_room_changed() {
    bool changed = std::exchange(room_changed_, false);
    for (Fib* fib : {&fib4_, &fib6_}) {
        const uint64_t version = fib->trie.room_version();
        changed = std::exchange(fib->room_version, version) != version || changed;
    }
    return changed;
}

std::vector<Keep> Tables::keeps_for_room() const {
    std::vector<Keep> keeps;
    for (const Family family : {Family::ipv4, Family::ipv6}) {
        const Fib& fib = fib_of(family);
        const std::string full =
            fmt::format("the IPv{0} FIB is full; raise [sizes] fib{0}_megabytes", raw(family));
        const std::string few = "no room for its next hop; raise [sizes] groups and adjacencies";
        if (fib.uncounted || fib.trie.usage().punting > MILLRACE_MAX_KEEP) {
            keeps.push_back(
                {.cause = KeepCause::limit,
                 .family = family,
                 .text = fib.uncounted ? fmt::format("{} prefixes: {}", fib.roomless, few) : full});
            continue;
        }
        for (const Prefix& prefix : fib.roomless_prefixes) {
            keeps.push_back({.cause = KeepCause::limit, .prefix = prefix, .text = few});
        }
        for (const Prefix& prefix : fib.trie.without_room()) {
            keeps.push_back({.cause = KeepCause::limit, .prefix = prefix, .text = full});
        }
    }
    std::sort(keeps.begin(), keeps.end());
    return keeps;
}

void Tables::tell_keeps() {
    if (observers_.keeps_changed) {
        std::vector<Keep> all;
        std::merge(keeps_.begin(), keeps_.end(), keeps_for_room_.begin(), keeps_for_room_.end(),
                   std::back_inserter(all));
        observers_.keeps_changed(all);
    }
}

void Tables::tell_room() {
    if (adjacencies_.roomy()) {
        adjacency_shortage_.end("next hops");
    }
    if (groups_.roomy()) {
        group_shortage_.end("nexthop groups");
    }
    if (take_room_changed()) {
        keeps_for_room_ = keeps_for_room();
        tell_keeps();
    }
}

}  // namespace millrace::dataplane
