// SPDX-License-Identifier: BSD-3-Clause
// The thread that writes the ports' heartbeats. It waits for nothing but its period: whatever holds up the
// control thread (the kernel's network configuration, a reader of the log, ...) holds up no heartbeat, unless
// the mirror falls behind by it. Of the real-time class like the workers, for some microseconds at a time: it
// looks at them, and a false alarm would cost the fast path. It runs on their cores: a kernel without
// preemption lets even a real-time thread wait for a system call of somebody else's, a tenth of a second and
// more where network devices are deleted by the hundred. On the workers' cores, that holds up the workers
// too.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "dataplane/daemon/liveness.hpp"
#include "dataplane/daemon/steering.hpp"
#include "dataplane/forward/schedstat.hpp"
#include "dataplane/forward/worker_set.hpp"
#include "dataplane/port/af_xdp_port.hpp"
#include "dataplane/punt/punter.hpp"
#include "fib_sync/fib_sync.hpp"

namespace millrace::dataplane {

class Heart {
  public:
    // What it looks at; all outlives it.
    struct Body {
        const std::vector<AfXdpPort>& ports;
        const WorkerSet& workers;
        const Punter& punter;
        std::vector<int> news;  // readable while the kernel has told what nobody has read
        Steering& steering;
    };
    // Main thread.
    static std::unique_ptr<Heart> start(const Body& body, const Config& config);
    ~Heart();
    Heart(const Heart&) = delete;
    Heart& operator=(const Heart&) = delete;

    // The rest is the control thread's. From the first call on it beats.
    void begin() { begun_.store(true); }
    // To be called whenever the thread has done something, at least every turn_us.
    void turn(const sync::FibSync& sync);
    // Logs what was missing of which port since the last call, and has steering show what still is.
    void tell();
    // By PortId, of some milliseconds ago; all default before begin().
    [[nodiscard]] std::vector<Liveness::Pulse> pulses() const;
    // See Liveness::moves().
    [[nodiscard]] bool moves() const { return moves_.load(); }

    static constexpr uint64_t period_us = 5'000;
    static constexpr uint64_t turn_us = 5'000;
    static constexpr uint64_t tell_us = 20'000;

  private:
    struct Told {
        std::string missing;   // what was last said to be missing of the port
        uint64_t at_ns = 0;    // when
        unsigned unsaid = 0;   // times since that were not said
        bool is_said = false;  // of what is missing now
    };
    struct Event {
        size_t port = 0;
        std::string missing;  // empty: it is over
        uint64_t since_ns = 0;
        uint64_t until_ns = 0;
    };
    Heart(const Body& body, const Config& config);
    void run();
    void look();
    void note(const std::vector<Liveness::Pulse>& pulses, uint64_t now_ns);
    void log(const Event& event);
    void say(size_t port, const std::string& missing, uint64_t since_ns, uint64_t now_ns);

    Body body_;
    std::vector<uint16_t> cores_;
    std::vector<std::string> names_;
    Liveness liveness_;
    // The heart's own.
    Liveness::Seen seen_;
    std::vector<Schedstat> schedstats_;  // by worker
    uint64_t looks_ = 0;

    std::atomic<bool> begun_{false};
    std::atomic<bool> moves_{true};
    std::atomic<uint64_t> asked_{0};
    std::atomic<uint64_t> answered_{0};
    std::atomic<uint64_t> turns_{0};
    std::atomic<uint64_t> behind_ms_{0};
    // The control thread's: since when nothing waits that the kernel had told when it was asked.
    uint64_t read_ask_ = 0;
    uint64_t read_ms_ = 0;
    std::vector<Told> told_;  // by PortId

    // The heart never waits for it: the control thread may hold it without having a core.
    mutable std::mutex mutex_;
    std::vector<Event> events_;           // guarded by mutex_
    std::vector<Liveness::Pulse> noted_;  // by PortId; the same
    std::atomic<bool> stop_{false};
    std::thread thread_;
};

}  // namespace millrace::dataplane
