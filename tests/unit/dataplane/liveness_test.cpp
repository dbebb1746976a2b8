// SPDX-License-Identifier: BSD-3-Clause
// Whether a port's way is alive: each part that may stand still, starved and overloaded workers, and what it
// takes to come back.
#include "dataplane/daemon/liveness.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace millrace::dataplane {
namespace {

constexpr uint64_t ms = 1'000'000;
constexpr uint64_t timeout = 50 * ms;
constexpr uint64_t period = 5 * ms;

// Two ports, two workers, all of which move unless they are told to stand still.
class LivenessTest : public testing::Test {
  protected:
    LivenessTest() {
        seen.now_ns = 1000 * ms;
        seen.workers.resize(2);
        seen.ports.resize(2);
        for (auto& port : seen.ports) {
            port = {.open = true, .bound = true, .dropped = {0, 0}};
        }
        pass(100 * ms);
    }
    void pass(uint64_t ns) {
        for (const uint64_t end = seen.now_ns + ns; seen.now_ns < end;) {
            seen.now_ns += period;
            for (size_t w = 0; w < 2; ++w) {
                seen.workers[w].loops += worker_moves[w] ? 1 : 0;
                seen.workers[w].waited_ns += waits[w];
                seen.ports[0].dropped[w] += drops[w];
            }
            seen.punter_rounds += punter_moves ? 1 : 0;
            seen.control_turns += control_moves ? 1 : 0;
            if (answers) {
                seen.caught_up = liveness.ask();
            }
            pulses = liveness.look(seen);
        }
    }
    bool alive(size_t port) const { return pulses[port].beat_ns != 0; }

