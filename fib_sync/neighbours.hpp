// SPDX-License-Identifier: BSD-3-Clause
// The kernel's ARP and ND entries, ordered by address so that those within a prefix are neighbours here
// too. Control thread only.
#pragma once

#include <compare>
#include <map>
#include <optional>
#include <string_view>
#include <vector>

#include "fib_sync/decode.hpp"

namespace millrace::sync {

struct NeighborKey {
    IpAddress address;
    Ifindex ifindex{};
    auto operator<=>(const NeighborKey&) const = default;
};

struct Neighbor {
    std::optional<MacAddress> mac;
    uint16_t state = 0;      // NUD_*
    uint8_t flags = 0;       // NTF_*
    uint32_t flags_ext = 0;  // NTF_EXT_*
    uint8_t protocol = 0;    // RTPROT_*
    uint32_t seen = 0;

    // The kernel transmits to neighbours in these states at once (NUD_VALID): PERMANENT, NOARP, REACHABLE,
    // STALE, DELAY, PROBE.
    [[nodiscard]] bool usable() const;
};

// "reachable", "stale", ... as iproute2 writes it, in lower case.
[[nodiscard]] std::string_view neighbour_state_name(uint16_t nud);

class Neighbours {
  public:
    // False when nothing that matters to forwarding changed (usable, and the MAC address).
    bool apply(const NeighborMessage& message, uint32_t generation);
    [[nodiscard]] std::vector<NeighborKey> not_seen(uint32_t generation) const;

    [[nodiscard]] const Neighbor* find(const NeighborKey& key) const;
    [[nodiscard]] const std::map<NeighborKey, Neighbor>& all() const { return neighbours_; }
    // Calls f(key, neighbour) for each one with an address in the prefix.
    template <class F>
    void within(const Prefix& prefix, F f) const {
        for (auto i = neighbours_.lower_bound({prefix.address, Ifindex{}});
             i != neighbours_.end() && prefix.contains(i->first.address); ++i) {
            f(i->first, i->second);
        }
    }

  private:
    std::map<NeighborKey, Neighbor> neighbours_;
};

}  // namespace millrace::sync
