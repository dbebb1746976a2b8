// SPDX-License-Identifier: BSD-3-Clause
#include "dataplane/punt/punter.hpp"

#include <pthread.h>
#include <rte_errno.h>
#include <rte_mbuf.h>

#include <chrono>
#include <utility>

namespace millrace::dataplane {

namespace {
constexpr unsigned burst = 32;
// Nobody wakes this thread: that would be a system call in the worker. The pause is what a punted packet may
// wait.
constexpr auto pause = std::chrono::microseconds(500);
}  // namespace

Result<std::unique_ptr<Punter>> Punter::start(std::vector<Tap> taps, uint16_t ring_size) {
    rte_ring* ring = rte_ring_create("punt", ring_size, SOCKET_ID_ANY, RING_F_SC_DEQ | RING_F_EXACT_SZ);
    if (ring == nullptr) {
        return fail("no punt ring", rte_errno);
    }
    return std::unique_ptr<Punter>(new Punter(std::move(taps), ring));
}

Punter::Punter(std::vector<Tap> taps, rte_ring* ring)
    : taps_(std::move(taps)), ring_(ring), written_(taps_.size()), refused_(taps_.size()) {
    thread_ = std::thread([this] { run(); });
    pthread_setname_np(thread_.native_handle(), "millrace-punt");
}

Punter::~Punter() {
    stop_.store(true, std::memory_order_release);
    thread_.join();
    rte_ring_free(ring_);
}

unsigned Punter::hand_over() {
    std::array<void*, burst> frames;
    const unsigned n = rte_ring_dequeue_burst(ring_, frames.data(), burst, nullptr);
    for (unsigned i = 0; i < n; ++i) {
        auto* frame = static_cast<rte_mbuf*>(frames[i]);
        const uint16_t port = frame->port;
        if (taps_[port].write(rte_pktmbuf_mtod(frame, const void*), rte_pktmbuf_data_len(frame))) {
            written_[port].add(1);
        } else {
            refused_[port].add(1);
        }
        rte_pktmbuf_free(frame);
    }
    return n;
}

void Punter::run() {
    while (true) {
        const bool last = stop_.load(std::memory_order_acquire);
        while (hand_over() > 0) {
        }
        if (last) {
            return;
        }
        std::this_thread::sleep_for(pause);
    }
}

}  // namespace millrace::dataplane