    Liveness liveness{{.ports = 2, .cores = {4, 5}, .timeout_ns = timeout}};
    Liveness::Seen seen;
    std::vector<Liveness::Pulse> pulses;
    std::array<bool, 2> worker_moves{true, true};
    std::array<uint64_t, 2> waits{};
    std::array<uint64_t, 2> drops{};
    bool punter_moves = true;
    bool control_moves = true;
    bool answers = true;
};

TEST_F(LivenessTest, BeatsNowWhileAllMoves) {
    EXPECT_EQ(pulses[0].beat_ns, seen.now_ns);
    EXPECT_EQ(pulses[1].missing, "");
}

TEST_F(LivenessTest, TheHeartbeatIsAsOldAsTheSlowestPart) {
    worker_moves[1] = false;
    const uint64_t stopped = seen.now_ns;
    pass(30 * ms);
    EXPECT_EQ(pulses[0].beat_ns, stopped);
    EXPECT_EQ(pulses[0].missing, "");
}

TEST_F(LivenessTest, AWorkerThatStandsStillIsNamed) {
    worker_moves[1] = false;
    const uint64_t stopped = seen.now_ns;
    pass(timeout + period);
    EXPECT_EQ(pulses[0].beat_ns, 0U);
    EXPECT_EQ(pulses[0].missing, "worker 1 on core 5 stands still");
    EXPECT_EQ(pulses[0].since_ns, stopped);
    EXPECT_FALSE(liveness.moves());
    worker_moves[1] = true;
    pass(period);
    EXPECT_FALSE(alive(0)) << "it may not have discarded yet what waited";
    pass(2 * period);
    EXPECT_TRUE(alive(0));
}

TEST_F(LivenessTest, ThePuntingThreadCounts) {
    punter_moves = false;
    pass(1000 * ms);
    EXPECT_TRUE(alive(1)) << "it has nothing to do";
    seen.punts_wait = true;
    pass(timeout + period);
    EXPECT_EQ(pulses[1].missing, "the punting thread stands still");
    punter_moves = true;
    pass(3 * period);
    EXPECT_TRUE(alive(1));
}

TEST_F(LivenessTest, AControlThreadThatWaitsIsMissedOnlyWhileTheKernelTellsOfChanges) {
    control_moves = false;
    pass(10'000 * ms);
    EXPECT_TRUE(alive(0)) << "forwarding needs nothing of it";
    seen.news_wait = true;
    pass(Liveness::mirror_limit_ns);
    EXPECT_TRUE(alive(0));
    pass(2 * period);
    EXPECT_FALSE(alive(0));
    EXPECT_EQ(pulses[0].missing, "the control thread stands still, while the kernel tells of changes");
    answers = false;
    control_moves = true;
    pass(1000 * ms);
    EXPECT_FALSE(alive(0)) << "it moves, but what the kernel told is not in force";
    answers = true;
    pass(2 * period);
    EXPECT_TRUE(alive(0));
}

TEST_F(LivenessTest, WhatTheKernelForwardsByMayBeUnreadForAsLongAsTheMirrorIsLate) {
    seen.behind_ns = seen.now_ns;
    pass(Liveness::mirror_limit_ns);
    EXPECT_TRUE(alive(0));
    answers = false;
    pass(2 * period);
    EXPECT_FALSE(alive(0));
    EXPECT_THAT(pulses[0].missing, testing::HasSubstr("can't be read"));
    EXPECT_EQ(pulses[0].since_ns, seen.behind_ns);
    EXPECT_TRUE(liveness.moves()) << "a restart would not help";
    seen.behind_ns = 0;
    pass(2 * period);
    EXPECT_FALSE(alive(0)) << "what came meanwhile is not in force";
    answers = true;
    pass(2 * period);
    EXPECT_TRUE(alive(0));
}

TEST_F(LivenessTest, AStormThatTheControlThreadReadsIsNoReason) {
    seen.news_wait = true;
    pass(10'000 * ms);
    EXPECT_TRUE(alive(0));
}

TEST_F(LivenessTest, AfterTheWholeProcessStoodStillTheMirrorHasToCatchUp) {
    answers = false;
    seen.now_ns += 5000 * ms;
    pass(period);
    EXPECT_FALSE(alive(0));
    EXPECT_EQ(pulses[0].missing, "millraced stood still");
    pass(1000 * ms);
    EXPECT_FALSE(alive(0)) << "all threads move again, but the table is the old one";
    answers = true;
    pass(2 * period);
    EXPECT_TRUE(alive(0));
}

TEST_F(LivenessTest, ADeadSocketTakesNoOtherPortAlong) {
    seen.ports[0].bound = false;
    pass(period);
    EXPECT_EQ(pulses[0].missing, "its sockets are dead");
    EXPECT_FALSE(alive(0));
    EXPECT_TRUE(alive(1));
    EXPECT_EQ(pulses[1].beat_ns, seen.now_ns);
}

TEST_F(LivenessTest, APortThatIsNotOpenIsNotMissed) {
    seen.ports[0] = {.open = false, .bound = true, .dropped = {0, 0}};
    worker_moves[0] = false;
    const auto before = pulses[0];
    pass(timeout + period);
    EXPECT_EQ(pulses[0], before);
}

TEST_F(LivenessTest, AStarvedWorkerLeavesThePortToTheKernelForAWhileAndLongerEachTime) {
    for (const uint64_t hold : {1U, 2U, 4U, 8U, 16U, 30U, 30U}) {
        waits[0] = period;
        drops[0] = 10;
        pass(2 * Liveness::window_ns);
        ASSERT_FALSE(alive(0));
        EXPECT_EQ(pulses[0].missing, "worker 0 does not get core 4, which others use");
        EXPECT_TRUE(alive(1)) << "nothing was dropped there";
        EXPECT_TRUE(liveness.moves());
        drops[0] = 0;
        pass(hold * 1000 * ms - 3 * Liveness::window_ns);
        EXPECT_FALSE(alive(0)) << hold;
        pass(5 * Liveness::window_ns);
        EXPECT_TRUE(alive(0)) << hold;
    }
    waits[0] = 0;
    pass(Liveness::calm_ns + 1000 * ms);
    waits[0] = period;
    drops[0] = 10;
    pass(2 * Liveness::window_ns);
    drops[0] = 0;
    EXPECT_FALSE(alive(0));
    pass(1100 * ms);
    EXPECT_TRUE(alive(0)) << "a second, after a calm minute";
}

TEST_F(LivenessTest, AnOverloadedWorkerIsNoReason) {
    drops[0] = 1000;  // it runs all the time
    pass(2000 * ms);
    EXPECT_TRUE(alive(0));
}

TEST_F(LivenessTest, WaitingForTheCoreWithoutALossIsNoReason) {
    waits[0] = period / 2;
    pass(2000 * ms);
    EXPECT_TRUE(alive(0));
}

}  // namespace
}  // namespace millrace::dataplane
