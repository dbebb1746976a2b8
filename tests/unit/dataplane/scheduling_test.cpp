// SPDX-License-Identifier: BSD-3-Clause
// When workers may be real-time: never where that starves the control thread, or the worker itself.
#include "dataplane/forward/scheduling.hpp"

#include <gtest/gtest.h>

namespace millrace::test {
namespace {

using dataplane::Breaks;
using dataplane::choose_scheduling;
using dataplane::SchedulingFacts;

Scheduling chosen(Scheduling wanted, IdlePolicy idle, const SchedulingFacts& facts) {
    WorkerConfig config;
    config.idle = idle;
    config.scheduling = wanted;
    return choose_scheduling(config, facts).scheduling;
}

TEST(SchedulingChoice, RealtimeWhereItStarvesNobody) {
    EXPECT_EQ(chosen(Scheduling::automatic, IdlePolicy::sleep, {}), Scheduling::realtime);
    EXPECT_EQ(chosen(Scheduling::automatic, IdlePolicy::spin, {}), Scheduling::nice);
    EXPECT_EQ(chosen(Scheduling::realtime, IdlePolicy::spin, {}), Scheduling::realtime);
}

TEST(SchedulingChoice, NotWithoutThrottlingNorOnTheOnlyCore) {
    for (const Scheduling wanted : {Scheduling::automatic, Scheduling::realtime}) {
        for (const IdlePolicy idle : {IdlePolicy::sleep, IdlePolicy::spin}) {
            EXPECT_EQ(chosen(wanted, idle, {.realtime_us = -1}), Scheduling::nice);
            EXPECT_EQ(chosen(wanted, idle, {.realtime_us = 1'000'000}), Scheduling::nice);
            EXPECT_EQ(chosen(wanted, idle, {.realtime_us = 900'000}), Scheduling::nice);
            EXPECT_EQ(chosen(wanted, idle, {.other_cores = false}), Scheduling::nice);
        }
    }
}

TEST(SchedulingChoice, WhatIsLessIsAsConfigured) {
    EXPECT_EQ(chosen(Scheduling::nice, IdlePolicy::sleep, {}), Scheduling::nice);
    EXPECT_EQ(chosen(Scheduling::normal, IdlePolicy::sleep, {}), Scheduling::normal);
}

// Cycles of a clock with one a microsecond.
uint64_t off_core(uint64_t seconds, uint64_t work_us, uint64_t sleep_us) {
    Breaks breaks(1, 0);
    uint64_t off = 0;
    uint64_t taken = 0;
    for (uint64_t now = 0; now < seconds * 1'000'000; now += work_us + sleep_us) {
        if (breaks.due(now)) {
            now += Breaks::break_us;
            off += Breaks::break_us;
            ++taken;
        }
        breaks.slept(sleep_us);
        off += sleep_us;
    }
    return taken == 0 ? 0 : off / seconds;
}

TEST(Breaks, AThreadThatAlwaysWorksLeavesMoreThanTheKernelAsksFor) {
    EXPECT_GT(off_core(3, 10, 0), 51'000U);
    EXPECT_LT(off_core(3, 10, 0), 60'000U);
}

TEST(Breaks, OneThatSleepsALittleStillLeavesEnough) {
    EXPECT_GT(off_core(3, 1'000, 10), 51'000U);
}

TEST(Breaks, OneThatSleepsEnoughTakesNone) {
    EXPECT_EQ(off_core(3, 100, 10), 0U);
    EXPECT_EQ(off_core(3, 0, 10'000), 0U);
}

}  // namespace
}  // namespace millrace::test
