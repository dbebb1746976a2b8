// SPDX-License-Identifier: BSD-3-Clause
#include "dataplane/forward/scheduling.hpp"

#include <fmt/core.h>
#include <sched.h>
#include <spdlog/spdlog.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <fstream>
#include <system_error>

namespace millrace::dataplane {

namespace {
constexpr int lowest_priority =
    1;  // above all ordinary tasks, below the kernel's threads for interrupts (50)
constexpr int best_nice = -20;
// Weighs nine times an ordinary task: a full table that is read for seconds doesn't starve what announces it.
constexpr int process_nice = -10;
}  // namespace

SchedulingFacts scheduling_facts(const WorkerConfig& config) {
    SchedulingFacts facts;
    facts.realtime_us = -1;
    std::ifstream("/proc/sys/kernel/sched_rt_runtime_us") >> facts.realtime_us;
    std::ifstream("/proc/sys/kernel/sched_rt_period_us") >> facts.period_us;
    cpu_set_t allowed;
    CPU_ZERO(&allowed);
    sched_getaffinity(getpid(), sizeof(allowed), &allowed);
    for (const uint16_t core : config.cores) {
        CPU_CLR(core, &allowed);
    }
    // The main thread may already stay off the workers' cores; that it can is what counts.
    facts.other_cores = CPU_COUNT(&allowed) > 0;
    return facts;
}

SchedulingChoice choose_scheduling(const WorkerConfig& config, const SchedulingFacts& facts) {
    const bool wants_realtime =
        config.scheduling == Scheduling::realtime || config.scheduling == Scheduling::automatic;
    if (!wants_realtime) {
        return {.scheduling = config.scheduling};
    }
    if (facts.realtime_us < 0 || facts.realtime_us >= facts.period_us) {
        return {
            .scheduling = Scheduling::nice,
            .why = "real-time tasks are not throttled (sched_rt_runtime_us), and could take a core for ever"};
    }
    if (facts.realtime_us * 20 < facts.period_us * 19) {
        return {.scheduling = Scheduling::nice,
                .why = "real-time tasks have less than 95 % of a core (sched_rt_runtime_us)"};
    }
    if (!facts.other_cores) {
        return {.scheduling = Scheduling::nice,
                .why = "there is no core beside the workers' for the control thread"};
    }
    if (config.scheduling == Scheduling::automatic && config.idle == IdlePolicy::spin) {
        return {.scheduling = Scheduling::nice, .why = "workers that spin would never let their cores go"};
    }
    return {.scheduling = Scheduling::realtime};
}

void prefer_this_process() {
    if (setpriority(PRIO_PROCESS, 0, process_nice) != 0) {
        spdlog::info("nice {} for the process is refused ({})", process_nice,
                     std::generic_category().message(errno));
        return;
    }
    // Another's session, a login's for instance, has more in it than this.
    if (getsid(0) == getpid()) {
        std::ofstream("/proc/self/autogroup") << process_nice;  // none in this kernel: nothing to do
    }
}

InForce schedule_this_thread(Scheduling scheduling) {
    std::string refused;
    if (scheduling == Scheduling::realtime) {
        const sched_param param{.sched_priority = lowest_priority};
        if (sched_setscheduler(0, SCHED_RR | SCHED_RESET_ON_FORK, &param) == 0) {
            return {scheduling, fmt::format("real-time (SCHED_RR {})", lowest_priority)};
        }
        refused =
            fmt::format(", the real-time class being refused ({})", std::generic_category().message(errno));
        scheduling = Scheduling::nice;
    }
    if (scheduling == Scheduling::nice) {
        if (setpriority(PRIO_PROCESS, static_cast<id_t>(gettid()), best_nice) == 0) {
            return {scheduling, fmt::format("nice {}{}", best_nice, refused)};
        }
        refused +=
            fmt::format(", nice {} being refused ({})", best_nice, std::generic_category().message(errno));
    }
    return {Scheduling::normal, "ordinary" + refused};
}

}  // namespace millrace::dataplane
