// SPDX-License-Identifier: BSD-3-Clause
#include "dataplane/daemon/drain.hpp"

#include <fmt/core.h>
#include <linux/membarrier.h>
#include <poll.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <thread>

#include "dataplane/port/xsk.hpp"

namespace millrace::dataplane {

namespace {

using Clock = std::chrono::steady_clock;
constexpr auto step = std::chrono::microseconds(500);
// Longer than the kernel polls a netdev in one go.
constexpr auto poll_time = std::chrono::milliseconds(20);

// A classifier that has read the old configuration may still be about to redirect: it ends within an RCU
// grace period, and so does the poll of the netdev that it is part of. This barrier waits for one.
void wait_for_classifiers() {
    if (syscall(SYS_membarrier, MEMBARRIER_CMD_GLOBAL, 0, 0) != 0) {
        std::this_thread::sleep_for(poll_time);
    }
}

// Of how many does a frame wait to be received?
size_t waiting(const std::vector<int>& fds) {
    std::vector<pollfd> polls;
    std::transform(fds.begin(), fds.end(), std::back_inserter(polls),
                   [](int fd) { return pollfd{.fd = fd, .events = POLLIN, .revents = 0}; });
    poll(polls.data(), polls.size(), 0);
    return static_cast<size_t>(
        std::count_if(polls.begin(), polls.end(), [](const pollfd& p) { return (p.revents & POLLIN) != 0; }));
}

size_t sending(const std::vector<int>& fds) {
    return static_cast<size_t>(
        std::count_if(fds.begin(), fds.end(), [](int fd) { return !XskTransmitRing(fd).empty(); }));
}

std::vector<uint64_t> loops_of(const WorkerSet& workers) {
    std::vector<uint64_t> loops;
    for (size_t w = 0; w < workers.size(); ++w) {
        loops.push_back(workers.counters(w).loops.read());
    }
    return loops;
}

// Each worker has gone round twice: once may have begun before.
bool went_round(const WorkerSet& workers, const std::vector<uint64_t>& before) {
    for (size_t w = 0; w < before.size(); ++w) {
        if (workers.counters(w).loops.read() < before[w] + 2) {
            return false;
        }
    }
    return true;
}

}  // namespace

std::vector<PortId> all_of(const std::vector<AfXdpPort>& ports) {
    std::vector<PortId> all;
    for (size_t p = 0; p < ports.size(); ++p) {
        all.push_back(PortId{static_cast<uint16_t>(p)});
    }
    return all;
}

Drain::Drain(const std::vector<AfXdpPort>& ports, std::vector<PortId> which, const WorkerSet& workers,
             const Punter& punter)
    : workers_(workers), punter_(punter), which_(std::move(which)) {
    for (const PortId id : which_) {
        const AfXdpPort& port = ports[raw(id)];
        if (port.alive()) {
            std::transform(port.queues().begin(), port.queues().end(), std::back_inserter(sockets_),
                           [](const AfXdpPort::Queue& q) { return q.fd; });
        }
        zero_copy_ = zero_copy_ || port.zero_copy();
    }
    wait_for_classifiers();
}

bool Drain::punted() const {
    return std::all_of(which_.begin(), which_.end(), [this](PortId port) { return punter_.empty(port); });
}

bool Drain::done() {
    switch (stage_) {
        case Stage::receive:
            if (waiting(sockets_) != 0) {
                return false;
            }
            loops_ = loops_of(workers_);
            stage_ = Stage::workers;
            [[fallthrough]];
        case Stage::workers:
            if (!went_round(workers_, loops_)) {
                return false;
            }
            stage_ = Stage::transmit;
            [[fallthrough]];
        case Stage::transmit:
            if (sending(sockets_) != 0) {
                return false;
            }
            stage_ = Stage::punt;
            [[fallthrough]];
        case Stage::punt:
            return punted();
    }
    return false;
}

std::string Drain::left() const {
    std::string left;
    const auto note = [&left](bool is_left, const std::string& what) {
        if (is_left) {
            left += (left.empty() ? "" : ", ") + what;
        }
    };
    note(waiting(sockets_) != 0, fmt::format("{} receive rings", waiting(sockets_)));
    note(stage_ == Stage::workers && !went_round(workers_, loops_), "a worker that stands still");
    note(sending(sockets_) != 0, fmt::format("{} transmit rings", sending(sockets_)));
    note(!punted(), "punt rings");
    return left;
}

bool Drain::wait(std::chrono::milliseconds longest) {
    const auto end = Clock::now() + longest;
    while (!done()) {
        if (Clock::now() > end) {
            return false;
        }
        std::this_thread::sleep_for(step);
    }
    if (zero_copy_) {
        std::this_thread::sleep_for(poll_time);  // what the NIC has taken from the rings it has yet to send
    }
    return true;
}

}  // namespace millrace::dataplane
