// SPDX-License-Identifier: BSD-3-Clause
// A socket that takes nothing ends the driver's loop after a few tries; others are left alone.
#include "dataplane/port/kick.hpp"

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cerrno>

namespace millrace::test {
namespace {

using dataplane::kicked;

constexpr unsigned most_tries = 2;  // that take nothing

// Full: also an empty message says EAGAIN there, as it does at an AF_XDP socket.
class KickTest : public testing::Test {
  protected:
    void SetUp() override {
        ASSERT_EQ(socketpair(AF_UNIX, SOCK_DGRAM, 0, ends.data()), 0);
        while (send(ends[0], "x", 1, MSG_DONTWAIT) == 1) {
        }
        ASSERT_EQ(errno, EAGAIN);
        kicked();
    }
    void TearDown() override {
        close(ends[0]);
        close(ends[1]);
    }
    ssize_t kick() { return send(ends[0], nullptr, 0, MSG_DONTWAIT); }
    void make_room() {
        char byte = 0;
        while (recv(ends[1], &byte, 1, MSG_DONTWAIT) >= 0) {
        }
    }
    std::array<int, 2> ends{-1, -1};
};

TEST_F(KickTest, TheDriverCallsOurs) {
    const Status bounded = dataplane::kicks_are_bounded();
    EXPECT_TRUE(bounded) << bounded.error().text();
}

// As kick_tx of net_af_xdp does it.
TEST_F(KickTest, ALoopThatGoesOnWhileItIsToldToTryAgainEnds) {
    for (int round = 0; round < 3; ++round) {
        unsigned tries = 1;
        while (kick() < 0 && (errno == EBUSY || errno == EAGAIN || errno == EINTR)) {
            ASSERT_LE(++tries, most_tries);
        }
        EXPECT_EQ(tries, most_tries);
        EXPECT_TRUE(kicked().unfinished);
    }
}

TEST_F(KickTest, OnceThereIsRoomNothingIsLeft) {
    EXPECT_LT(kick(), 0);
    make_room();
    EXPECT_EQ(kick(), 0);
    EXPECT_FALSE(kicked().unfinished);
}

TEST_F(KickTest, WhatIsNoKickIsToldTheTruth) {
    for (unsigned i = 0; i < 3 * most_tries; ++i) {
        EXPECT_LT(send(ends[0], "x", 1, MSG_DONTWAIT), 0);
        EXPECT_EQ(errno, EAGAIN);
    }
    EXPECT_FALSE(kicked().unfinished);
}

TEST_F(KickTest, ASocketThatIsGoneIsNotAskedAgain) {
    close(ends[1]);
    ends[1] = -1;
    EXPECT_LT(kick(), 0);
    EXPECT_NE(errno, EAGAIN);
    EXPECT_FALSE(kicked().unfinished);
}

}  // namespace
}  // namespace millrace::test
