// SPDX-License-Identifier: BSD-3-Clause
// When workers may be real-time: never where that starves the control thread, or the worker itself.
#include "dataplane/forward/scheduling.hpp"

#include <gtest/gtest.h>

namespace millrace::test {
namespace {

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
            EXPECT_EQ(chosen(wanted, idle, {.throttled = false}), Scheduling::nice);
            EXPECT_EQ(chosen(wanted, idle, {.other_cores = false}), Scheduling::nice);
        }
    }
}

TEST(SchedulingChoice, WhatIsLessIsAsConfigured) {
    EXPECT_EQ(chosen(Scheduling::nice, IdlePolicy::sleep, {}), Scheduling::nice);
    EXPECT_EQ(chosen(Scheduling::normal, IdlePolicy::sleep, {}), Scheduling::normal);
}

}  // namespace
}  // namespace millrace::test
