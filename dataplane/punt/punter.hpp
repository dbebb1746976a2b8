// SPDX-License-Identifier: BSD-3-Clause
// Hands punted frames to the kernel on a thread of its own, so that a worker never waits for the stack.
#pragma once

#include <rte_ring.h>

#include <atomic>
#include <memory>
#include <thread>
#include <vector>

#include "dataplane/forward/counters.hpp"
#include "dataplane/punt/tap.hpp"

namespace millrace::dataplane {

class Punter {
  public:
    // taps: by PortId; the punter owns them. ring_size: frames that may wait, a power of two. After
    // Eal::start.
    static Result<std::unique_ptr<Punter>> start(std::vector<Tap> taps, uint16_t ring_size);
    // Hands over what waits, then ends the thread. The workers have stopped.
    ~Punter();
    Punter(const Punter&) = delete;
    Punter& operator=(const Punter&) = delete;

    // Takes many producers.
    [[nodiscard]] rte_ring* ring() const { return ring_; }
    // Control thread.
    Status set_mac(PortId port, const MacAddress& mac) { return taps_[raw(port)].set_mac(mac); }
    // Any thread.
    [[nodiscard]] uint64_t written(PortId port) const { return written_[raw(port)].read(); }
    [[nodiscard]] uint64_t refused(PortId port) const { return refused_[raw(port)].read(); }

  private:
    Punter(std::vector<Tap> taps, rte_ring* ring);
    void run();
    unsigned hand_over();

    std::vector<Tap> taps_;
    rte_ring* ring_;
    std::vector<Counter> written_;
    std::vector<Counter> refused_;
    std::atomic<bool> stop_{false};
    std::thread thread_;
};

}  // namespace millrace::dataplane
