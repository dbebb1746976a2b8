// SPDX-License-Identifier: BSD-3-Clause
#include "dataplane/daemon/heart.hpp"

#include <fmt/chrono.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <ctime>
#include <system_error>
#include <utility>

#include "dataplane/forward/scheduling.hpp"

namespace millrace::dataplane {

namespace {

constexpr uint64_t ns_per_ms = 1'000'000;
constexpr uint64_t ns_per_s = 1'000'000'000;
constexpr uint64_t looks_for_counters = Liveness::window_ns / (Heart::period_us * 1000);
constexpr size_t most_events = 256;  // that the control thread has not told yet
// Between two lines about a port: of the same, of another cause.
constexpr uint64_t quiet_ns = 10 * ns_per_s;
constexpr uint64_t least_quiet_ns = ns_per_s;
// Removed routes wait for so long for what replaces them, and a bit.
constexpr uint64_t settle_ms = 10;

uint64_t monotonic_ns() {
    timespec now{};
    clock_gettime(CLOCK_MONOTONIC, &now);
    return static_cast<uint64_t>(now.tv_sec) * ns_per_s + static_cast<uint64_t>(now.tv_nsec);
}

bool any_readable(const std::vector<int>& fds) {
    return std::any_of(fds.begin(), fds.end(), [](int fd) {
        pollfd p{.fd = fd, .events = POLLIN, .revents = 0};
        return poll(&p, 1, 0) > 0;
    });
}

std::string wall_time(uint64_t monotonic) {
    const auto ago = std::chrono::nanoseconds(monotonic_ns() - monotonic);
    const auto then = std::chrono::system_clock::now() -
                      std::chrono::duration_cast<std::chrono::system_clock::duration>(ago);
    return fmt::format("{:%F %T}", fmt::localtime(std::chrono::system_clock::to_time_t(then)));
}

}  // namespace

Heart::Heart(const Body& body, const Config& config)
    : body_(body),
      cores_(config.workers.cores),
      liveness_({.ports = config.ports.size(),
                 .cores = config.workers.cores,
                 .timeout_ns = config.steering.heartbeat_timeout_ms * ns_per_ms}),
      schedstats_(config.workers.cores.size()),
      told_(config.ports.size()),
      noted_(config.ports.size()) {
    for (const PortConfig& port : config.ports) {
        names_.push_back(port.name);
    }
    seen_.workers.resize(config.workers.cores.size());
    for (const AfXdpPort& port : body_.ports) {
        seen_.ports.push_back({.open = port.is_open()});
        seen_.ports.back().dropped.resize(config.workers.cores.size());
    }
}

std::unique_ptr<Heart> Heart::start(const Body& body, const Config& config) {
    std::unique_ptr<Heart> heart(new Heart(body, config));
    heart->thread_ = std::thread([h = heart.get()] { h->run(); });
    pthread_setname_np(heart->thread_.native_handle(), "millrace-heart");
    return heart;
}

Heart::~Heart() {
    stop_.store(true);
    thread_.join();
}

void Heart::run() {
    cpu_set_t cores;
    CPU_ZERO(&cores);
    for (const uint16_t core : cores_) {
        CPU_SET(core, &cores);
    }
    if (sched_setaffinity(0, sizeof(cores), &cores) != 0) {
        spdlog::debug("heartbeats: any core ({})", std::generic_category().message(errno));
    }
    spdlog::debug("heartbeats: scheduling: {}", schedule_this_thread(Scheduling::realtime).text);
    while (!stop_.load()) {
        look();
        // From now on: rounds that were missed are not made up for.
        std::this_thread::sleep_for(std::chrono::microseconds(period_us));
    }
}

void Heart::look() {
    // The time first: what stands still after this is older.
    seen_.now_ns = monotonic_ns();
    const bool counters = looks_++ % looks_for_counters == 0;
    for (size_t w = 0; w < seen_.workers.size(); ++w) {
        seen_.workers[w].loops = body_.workers.counters(w).loops.read();
        if (counters) {
            seen_.workers[w].waited_ns = schedstats_[w].read(body_.workers.tid(w)).waited_ns;
        }
    }
    seen_.punter_rounds = body_.punter.rounds();
    seen_.punts_wait = false;
    for (size_t p = 0; p < seen_.ports.size(); ++p) {
        seen_.punts_wait = seen_.punts_wait || !body_.punter.empty(PortId{static_cast<uint16_t>(p)});
    }
    seen_.control_turns = turns_.load();
    seen_.caught_up = answered_.load();
    seen_.news_wait = any_readable(body_.news);
    seen_.behind_ns = behind_ms_.load() * ns_per_ms;
    for (size_t p = 0; p < seen_.ports.size(); ++p) {
        const AfXdpPort& port = body_.ports[p];
        seen_.ports[p].bound = port.alive();
        if (counters && port.is_open()) {
            std::fill(seen_.ports[p].dropped.begin(), seen_.ports[p].dropped.end(), 0);
            for (size_t q = 0; q < port.queues().size(); ++q) {
                const XskStatistics of = AfXdpPort::statistics(port.queues()[q]);
                seen_.ports[p].dropped[q % seen_.workers.size()] += of.rx_ring_full + of.fill_ring_empty;
            }
        }
    }
    const std::vector<Liveness::Pulse>& pulses = liveness_.look(seen_);
    asked_.store(liveness_.ask());
    moves_.store(liveness_.moves());
    if (!begun_.load()) {
        return;
    }
    for (size_t p = 0; p < pulses.size(); ++p) {
        body_.steering.beat(PortId{static_cast<uint16_t>(p)}, pulses[p].beat_ns);
    }
    note(pulses, seen_.now_ns);
}

void Heart::note(const std::vector<Liveness::Pulse>& pulses, uint64_t now_ns) {
    const std::unique_lock lock(mutex_, std::try_to_lock);
    if (!lock.owns_lock()) {
        return;  // with the next look
    }
    for (size_t p = 0; p < pulses.size(); ++p) {
        const Liveness::Pulse& now = pulses[p];
        Liveness::Pulse& before = noted_[p];
        if (now.missing != before.missing && events_.size() < most_events) {
            events_.push_back({.port = p,
                               .missing = now.missing,
                               .since_ns = now.missing.empty() ? before.since_ns : now.since_ns,
                               .until_ns = now_ns});
        }
        before = now;
    }
}

void Heart::turn(const sync::FibSync& sync) {
    turns_.fetch_add(1);
    behind_ms_.store(sync.behind_since_ms());
    const uint64_t asked = asked_.load();
    if (asked == answered_.load()) {
        return;
    }
    const uint64_t now_ms = sync::FibSync::now_ms();
    if (read_ask_ != asked && !any_readable(body_.news)) {
        read_ask_ = asked;
        read_ms_ = now_ms;
    }
    if (read_ask_ == asked && now_ms >= read_ms_ + settle_ms && sync.in_force()) {
        answered_.store(asked);
    }
}

void Heart::say(size_t port, const std::string& missing, uint64_t since_ns, uint64_t now_ns) {
    Told& told = told_[port];
    const std::string before =
        told.unsaid == 0 ? "" : fmt::format("; {} more times since it was last said", told.unsaid);
    spdlog::warn("port {}: left to the kernel since {}: {}{}", names_[port], wall_time(since_ns), missing,
                 before);
    told = {.missing = missing, .at_ns = now_ns, .is_said = true};
}

// What comes and goes is said once in a while, and how often it was not.
void Heart::log(const Event& event) {
    Told& told = told_[event.port];
    if (event.missing.empty()) {
        if (std::exchange(told.is_said, false)) {
            spdlog::info("port {}: on the fast path again after {} ms", names_[event.port],
                         (event.until_ns - event.since_ns) / ns_per_ms);
        }
    } else if (event.until_ns - told.at_ns >= (event.missing == told.missing ? quiet_ns : least_quiet_ns)) {
        say(event.port, event.missing, event.since_ns, event.until_ns);
    } else {
        ++told.unsaid;
        told.is_said = false;
    }
}

void Heart::tell() {
    std::vector<Event> events;
    std::vector<Liveness::Pulse> now;
    {
        const std::lock_guard lock(mutex_);
        events = std::exchange(events_, {});
        now = noted_;
    }
    for (const Event& event : events) {
        log(event);
    }
    // What was not worth a line when it began, and lasts.
    const uint64_t now_ns = monotonic_ns();
    for (size_t p = 0; p < now.size(); ++p) {
        if (!now[p].missing.empty() && !told_[p].is_said && now_ns - told_[p].at_ns >= quiet_ns) {
            told_[p].unsaid -= std::min(told_[p].unsaid, 1U);
            say(p, now[p].missing, now[p].since_ns, now_ns);
        }
    }
    if (events.empty()) {
        return;
    }
    std::vector<std::string> missing(names_.size());
    for (size_t p = 0; p < now.size(); ++p) {
        if (!now[p].missing.empty()) {
            missing[p] = fmt::format("no heartbeat since {}: {}", wall_time(now[p].since_ns), now[p].missing);
        }
    }
    body_.steering.set_silent(std::move(missing));
}

std::vector<Liveness::Pulse> Heart::pulses() const {
    const std::lock_guard lock(mutex_);
    return noted_;
}

}  // namespace millrace::dataplane
