// SPDX-License-Identifier: BSD-3-Clause
#include "dataplane/punt/token_bucket.hpp"

#include <gtest/gtest.h>

namespace millrace::dataplane {
namespace {

constexpr uint64_t ms = 1'000'000;

unsigned take_all(TokenBucket& bucket) {
    unsigned taken = 0;
    while (bucket.take()) {
        ++taken;
    }
    return taken;
}

TEST(TokenBucket, GivesTheRateAndNoMoreThanABurstAtOnce) {
    TokenBucket bucket(1000);
    uint64_t now = 5000 * ms;  // a clock does not begin at 0
    bucket.refill(now);
    EXPECT_EQ(take_all(bucket), 50U) << "a twentieth of a second's worth, however long nothing came";
    unsigned taken = 0;
    for (int i = 0; i < 10000; ++i) {  // ten seconds of it, a millisecond each
        now += ms;
        bucket.refill(now);
        taken += take_all(bucket);
    }
    EXPECT_EQ(taken, 10000U);
    bucket.refill(now);
    EXPECT_FALSE(bucket.take()) << "the same moment again";
    bucket.refill(now - ms);
    EXPECT_FALSE(bucket.take()) << "a clock that goes back";
}

TEST(TokenBucket, RefillsSmallerThanATokenAddUp) {
    TokenBucket bucket(100);
    uint64_t now = 1000 * ms;
    bucket.refill(now);
    take_all(bucket);
    for (int i = 0; i < 9; ++i) {
        now += ms;
        bucket.refill(now);
        EXPECT_FALSE(bucket.take()) << i;
    }
    bucket.refill(now + ms);
    EXPECT_TRUE(bucket.take());
}

TEST(TokenBucket, HoldsTheHighestRate) {
    TokenBucket bucket(10'000'000);
    bucket.refill(~uint64_t{0} / 2);
    EXPECT_EQ(take_all(bucket), 500'000U);
}

}  // namespace
}  // namespace millrace::dataplane
