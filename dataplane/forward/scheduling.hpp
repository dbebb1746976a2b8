// SPDX-License-Identifier: BSD-3-Clause
// Which scheduling class a worker gets. As an ordinary task it shares its core with whatever else runs there,
// and loses packets for as long as that is running.
#pragma once

#include <string>

#include "millrace/config.hpp"

namespace millrace::dataplane {

// What decides it, beside the configuration.
struct SchedulingFacts {
    bool throttled = true;    // the kernel keeps real-time tasks from a whole core (sched_rt_runtime_us)
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
// Of the calling thread. Returns what is in force, for the log: where the kernel refuses, that is less.
std::string schedule_this_thread(Scheduling scheduling);

}  // namespace millrace::dataplane
