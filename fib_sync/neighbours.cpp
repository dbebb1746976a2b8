// SPDX-License-Identifier: BSD-3-Clause
#include "fib_sync/neighbours.hpp"

#include <linux/neighbour.h>

namespace millrace::sync {

bool Neighbor::usable() const {
    constexpr unsigned valid = NUD_PERMANENT | NUD_NOARP | NUD_REACHABLE | NUD_STALE | NUD_DELAY | NUD_PROBE;
    return mac.has_value() && (state & valid) != 0;
}

std::string_view neighbour_state_name(uint16_t nud) {
    switch (nud) {
        case NUD_INCOMPLETE:
            return "incomplete";
        case NUD_REACHABLE:
            return "reachable";
        case NUD_STALE:
            return "stale";
        case NUD_DELAY:
            return "delay";
        case NUD_PROBE:
            return "probe";
        case NUD_FAILED:
            return "failed";
        case NUD_NOARP:
            return "noarp";
        case NUD_PERMANENT:
            return "permanent";
        case NUD_NONE:
            return "none";
        default:
            return "unknown";
    }
}

bool Neighbours::apply(const NeighborMessage& message, uint32_t generation) {
    const NeighborKey key{message.address, message.ifindex};
    const auto found = neighbours_.find(key);
    const bool was_usable = found != neighbours_.end() && found->second.usable();
    if (message.removed) {
        if (found != neighbours_.end()) {
            neighbours_.erase(found);
        }
        return was_usable;
    }
    const Neighbor next{.mac = message.mac,
                        .state = message.state,
                        .flags = message.flags,
                        .flags_ext = message.flags_ext,
                        .protocol = message.protocol,
                        .seen = generation};
    const bool same = was_usable == next.usable() && (!was_usable || found->second.mac == next.mac);
    neighbours_.insert_or_assign(key, next);
    return !same;
}

std::vector<NeighborKey> Neighbours::not_seen(uint32_t generation) const {
    std::vector<NeighborKey> gone;
    for (const auto& [key, neighbour] : neighbours_) {
        if (neighbour.seen != generation) {
            gone.push_back(key);
        }
    }
    return gone;
}

const Neighbor* Neighbours::find(const NeighborKey& key) const {
    const auto found = neighbours_.find(key);
    return found == neighbours_.end() ? nullptr : &found->second;
}

}  // namespace millrace::sync
