// SPDX-License-Identifier: BSD-3-Clause
#include "dataplane/punt/punter.hpp"

#include <pthread.h>
#include <rte_errno.h>
#include <rte_mbuf.h>

#include <algorithm>
#include <chrono>
#include <utility>

#include "dataplane/forward/scheduling.hpp"

namespace millrace::dataplane {

namespace {
constexpr unsigned burst = 32;
// Nobody wakes this thread: that would be a system call in the worker. The pause is what a punted packet may
// wait; when nothing came for a while it is longer, for the sake of an idle core.
constexpr auto pause = std::chrono::microseconds(500);
constexpr auto idle_pause = std::chrono::milliseconds(2);
constexpr unsigned rounds_to_idle = 200;

uint64_t now_ns() {
    const auto since = std::chrono::steady_clock::now().time_since_epoch();
    return static_cast<uint64_t>(std::chrono::duration_cast<std::chrono::nanoseconds>(since).count());
}
}  // namespace

Result<std::unique_ptr<Punter>> Punter::start(std::vector<std::optional<Tap>> taps, uint16_t ring_size,
                                              uint32_t rate, uint32_t late_ms) {
    std::unique_ptr<Punter> punter(new Punter(uint64_t{late_ms} * 1'000'000));
    for (std::optional<Tap>& tap : taps) {
        punter->ports_.push_back(std::make_unique<Port>(std::move(tap), rate));
    }
    if (auto made = punter->make_rings(ring_size); !made) {
        return tl::unexpected(made.error());
    }
    punter->thread_ = std::thread([p = punter.get()] { p->run(); });
    pthread_setname_np(punter->thread_.native_handle(), "millrace-punt");
    return punter;
}

Status Punter::make_rings(uint16_t size) {
    rings_.resize(ports_.size());
    for (size_t p = 0; p < rings_.size(); ++p) {
        for (auto [kind, ring] :
             {std::pair{"carry_on", &rings_[p].carry_on}, {"answer", &rings_[p].answer}}) {
            *ring = rte_ring_create(fmt::format("{}_{}", kind, p).c_str(), size, SOCKET_ID_ANY,
                                    RING_F_SC_DEQ | RING_F_EXACT_SZ);
            if (*ring == nullptr) {
                return fail("no punt ring", rte_errno);
            }
        }
    }
    return {};
}

Punter::~Punter() {
    stop_.store(true, std::memory_order_release);
    if (thread_.joinable()) {
        thread_.join();
    }
    for (const PuntRings& rings : rings_) {
        rte_ring_free(rings.carry_on);
        rte_ring_free(rings.answer);
    }
}

bool Punter::stood_still() {
    const uint64_t now = now_ns();
    const bool stood = last_ns_ != 0 && now - last_ns_ > late_ns_;
    last_ns_ = now;
    return stood;
}

void Punter::discard_what_waits() {
    for (size_t p = 0; p < ports_.size(); ++p) {
        for (rte_ring* ring : {rings_[p].carry_on, rings_[p].answer}) {
            for (unsigned left = rte_ring_count(ring); left > 0; --left) {
                void* frame = nullptr;
                if (rte_ring_dequeue(ring, &frame) != 0) {
                    break;
                }
                ports_[p]->late.add(1);
                rte_pktmbuf_free(static_cast<rte_mbuf*>(frame));
            }
        }
    }
}

// A burst of what waits. budget: null = as many as there are.
unsigned Punter::hand_over(rte_ring* ring, Port& port, TokenBucket* budget) {
    std::array<void*, burst> frames;
    const unsigned n = rte_ring_dequeue_burst(ring, frames.data(), burst, nullptr);
    if (n > 0 && budget != nullptr) {
        budget->refill(now_ns());
    }
    for (unsigned i = 0; i < n; ++i) {
        auto* frame = static_cast<rte_mbuf*>(frames[i]);
        const void* data = rte_pktmbuf_mtod(frame, const void*);
        const uint32_t length = rte_pktmbuf_data_len(frame);
        late_ = late_ || stood_still();
        if (late_) {
            port.late.add(1);
            rte_pktmbuf_free(frame);
            continue;
        }
        if (budget == nullptr) {
            port.sample.saw(data, length);
        }
        if (budget != nullptr && !budget->take()) {
            port.over_rate.add(1);
        } else if (port.tap->write(data, length)) {
            port.written.add(1);
        } else {
            port.refused.add(1);
        }
        rte_pktmbuf_free(frame);
    }
    return n;
}

bool Punter::empty(PortId port) const {
    const PuntRings& rings = rings_[raw(port)];
    return rte_ring_empty(rings.carry_on) != 0 && rte_ring_empty(rings.answer) != 0;
}

unsigned Punter::round() {
    late_ = late_ || stood_still();
    if (late_) {
        discard_what_waits();
        late_ = false;
    }
    unsigned handed = 0;
    for (size_t p = 0; p < ports_.size(); ++p) {
        handed += hand_over(rings_[p].carry_on, *ports_[p], nullptr);
        handed += hand_over(rings_[p].answer, *ports_[p], &ports_[p]->budget);
    }
    rounds_.add(1);
    return handed;
}

void Punter::run() {
    // What it has waits no longer than the heartbeat's timeout, whoever else wants the core.
    schedule_this_thread(Scheduling::nice);
    unsigned empty_rounds = rounds_to_idle;
    while (true) {
        const bool last = stop_.load(std::memory_order_acquire);
        while (round() > 0) {
            empty_rounds = 0;
        }
        if (last) {
            return;
        }
        empty_rounds = std::min(empty_rounds + 1, rounds_to_idle);
        std::this_thread::sleep_for(empty_rounds < rounds_to_idle ? pause
                                                                  : std::chrono::microseconds(idle_pause));
    }
}

}  // namespace millrace::dataplane
