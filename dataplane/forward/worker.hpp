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
    // forwarder is this worker's own.
    Worker(unsigned index, std::vector<RxQueue> rx, Forwarder& forwarder, Quiescence& quiescence,
           WorkerCounters& counters, const WorkerConfig& config);

    // The worker's thread; returns after stop().
    void run();
    // Any thread. Takes effect within sleep_ms.
    void stop() { stop_.store(true, std::memory_order_relaxed); }

    // Longest sleep of an idle worker: a fifth of the shortest heartbeat timeout that the configuration
    // allows.
    static constexpr int sleep_ms = 10;

  private:
    [[nodiscard]] uint64_t poll_queues();
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
    std::atomic<bool> stop_{false};
};

}  // namespace millrace::dataplane
