// SPDX-License-Identifier: BSD-3-Clause
#include "fib_sync/neighbour_care.hpp"

#include <linux/neighbour.h>

#include <algorithm>
#include <set>

namespace millrace::sync {
namespace {

// A slice every 10 ms: at most 1,600 requests a second, and a whole round within round_ms.
constexpr uint64_t slice_ms = 10;
constexpr size_t requests_per_slice = 16;
constexpr size_t least_looks_per_slice = 64;

bool is_kept(const Neighbor& n) {
    return (n.flags & NTF_EXT_LEARNED) != 0 || (n.flags_ext & NTF_EXT_MANAGED) != 0;
}

// The administrator's, or one that needs no resolution.
bool is_fixed(const Neighbor& n) {
    return (n.state & (NUD_PERMANENT | NUD_NOARP)) != 0;
}

}  // namespace

std::string_view name(Care care) {
    constexpr std::string_view names[] = {"-", "managed", "refreshed"};
    return names[static_cast<size_t>(care)];
}

// Another daemon in this namespace may keep entries of its own ports.
bool NeighbourCare::is_ours(const NeighborKey& key, const Neighbor& neighbour) const {
    return neighbour.protocol == protocol && is_kept(neighbour) && mirror_.links().managed(key.ifindex);
}

Care NeighbourCare::care_of(const NeighborKey& key) const {
    const auto found = entries_.find(key);
    return found == entries_.end() ? Care::none : found->second.care;
}

void NeighbourCare::set_care(Entry& entry, Care care, bool host) {
    const bool counts = care == Care::managed && host;
    if (counts != entry.counted) {
        entry.counted = counts;
        managed_hosts_ = counts ? managed_hosts_ + 1 : managed_hosts_ - 1;
    }
    if (entry.care != care) {
        entry.care = care;
        entry.ask_again_at = 0;
        entry.repeat_ms = 0;
    }
}

void NeighbourCare::ask(Entry& entry, NeighbourRequest::Kind kind, const NeighborKey& key, uint64_t now) {
    if (now < entry.ask_again_at || budget_ == 0) {
        return;
    }
    --budget_;
    if (!requests_.submit({kind, key})) {
        budget_ = 0;
        return;
    }
    ++requested_;
    if (kind == NeighbourRequest::Kind::use) {
        entry.repeat_ms = options_.use_again_ms;
    } else {
        entry.repeat_ms = std::clamp(entry.repeat_ms * 2, options_.repeat_ms, options_.repeat_max_ms);
    }
    entry.ask_again_at = now + entry.repeat_ms;
}

void NeighbourCare::look(const Groups::AdjacencyKey& at, const Groups::Adjacency& adjacency, uint64_t now) {
    const NeighborKey key{at.gateway, at.ifindex};
    const Neighbor* neighbour = mirror_.neighbours().find(key);
    Entry& entry = entries_[key];
    entry.round = round_;
    if (sink_.take_used(adjacency.id)) {
        entry.used_at = now;
    }
    const bool host = adjacency.gateway_of == 0;
    const bool used = entry.used_at && now < *entry.used_at + options_.in_use_ms;
    const bool left_alone =
        neighbour != nullptr && (is_fixed(*neighbour) || (is_kept(*neighbour) && !is_ours(key, *neighbour)));
    Care care = Care::none;
    if (!left_alone && (!host || used) && mirror_.links().usable(at.ifindex)) {
        const bool room = !host || entry.counted || managed_hosts_ < options_.managed_hosts;
        care = managed_ && room ? Care::managed : Care::refreshed;
    }
    set_care(entry, care, host);
    if (care == Care::managed) {
        if (neighbour != nullptr && (neighbour->flags & NTF_EXT_LEARNED) != 0 &&
            (neighbour->flags_ext & NTF_EXT_MANAGED) != 0) {
            entry.ask_again_at = 0;
            entry.repeat_ms = 0;
        } else {
            ask(entry, NeighbourRequest::Kind::manage, key, now);
        }
    } else if (care == Care::refreshed) {
        constexpr unsigned waits = NUD_REACHABLE | NUD_DELAY | NUD_PROBE | NUD_INCOMPLETE;
        if (neighbour == nullptr || (neighbour->state & waits) == 0) {
            ask(entry, NeighbourRequest::Kind::use, key, now);
        }
    }
}

// What is ours and should not be, or not any more.
void NeighbourCare::look(const NeighborKey& key, uint64_t now) {
    const bool adjacent = mirror_.groups().adjacencies().contains({key.ifindex, key.address});
    Entry& entry = entries_[key];
    if (adjacent && (entry.round != round_ || entry.care == Care::managed)) {
        return;
    }
    entry.round = round_;
    set_care(entry, Care::none, false);
    ask(entry, NeighbourRequest::Kind::give_back, key, now);
}

void NeighbourCare::end_round(uint64_t now) {
    for (auto at = entries_.begin(); at != entries_.end();) {
        if (at->second.round == round_) {
            ++at;
            continue;
        }
        set_care(at->second, Care::none, false);
        at = entries_.erase(at);
    }
    ++round_;
    stage_ = Stage::adjacencies;
    last_adjacency_.reset();
    last_neighbour_.reset();
    next_slice_ = std::max(now + slice_ms, round_began_ + options_.round_ms);
    round_began_ = next_slice_;
}

void NeighbourCare::tick(uint64_t now) {
    if (now < next_slice_) {
        return;
    }
    next_slice_ = now + slice_ms;
    budget_ = requests_per_slice;
    const auto& adjacencies = mirror_.groups().adjacencies();
    const auto& neighbours = mirror_.neighbours().all();
    const size_t slices = std::max<uint64_t>(1, options_.round_ms / slice_ms);
    size_t looks = std::max(least_looks_per_slice, (adjacencies.size() + neighbours.size()) / slices + 1);
    for (; looks > 0 && budget_ > 0; --looks) {
        if (stage_ == Stage::adjacencies) {
            const auto at = last_adjacency_ ? adjacencies.upper_bound(*last_adjacency_) : adjacencies.begin();
            if (at != adjacencies.end()) {
                look(at->first, at->second, now);
                last_adjacency_ = at->first;
                continue;
            }
            stage_ = Stage::neighbours;
        }
        const auto at = last_neighbour_ ? neighbours.upper_bound(*last_neighbour_) : neighbours.begin();
        if (at == neighbours.end()) {
            end_round(now);
            return;
        }
        if (is_ours(at->first, at->second)) {
            look(at->first, now);
        }
        last_neighbour_ = at->first;
    }
}

void NeighbourCare::give_back_all() {
    std::set<NeighborKey> ours;
    for (const auto& [key, neighbour] : mirror_.neighbours().all()) {
        if (is_ours(key, neighbour)) {
            ours.insert(key);
        }
    }
    // The kernel announces no entry that is INCOMPLETE: what was asked for may be there.
    for (const auto& [key, entry] : entries_) {
        if (entry.care == Care::managed) {
            ours.insert(key);
        }
    }
    for (const NeighborKey& key : ours) {
        if (requests_.submit({NeighbourRequest::Kind::give_back, key})) {
            ++requested_;
        }
    }
    entries_.clear();
    managed_hosts_ = 0;
}

}  // namespace millrace::sync
