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

template <class Condition>
bool until(Clock::time_point end, const Condition& condition) {
    while (!condition()) {
        if (Clock::now() > end) {
            return false;
        }
        std::this_thread::sleep_for(step);
    }
    return true;
}

// Sockets of the ports that are alive.
std::vector<int> sockets(const std::vector<AfXdpPort>& ports) {
    std::vector<int> fds;
    for (const AfXdpPort& port : ports) {
        if (port.alive()) {
            std::transform(port.queues().begin(), port.queues().end(), std::back_inserter(fds),
                           [](const AfXdpPort::Queue& q) { return q.fd; });
        }
    }
    return fds;
}

size_t waiting(const std::vector<int>& fds) {
    std::vector<pollfd> polls;
    std::transform(fds.begin(), fds.end(), std::back_inserter(polls),
                   [](int fd) { return pollfd{.fd = fd, .events = POLLIN, .revents = 0}; });
    poll(polls.data(), polls.size(), 0);
    return static_cast<size_t>(
        std::count_if(polls.begin(), polls.end(), [](const pollfd& p) { return (p.revents & POLLIN) != 0; }));
}

// Each worker has gone round twice: once may have begun before.
bool went_round(const WorkerSet& workers, const std::vector<uint64_t>& before) {
    for (size_t w = 0; w < workers.size(); ++w) {
        if (workers.counters(w).loops.read() < before[w] + 2) {
            return false;
        }
    }
    return true;
}

}  // namespace

std::string drain(const std::vector<AfXdpPort>& ports, const WorkerSet& workers, const Punter& punter,
                  std::chrono::milliseconds deadline) {
    wait_for_classifiers();
    const auto end = Clock::now() + deadline;
    const std::vector<int> fds = sockets(ports);
    std::string left;
    const auto note = [&left](bool done, std::string what) {
        if (!done) {
            left += (left.empty() ? "" : ", ") + std::move(what);
        }
    };
    const bool received = until(end, [&] { return waiting(fds) == 0; });
    note(received, fmt::format("{} receive rings", waiting(fds)));

    std::vector<uint64_t> loops;
    for (size_t w = 0; w < workers.size(); ++w) {
        loops.push_back(workers.counters(w).loops.read());
    }
    note(until(end, [&] { return went_round(workers, loops); }), "a worker that stands still");

    size_t full = 0;
    for (const int fd : fds) {
        XskTransmitRing ring(fd);
        full += until(end, [&ring] { return ring.empty(); }) ? 0 : 1;
    }
    note(full == 0, fmt::format("{} transmit rings", full));
    note(until(end, [&] { return punter.empty(); }), "punt rings");
    if (std::any_of(ports.begin(), ports.end(), [](const AfXdpPort& p) { return p.zero_copy(); })) {
        std::this_thread::sleep_for(poll_time);  // what the NIC has taken from the rings it has yet to send
    }
    return left;
}

}  // namespace millrace::dataplane
