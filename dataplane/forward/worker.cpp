// SPDX-License-Identifier: BSD-3-Clause
#include "dataplane/forward/worker.hpp"

#include <rte_cycles.h>
#include <rte_ethdev.h>

#include <sched.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <thread>
#include <utility>

#include "dataplane/forward/scheduling.hpp"

namespace millrace::dataplane {

namespace {
constexpr uint64_t most_descriptors = 65536;  // of a receive ring, far more than it may have

uint64_t monotonic_ns() {
    return static_cast<uint64_t>(
        std::chrono::nanoseconds(std::chrono::steady_clock::now().time_since_epoch()).count());
}
}  // namespace

Worker::Worker(unsigned index, std::vector<RxQueue> rx, Forwarder& forwarder, Quiescence& quiescence,
               WorkerCounters& counters, const WorkerConfig& config, uint32_t late_ms)
    : index_(index),
      rx_(std::move(rx)),
      forwarder_(forwarder),
      quiescence_(quiescence),
      counters_(counters),
      scheduling_(config.scheduling),
      may_sleep_(config.idle == IdlePolicy::sleep &&
                 std::all_of(rx_.begin(), rx_.end(), [](const RxQueue& q) { return q.poll_fd >= 0; })),
      idle_cycles_(rte_get_tsc_hz() / 1000000 * config.idle_after_us),
      tend_cycles_(rte_get_tsc_hz() / 1000 * Forwarder::tend_ms),
      late_cycles_(rte_get_tsc_hz() / 1000 * late_ms) {
    for (const RxQueue& q : rx_) {
        poll_.push_back({q.poll_fd, POLLIN, 0});
    }
}

uint64_t Worker::poll_queues(uint64_t now) {
    uint64_t received = 0;
    std::array<rte_mbuf*, burst_size> frames;
    for (const RxQueue& q : rx_) {
        const uint16_t n = rte_eth_rx_burst(q.device, q.queue, frames.data(), burst_size);
        if (n > 0) {
            forwarder_.process({frames.data(), n}, q.port, now + late_cycles_);
            received += n;
            counters_.bursts.add(1);
        }
    }
    return received;
}

// The thread has stood still: what waits is older than the heartbeat allows, and the table may be. The
// classifier sends nothing more meanwhile, so this ends.
void Worker::discard_what_waits() {
    std::array<rte_mbuf*, burst_size> frames;
    for (const RxQueue& q : rx_) {
        uint64_t bytes = 0;
        uint64_t discarded = 0;
        while (discarded < most_descriptors) {
            const uint16_t n = rte_eth_rx_burst(q.device, q.queue, frames.data(), burst_size);
            if (n == 0) {
                break;
            }
            for (unsigned i = 0; i < n; ++i) {
                bytes += rte_pktmbuf_pkt_len(frames[i]);
            }
            rte_pktmbuf_free_bulk(frames.data(), n);
            discarded += n;
        }
        PortCounters& counters = counters_.port[raw(q.port)];
        counters.rx_packets.add(discarded);
        counters.rx_bytes.add(bytes);
        counters.by_reason[static_cast<unsigned>(Reason::drop_late)].add(discarded);
    }
}

uint64_t Worker::sleep() {
    const uint64_t begin = rte_rdtsc();
    quiescence_.offline(index_);
    counters_.sleeps.add(1);
    const int most_ms = forwarder_.transmit_waits() ? static_cast<int>(Forwarder::tend_ms) : sleep_ms;
    if (poll(poll_.data(), poll_.size(), most_ms) > 0) {
        for (pollfd& p : poll_) {
            // A socket whose netdev is gone would end every sleep at once, for ever.
            p.fd = (p.revents & (POLLERR | POLLNVAL)) == 0 ? p.fd : -1;
        }
    }
    quiescence_.online(index_);
    const uint64_t asleep = rte_rdtsc() - begin;
    counters_.asleep_cycles.add(asleep);
    return asleep;
}

void Worker::run() {
    const InForce in_force = schedule_this_thread(scheduling_);
    spdlog::info("worker {} runs on core {}, scheduling: {}", index_, sched_getcpu(), in_force.text);
    const bool realtime = in_force.scheduling == Scheduling::realtime;
    tid_.store(gettid(), std::memory_order_relaxed);
    quiescence_.add_worker(index_);
    quiescence_.online(index_);
    uint64_t last_busy = rte_rdtsc();
    uint64_t last_tended = last_busy;
    Breaks breaks(rte_get_tsc_hz() / 1000000, last_busy);
    uint64_t last_round = last_busy;
    bool had_packets = false;  // the last round
    counters_.begun_cycles.add(last_busy);
    counters_.begun_ns.add(monotonic_ns());
    while (!stop_.load(std::memory_order_relaxed)) {
        counters_.loops.add(1);
        const uint64_t now = rte_rdtsc();
        if (had_packets) {
            counters_.busy_cycles.add(now - last_round);
        }
        if (now - last_tended > tend_cycles_) {
            forwarder_.tend_transmit();
            last_tended = now;
        }
        if (realtime && breaks.due(now)) {
            std::this_thread::sleep_for(std::chrono::microseconds(Breaks::break_us));
        }
        if (now - last_round > late_cycles_) [[unlikely]] {
            discard_what_waits();
        }
        last_round = now;
        had_packets = poll_queues(now) > 0;
        if (had_packets) {
            last_busy = 0;
        } else if (last_busy == 0) {
            last_busy = rte_rdtsc();  // idle from here
        } else if (may_sleep_ && rte_rdtsc() - last_busy > idle_cycles_) {
            breaks.slept(sleep());
            last_busy = 0;
        }
        quiescence_.quiescent(index_);
    }
    quiescence_.offline(index_);
}

}  // namespace millrace::dataplane
