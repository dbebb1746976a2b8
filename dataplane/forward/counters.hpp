// SPDX-License-Identifier: BSD-3-Clause
// Counters of one worker. It alone writes them, with plain stores; any thread may read, and sees each word
// whole.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "dataplane/fib/shared.hpp"
#include "millrace/reason.hpp"

namespace millrace::dataplane {

class Counter {
  public:
    // The worker that owns it.
    void add(uint64_t n) { std::atomic_ref<uint64_t>(value_).store(value_ + n, std::memory_order_relaxed); }
    // Any thread.
    [[nodiscard]] uint64_t read() const {
        return std::atomic_ref<uint64_t>(const_cast<uint64_t&>(value_)).load(std::memory_order_relaxed);
    }

  private:
    uint64_t value_ = 0;
};

// Of one ingress port, but tx_*: of one egress port.
struct alignas(64) PortCounters {
    std::array<Counter, reason_count> by_reason;
    Counter rx_packets;
    Counter rx_bytes;  // layer-2 header included, FCS not
    Counter tx_packets;
    Counter tx_bytes;
    Counter tx_dropped;  // the port did not take them: its transmit ring was full, or the netdev refused
};

struct WorkerCounters {
    explicit WorkerCounters(size_t ports) : port(ports) {}
    std::vector<PortCounters> port;  // by PortId
    Counter loops;                   // moves while the worker makes progress, traffic or not
    Counter sleeps;
    Counter bursts;         // that had a packet
    Counter busy_cycles;    // of the rounds that had one
    Counter asleep_cycles;  // of the sleeps that have ended
    Counter begun_ns;       // CLOCK_MONOTONIC when it began to run; 0: not yet
    Counter begun_cycles;   // the same, as rte_rdtsc() has it
};

}  // namespace millrace::dataplane
