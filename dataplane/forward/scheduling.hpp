// SPDX-License-Identifier: BSD-3-Clause
// Which scheduling class a worker gets. As an ordinary task it shares its core with whatever else runs there,
// and loses packets for as long as that is running.
#pragma once

#include <cstdint>
#include <string>

#include "millrace/config.hpp"

namespace millrace::dataplane {

// What decides it, beside the configuration.
struct SchedulingFacts {
    // What the kernel lets real-time tasks have of a core (sched_rt_runtime_us, sched_rt_period_us).
    int64_t realtime_us = 950'000;  // -1 = all of it
    int64_t period_us = 1'000'000;
    bool other_cores = true;  // this process may run on a core that has no worker
};

struct SchedulingChoice {
    Scheduling scheduling = Scheduling::normal;  // never automatic
    std::string why{};                           // it is not what was asked for, or not real-time; else empty
};

// Reads /proc. Main thread, before the workers start.
SchedulingFacts scheduling_facts(const WorkerConfig& config);
// Pure. Real-time by default for workers that sleep: one that spins never lets its core go, and would stand
// still itself when the kernel takes the core away from it. Never where the control thread has no other core:
// an overloaded worker would starve the heartbeat.
SchedulingChoice choose_scheduling(const WorkerConfig& config, const SchedulingFacts& facts);
// Of the process, so that it starts soon, and beats, where others want all cores: nice -10, which leaves them
// a tenth of one; for its session, too, if that is its own, since the scheduler shares cores by session first
// (man 7 sched, autogroups). Main thread, before others start: they inherit it. The log says what the kernel
// refuses.
void prefer_this_process();
struct InForce {
    Scheduling scheduling = Scheduling::normal;
    std::string text{};  // for the log
};
// Of the calling thread. Where the kernel refuses, it is less than what was asked for.
InForce schedule_this_thread(Scheduling scheduling);

// The breaks of a real-time thread that always has work. The kernel takes what is left of each second for
// ordinary tasks from it at once, 50 ms, in which receive rings run over. A thread that is off its core for
// more than that share by itself, a little at a time, is let alone. Times in cycles of one clock.
class Breaks {
  public:
    // Longer than the 5 % that the kernel asks for.
    static constexpr uint64_t break_us = 100;
    static constexpr uint64_t window_us = 1'800;

    Breaks(uint64_t cycles_per_us, uint64_t now)
        : break_(break_us * cycles_per_us), window_(window_us * cycles_per_us), since_(now) {}

    // Is it time for a break?
    [[nodiscard]] bool due(uint64_t now) {
        if (now - since_ < window_) {
            return false;
        }
        const bool rested = off_ >= break_;
        since_ = now;
        off_ = 0;
        return !rested;
    }
    // The thread slept.
    void slept(uint64_t cycles) { off_ += cycles; }

  private:
    uint64_t break_;
    uint64_t window_;
    uint64_t since_;    // the window's begin
    uint64_t off_ = 0;  // asleep in the window
};

}  // namespace millrace::dataplane
