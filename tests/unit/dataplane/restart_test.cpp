// SPDX-License-Identifier: BSD-3-Clause
#include "dataplane/daemon/restart.hpp"

#include <gtest/gtest.h>

namespace millrace::dataplane {
namespace {

TEST(Restarts, TheFirstAreFreeThenEachWaitsLonger) {
    Restarts restarts;
    uint64_t now = 1'000'000;
    std::vector<uint64_t> waits;
    for (int i = 0; i < 11; ++i) {
        const uint64_t next = restarts.next_ms(now);
        waits.push_back(next > now ? next - now : 0);
        now = std::max(now, next);
        restarts.count(now);
    }
    EXPECT_EQ(waits, (std::vector<uint64_t>{0, 0, 0, 1000, 2000, 4000, 8000, 16000, 30000, 30000, 30000}));
}

TEST(Restarts, ACalmMinuteForgets) {
    Restarts restarts;
    for (int i = 0; i < 10; ++i) {
        restarts.count(5000);
    }
    EXPECT_GT(restarts.next_ms(5000), 5000U);
    EXPECT_EQ(restarts.counted(5000 + Restarts::calm_ms), 10U);
    EXPECT_EQ(restarts.counted(5001 + Restarts::calm_ms), 0U);
    EXPECT_EQ(restarts.next_ms(5001 + Restarts::calm_ms), 0U);
}

// A port that can be bound, but that DPDK refuses each time: each life would open it if it might.
TEST(Restarts, APortThatIsRefusedIsTriedLessAndLessOftenWhateverIsCalm) {
    Restarts restarts;
    const auto in_ten_minutes = [&](uint64_t from) {
        unsigned restarted = 0;
        for (uint64_t now = from; now < from + 600'000; now += 20) {
            if (restarts.next_for_refused_ms(now) <= now) {
                ++restarted;
                restarts.count(now, true);
                restarts = Restarts::parse(restarts.text().c_str());
            }
        }
        return restarted;
    };
    EXPECT_EQ(in_ten_minutes(1'000'000), 4U) << "at once, after 8 s, 64 s and 512 s";
    EXPECT_LE(in_ten_minutes(1'600'000), 1U);
    EXPECT_EQ(restarts.next_ms(2'200'000), 0U) << "another port has not to wait for it";
    restarts.none_is_refused();
    EXPECT_EQ(in_ten_minutes(2'200'000), 4U);
}

TEST(Restarts, AreCarriedOverAsText) {
    Restarts restarts;
    for (int i = 0; i < 5; ++i) {
        restarts.count(7000);
    }
    const Restarts next = Restarts::parse(restarts.text().c_str());
    EXPECT_EQ(next.counted(7000), 5U);
    EXPECT_EQ(next.next_ms(7000), restarts.next_ms(7000));
    for (const char* wrong : {"", "5", "5,", "5,7", ",7,0,0", "x,7,0,0", "5,7,0,0x", "5,7,0,", "-1,7,0,0",
                              "99999999999999999999,7,0,0"}) {
        EXPECT_EQ(Restarts::parse(wrong).counted(0), 0U) << wrong;
    }
    EXPECT_EQ(Restarts::parse(nullptr).counted(0), 0U);
}

}  // namespace
}  // namespace millrace::dataplane
