// SPDX-License-Identifier: BSD-3-Clause
// Hands punted frames to the kernel on a thread of its own, so that a worker never waits for the stack. Each
// port has two rings: one for what the kernel carries on, one for what it answers, resolves or discards. The
// second is limited in rate, and no ring waits for another: a flood of one kind on one port costs the others
// nothing, and the thread a bounded share of a core.
#pragma once

#include <rte_ring.h>

#include <atomic>
#include <memory>
#include <optional>
#include <thread>
#include <vector>

#include "dataplane/forward/counters.hpp"
#include "dataplane/forward/forwarder.hpp"
#include "dataplane/punt/punt_sample.hpp"
#include "dataplane/punt/tap.hpp"
#include "dataplane/punt/token_bucket.hpp"

namespace millrace::dataplane {

class Punter {
  public:
    // taps: by PortId, none for a port that is not open; the punter owns them. ring_size: frames that may
    // wait in a ring, a power of two. rate: packets a second and port that are to be answered. late_ms: what
    // has waited for longer, while the thread stood still, is discarded. After Eal::start.
    static Result<std::unique_ptr<Punter>> start(std::vector<std::optional<Tap>> taps, uint16_t ring_size,
                                                 uint32_t rate, uint32_t late_ms);
    // Hands over what waits, then ends the thread. The workers have stopped.
    ~Punter();
    Punter(const Punter&) = delete;
    Punter& operator=(const Punter&) = delete;

    // By PortId.
    [[nodiscard]] const std::vector<PuntRings>& rings() const { return rings_; }
    // For whoever keeps it in order; nullptr where there is none.
    [[nodiscard]] Tap* tap(PortId port) {
        auto& tap = ports_[raw(port)]->tap;
        return tap ? &*tap : nullptr;
    }
    // Does nothing of the port wait? What the thread has in hand is no longer in a ring. Any thread.
    [[nodiscard]] bool empty(PortId port) const;
    // Any thread.
    [[nodiscard]] uint64_t written(PortId port) const { return ports_[raw(port)]->written.read(); }
    [[nodiscard]] uint64_t refused(PortId port) const { return ports_[raw(port)]->refused.read(); }
    [[nodiscard]] uint64_t over_rate(PortId port) const { return ports_[raw(port)]->over_rate.read(); }
    [[nodiscard]] uint64_t late(PortId port) const { return ports_[raw(port)]->late.read(); }
    // Moves while the thread does, at least every few milliseconds. Any thread.
    [[nodiscard]] uint64_t rounds() const { return rounds_.read(); }
    // Of what the kernel carries on, since the last call. Any thread.
    PuntSample::Taken take_sample(PortId port) { return ports_[raw(port)]->sample.take(); }

  private:
    struct Port {
        Port(std::optional<Tap> t, uint32_t rate) : tap(std::move(t)), budget(rate) {}
        std::optional<Tap> tap;
        TokenBucket budget;  // of packets to be answered
        PuntSample sample;   // of packets to be carried on
        Counter written;
        Counter refused;
        Counter over_rate;
        Counter late;
    };

    explicit Punter(uint64_t late_ns) : late_ns_(late_ns) {}
    Status make_rings(uint16_t size);
    void run();
    unsigned round();
    unsigned hand_over(rte_ring* ring, Port& port, TokenBucket* budget);
    // Has the thread stood still since it last began something?
    bool stood_still();
    void discard_what_waits();

    std::vector<std::unique_ptr<Port>> ports_;
    std::vector<PuntRings> rings_;
    uint64_t late_ns_;
    uint64_t last_ns_ = 0;
    bool late_ = false;  // what waits has done so for too long
    Counter rounds_;
    std::atomic<bool> stop_{false};
    std::thread thread_;
};

}  // namespace millrace::dataplane
