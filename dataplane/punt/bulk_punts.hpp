// SPDX-License-Identifier: BSD-3-Clause
// Punts in bulk. A punted packet costs more than one that the kernel has from the start, and its ring is
// short: where many go to the same blocks of addresses, the classifier is to leave these blocks in the kernel
// for a while. No clock, no thread: whoever looks says the time. Milliseconds of any monotonic clock.
#pragma once

#include <functional>
#include <map>
#include <span>
#include <vector>

#include "dataplane/punt/punt_sample.hpp"
#include "millrace/keep.hpp"

namespace millrace::dataplane {

class BulkPunts {
  public:
    // Of a port, since the last look.
    struct Seen {
        PuntSample::Taken punts{};
        uint64_t forwarded = 0;  // packets
        uint64_t dropped = 0;    // by a punt ring that was full
    };
    // Would the fast path forward a packet that came in on the port, to the address?
    using Forwards = std::function<bool(PortId, const IpAddress&)>;

    // names: of the ports, by PortId.
    explicit BulkPunts(std::vector<std::string> names) : names_(std::move(names)) {}

    // seen: by PortId. True: keeps() are others than before.
    bool look(uint64_t now_ms, std::span<const Seen> seen, const Forwards& forwards);
    [[nodiscard]] std::vector<Keep> keeps() const;

    // Packets a second to be carried on from which on it is bulk; a tenth of it where some were lost.
    static constexpr uint64_t bulk = 10'000;
    // For so long the blocks are kept; when the bulk is there again at once, twice as long, and so on.
    static constexpr uint64_t first_hold_ms = 10'000;
    static constexpr uint64_t longest_hold_ms = 300'000;
    static constexpr uint64_t again_ms = 2'000;
    static constexpr size_t most = 64;  // blocks of a port

  private:
    struct Key {
        PortId port{};
        Prefix block{};
        auto operator<=>(const Key&) const = default;
    };
    struct Block {
        uint64_t until_ms = 0;  // kept before, remembered from then on
        uint64_t hold_ms = first_hold_ms;
        uint64_t rate = 0;                // packets a second of the port's family, when it began
        std::vector<IpAddress> sample{};  // some that were not to be forwarded when it began
    };
    void keep(uint64_t now_ms, PortId port, const Seen& seen, const Forwards& forwards, uint64_t passed_ms);

    std::vector<std::string> names_;
    std::map<Key, Block> blocks_;
    std::map<Key, unsigned> forwarding_;  // looks that found bulk though the routes forward
    uint64_t last_ms_ = 0;
};

// The narrowest blocks of one length, few of them, that most of the addresses are in. All of one family.
std::vector<Prefix> blocks_of(std::span<const IpAddress> addresses);

}  // namespace millrace::dataplane
