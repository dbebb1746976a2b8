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
    bool open = true;  // false: nothing is ever sent there
};

// Where a port's packets wait for the kernel. Both take many producers; they may be the same.
struct PuntRings {
    rte_ring* carry_on = nullptr;  // kernel_carries_on(reason)
    rte_ring* answer = nullptr;    // the others
};

class Forwarder {
  public:
    // tx: this worker's transmit queue on each port, by PortId. punt: the rings of each ingress port, by
    // PortId; their consumer finds that in mbuf->port, too. counters outlive the forwarder.
    Forwarder(Tables& tables, std::vector<TxQueue> tx, std::vector<PuntRings> punt, WorkerCounters& counters);

    // Takes over the frames, all received on the port ingress. Everything is sent, punted or freed on return;
    // freed, when it is later than late, as rte_rdtsc() has it: then the thread has stood still in between.
    // The worker's thread; online in tables.quiescence().
    void process(std::span<rte_mbuf*> frames, PortId ingress, uint64_t late = UINT64_MAX);

    // To be called every tend_ms, with traffic or without: asks again for what a port has not taken yet, and
    // takes back the buffers of what it has sent. The worker's thread.
    void tend_transmit();
    static constexpr unsigned tend_ms = 1;
    // Some port has yet to take frames.
    [[nodiscard]] bool transmit_waits() const { return waiting_ != 0; }

  private:
    struct Pending {
        uint16_t count = 0;
        std::array<rte_mbuf*, burst_size> frames{};
    };
    template <class K>
    struct Parsed;
    void filter_sources(Parsed<uint32_t>& parsed, ReversePath filter);
    template <class K>
    void forward(const Parsed<K>& parsed, const std::array<uint32_t, burst_size>& fib_values);
    void forward_over(rte_mbuf* frame, const IpPacket& packet, uint32_t adjacency);
    void discard(rte_mbuf* frame, Reason reason);
    void punt_or_discard(rte_mbuf* frame, Reason reason);
    void flush_tx();
    uint16_t transmit(uint16_t port, rte_mbuf** frames, uint16_t count);
    struct Punted {
        uint16_t count = 0;
        std::array<rte_mbuf*, burst_size> frames{};
        std::array<Reason, burst_size> reasons{};
    };
    void flush_punt(Punted& punted, rte_ring* ring);
    // All that is pending.
    void discard_late();

    const Tables& tables_;
    std::vector<TxQueue> tx_;
    std::vector<PuntRings> punt_;
    WorkerCounters& counters_;

    // Of the burst in hand.
    uint16_t ingress_ = 0;
    std::array<uint32_t, reason_count> reasons_{};
    std::vector<Pending> out_;         // by PortId
    std::vector<uint16_t> out_ports_;  // ports with something in out_

    // Of each egress port, by PortId.
    struct Egress {
        uint16_t rounds = 0;   // of tend_transmit() that look at it
        bool waiting = false;  // frames are left in its transmit ring
    };
    static constexpr uint16_t tended_rounds = 1000 / tend_ms;  // a second after the last frame
    std::vector<Egress> egress_;
    unsigned waiting_ = 0;  // how many have waiting
    Punted carry_on_;
    Punted answer_;
};

}  // namespace millrace::dataplane
