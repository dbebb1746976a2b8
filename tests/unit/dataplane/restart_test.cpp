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

TEST(Restarts, AreCarriedOverAsText) {
    Restarts restarts;
    for (int i = 0; i < 5; ++i) {
        restarts.count(7000);
    }
    const Restarts next = Restarts::parse(restarts.text().c_str());
    EXPECT_EQ(next.counted(7000), 5U);
    EXPECT_EQ(next.next_ms(7000), restarts.next_ms(7000));
    for (const char* wrong : {"", "5", "5,", ",7", "x,7", "5,7x", "-1,7", "99999999999999999999,7"}) {
        EXPECT_EQ(Restarts::parse(wrong).counted(0), 0U) << wrong;
    }
    EXPECT_EQ(Restarts::parse(nullptr).counted(0), 0U);
}

}  // namespace
}  // namespace millrace::dataplane
