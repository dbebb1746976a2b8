// SPDX-License-Identifier: BSD-3-Clause
// A worker: one thread on one core that owns receive queues and runs each burst to completion.
#pragma once

#include <poll.h>

#include <atomic>
#include <vector>

#include "dataplane/forward/forwarder.hpp"
#include "millrace/config.hpp"

namespace millrace::dataplane {

struct RxQueue {
    uint16_t device = 0;  // DPDK's port id
    uint16_t queue = 0;
    PortId port{};
    int poll_fd = -1;  // readable when frames wait; -1 = none: the worker then never sleeps
};

class Worker {
  public:
    // index: of this worker, below the maximum given to Tables. config: its scheduling is chosen already.
    // forwarder is this worker's own. late_ms: what has waited for longer, while the worker stood still, is
    // discarded.
    Worker(unsigned index, std::vector<RxQueue> rx, Forwarder& forwarder, Quiescence& quiescence,
           WorkerCounters& counters, const WorkerConfig& config, uint32_t late_ms = default_late_ms);

    // The worker's thread; returns after stop().
    void run();
    // Any thread. Takes effect within sleep_ms.
    void stop() { stop_.store(true, std::memory_order_relaxed); }

    // Of its thread, once it runs; 0: not yet. Any thread.
    [[nodiscard]] int tid() const { return tid_.load(std::memory_order_relaxed); }

    // Longest sleep of an idle worker: a fifth of the shortest heartbeat timeout that the configuration
    // allows.
    static constexpr int sleep_ms = 10;
    static constexpr uint32_t default_late_ms = SteeringConfig::least_late_ms;

  private:
    // now: of the round, as rte_rdtsc() has it.
    [[nodiscard]] uint64_t poll_queues(uint64_t now);
    void discard_what_waits();
    [[nodiscard]] uint64_t sleep();  // cycles

    unsigned index_;
    std::vector<RxQueue> rx_;
    std::vector<pollfd> poll_;
    Forwarder& forwarder_;
    Quiescence& quiescence_;
    WorkerCounters& counters_;
    Scheduling scheduling_;
    bool may_sleep_;
    uint64_t idle_cycles_;  // without a packet, before it sleeps
    uint64_t tend_cycles_;  // between two looks at the transmit rings
    uint64_t late_cycles_;  // the longest that a round may take
    std::atomic<int> tid_{0};
    std::atomic<bool> stop_{false};
};

}  // namespace millrace::dataplane
