// SPDX-License-Identifier: BSD-3-Clause
// Which neighbour entries the kernel is asked to keep, because it does not see the traffic that needs them.
// No socket, no clock: requests go to an interface, time comes in as an argument, in milliseconds of any
// monotonic clock. Control thread only.
//
// Gateways in use, and connected hosts that carried traffic lately, become "managed extern_learn": the kernel
// then keeps them reachable by its own probes, resolves them again after a failure, and does not collect
// them, not even when a scan fills its table (neigh_forced_gc takes STALE entries first of all). They are
// given back to normal life when the use ends. Where the kernel has no managed entries (before Linux 5.16),
// and for hosts beyond a limit, it is asked to use an entry that went STALE, as a packet would.
//
// What an entry is shows in the mirror, and every round compares that with what it should be. So nothing is
// remembered of requests but when to repeat them, and a carrier loss, an operator's change, a lost request
// and what a killed daemon left behind are all put right in the next round. Ours are known by
// their protocol number. Entries that are PERMANENT or NOARP, or that somebody else keeps, are left alone.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string_view>

#include "fib_sync/mirror.hpp"
#include "millrace/sink.hpp"

namespace millrace::sync {

struct NeighbourRequest {
    enum class Kind : uint8_t {
        manage,     // make the entry managed and extern_learn, and create it where there is none
        use,        // as if a packet went there: STALE, FAILED and none become resolved or probed
        give_back,  // take off our flags; no entry is made
    };
    Kind kind = Kind::use;
    NeighborKey key;

    bool operator==(const NeighbourRequest&) const = default;
};

class NeighbourRequests {
  public:
    NeighbourRequests() = default;
    virtual ~NeighbourRequests() = default;
    NeighbourRequests(const NeighbourRequests&) = delete;
    NeighbourRequests& operator=(const NeighbourRequests&) = delete;
    // Never blocks. False = no room, ask again later.
    virtual bool submit(const NeighbourRequest& request) = 0;
};

enum class Care : uint8_t { none, managed, refreshed };
[[nodiscard]] std::string_view name(Care care);  // "-" for none

struct CareOptions {
    size_t managed_hosts = 8192;  // connected hosts that are managed at a time: they are exempt from the
                                  // kernel's gc_thresh3, so something else must bound them
    uint64_t round_ms = 500;      // between two looks at an entry
    uint64_t in_use_ms = 60'000;  // a host counts as in use so long after its last packet
    uint64_t repeat_ms = 1'000;   // a request that shows no effect is repeated; doubled each time
    uint64_t repeat_max_ms = 4'000;
    uint64_t use_again_ms = 4'000;  // STALE is still shown while the kernel is in DELAY (5 s)
};

class NeighbourCare {
  public:
    // In NDA_PROTOCOL of the entries that we keep: a number that iproute2's rt_protos leaves free.
    static constexpr uint8_t protocol = 109;

    // managed: the kernel has managed entries. All three outlive this.
    NeighbourCare(const Mirror& mirror, ForwardingSink& sink, NeighbourRequests& requests, bool managed,
                  CareOptions options = {})
        : mirror_(mirror), sink_(sink), requests_(requests), managed_(managed), options_(options) {}

    // Does the part of a round that is due. Not before the mirror has had its first whole table.
    void tick(uint64_t now);
    [[nodiscard]] uint64_t deadline() const { return next_slice_; }

    // For the orderly end: everything that is ours is given back.
    void give_back_all();

    [[nodiscard]] Care care_of(const NeighborKey& key) const;
    [[nodiscard]] uint64_t requested() const { return requested_; }
    // Entries under care.
    [[nodiscard]] size_t cared_for() const { return entries_.size(); }

  private:
    struct Entry {
        Care care = Care::none;
        bool counted = false;  // in managed_hosts_
        uint32_t round = 0;    // when it was last looked at
        std::optional<uint64_t> used_at;
        uint64_t ask_again_at = 0;
        uint64_t repeat_ms = 0;  // 0 = the last request had its effect
    };

    [[nodiscard]] bool is_ours(const NeighborKey& key, const Neighbor& neighbour) const;
    void look(const Groups::AdjacencyKey& key, const Groups::Adjacency& adjacency, uint64_t now);
    void look(const NeighborKey& key, uint64_t now);
    void set_care(Entry& entry, Care care, bool host);
    void ask(Entry& entry, NeighbourRequest::Kind kind, const NeighborKey& key, uint64_t now);
    void end_round(uint64_t now);

    const Mirror& mirror_;
    ForwardingSink& sink_;
    NeighbourRequests& requests_;
    bool managed_;
    CareOptions options_;

    std::map<NeighborKey, Entry> entries_;  // adjacencies, and what is to be given back
    size_t managed_hosts_ = 0;
    uint64_t requested_ = 0;

    // A round goes over the adjacencies, then over the neighbours, a slice at a time.
    enum class Stage : uint8_t { adjacencies, neighbours };
    Stage stage_ = Stage::adjacencies;
    std::optional<Groups::AdjacencyKey> last_adjacency_;
    std::optional<NeighborKey> last_neighbour_;
    uint32_t round_ = 1;
    uint64_t round_began_ = 0;
    uint64_t next_slice_ = 0;
    size_t budget_ = 0;  // requests left in this slice
};

}  // namespace millrace::sync
