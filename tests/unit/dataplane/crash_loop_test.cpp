// SPDX-License-Identifier: BSD-3-Clause
#include "dataplane/daemon/crash_loop.hpp"

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <vector>

namespace millrace::dataplane {
namespace {

TEST(CrashLoop, ThreeCrashesAreFreeThenEachWaitsLonger) {
    CrashLoop crashes;
    uint64_t now = 1'000'000;
    std::vector<uint64_t> waits;
    for (int i = 0; i < 10; ++i) {
        waits.push_back(crashes.wait_ms() / 1000);
        now += crashes.wait_ms();
        crashes.started(now);
        now += 2000;
        crashes.crashed(now);
    }
    EXPECT_EQ(waits, (std::vector<uint64_t>{0, 0, 0, 30, 60, 120, 240, 480, 600, 600}));
}

TEST(CrashLoop, OneThatCameLateBeginsANewRow) {
    CrashLoop crashes;
    for (int i = 0; i < 5; ++i) {
        crashes.started(0);
        crashes.crashed(CrashLoop::soon_ms - 1);
    }
    EXPECT_EQ(crashes.count(), 5U);
    crashes.crashed(CrashLoop::soon_ms);
    EXPECT_EQ(crashes.count(), 1U);
    EXPECT_EQ(crashes.wait_ms(), 0U);
}

TEST(CrashLoop, TextAndBack) {
    CrashLoop crashes;
    crashes.started(7000);
    crashes.crashed(8000);
    EXPECT_EQ(CrashLoop::parse(crashes.text()).text(), crashes.text());
    for (const char* nonsense : {"-1 0", "", "x", "3", "-1 x"}) {
        EXPECT_EQ(CrashLoop::parse(nonsense).count(), 0U) << nonsense;
    }
}

// What systemd says of an end.
TEST(CrashLoop, WhichEndIsACrash) {
    const std::string socket = std::filesystem::path(testing::TempDir()) / "crash-loop.sock";
    const auto counted = [&](const char* result, const char* status) {
        std::ofstream(socket + ".crashes") << "1 " << UINT64_MAX / 2 << "\n";
        setenv("SERVICE_RESULT", result, 1);
        setenv("EXIT_STATUS", status, 1);
        EXPECT_TRUE(note_end(socket));
        unsigned count = 99;
        std::ifstream(socket + ".crashes") >> count;
        return count;
    };
    EXPECT_EQ(counted("core-dump", "SEGV"), 2U);
    EXPECT_EQ(counted("signal", "SEGV"), 2U);
    EXPECT_EQ(counted("watchdog", "ABRT"), 2U);
    EXPECT_EQ(counted("signal", "KILL"), 1U);
    EXPECT_EQ(counted("oom-kill", "KILL"), 1U);
    EXPECT_EQ(counted("exit-code", "1"), 1U);
    EXPECT_EQ(counted("success", "0"), 0U);
    std::filesystem::remove(socket + ".crashes");
}

}  // namespace
}  // namespace millrace::dataplane
