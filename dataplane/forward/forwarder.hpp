// SPDX-License-Identifier: BSD-3-Clause
// The forwarding path of one worker: a burst of received frames in, frames to transmit and to punt out.
// No system call, lock, log or allocation but what the driver's own burst calls do.
#pragma once

#include <rte_mbuf.h>
#include <rte_ring.h>

#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "dataplane/fib/tables.hpp"
#include "dataplane/forward/counters.hpp"

namespace millrace::dataplane {

inline constexpr uint16_t burst_size = 32;  // what copy-mode AF_XDP sends with one system call

struct IpPacket;

// A transmit queue that belongs to one worker alone.
struct TxQueue {
    uint16_t device = 0;  // DPDK's port id
    uint16_t queue = 0;
};

class Forwarder {
  public:
    // tx: this worker's transmit queue on each port, by PortId. punt_ring: takes many producers; its consumer
    // finds the PortId of the ingress in mbuf->port. counters outlive the forwarder.
    Forwarder(Tables& tables, std::vector<TxQueue> tx, rte_ring* punt_ring, WorkerCounters& counters);

    // Takes over the frames, all received on the port ingress. Everything is sent, punted or freed on return.
    // The worker's thread; online in tables.quiescence().
    void process(std::span<rte_mbuf*> frames, PortId ingress);

  private:
    struct Pending {
        uint16_t count = 0;
        std::array<rte_mbuf*, burst_size> frames{};
    };
    struct Parsed;
    unsigned filter_sources(Parsed& parsed, unsigned count, ReversePath filter);
    void forward(rte_mbuf* frame, const IpPacket& packet, uint32_t fib_value);
    void discard(rte_mbuf* frame, Reason reason);
    void punt_or_discard(rte_mbuf* frame, Reason reason);
    void flush_tx();
    void flush_punt();

    const Tables& tables_;
    std::vector<TxQueue> tx_;
    rte_ring* punt_ring_;
    WorkerCounters& counters_;

    // Of the burst in hand.
    uint16_t ingress_ = 0;
    std::array<uint32_t, reason_count> reasons_{};
    std::vector<Pending> out_;         // by PortId
    std::vector<uint16_t> out_ports_;  // ports with something in out_
    uint16_t punt_count_ = 0;
    std::array<rte_mbuf*, burst_size> punt_{};
    std::array<Reason, burst_size> punt_reasons_{};
};

}  // namespace millrace::dataplane
