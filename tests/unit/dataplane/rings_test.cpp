// SPDX-License-Identifier: BSD-3-Clause
// A worker that stops leaves the NIC of a zero-copy port buffers enough.
#include "dataplane/port/rings.hpp"

#include <gtest/gtest.h>

#include <array>
#include <bit>

#include "millrace/config.hpp"

namespace millrace::test {
namespace {

using dataplane::fill_buffers;
using dataplane::nic_buffers;
using dataplane::ring_size;

// Every size that the configuration allows.
TEST(Rings, AFullReceiveRingLeavesWhatTheNicNeeds) {
    for (unsigned ring = 64; ring <= 16384; ring *= 2) {
        const unsigned size = ring_size(true, static_cast<uint16_t>(ring));
        EXPECT_LE(size + nic_buffers, fill_buffers) << ring;
        EXPECT_TRUE(std::has_single_bit(size)) << ring;
        EXPECT_LE(size, ring);
    }
    EXPECT_LE(ring_size(true, SizeConfig{}.ring) + nic_buffers, fill_buffers) << "the default";
}

// The kernel copies into the buffers, and has its own.
TEST(Rings, InCopyModeTheyAreAsConfigured) {
    for (unsigned ring = 64; ring <= 16384; ring *= 2) {
        EXPECT_EQ(ring_size(false, static_cast<uint16_t>(ring)), ring);
    }
}

Config ports_of(size_t ports, uint16_t queues, size_t workers) {
    Config config;
    config.ports.assign(ports, PortConfig{.name = "p", .queues = queues});
    config.workers.cores.assign(workers, 0);
    return config;
}

// Whatever there is of ports and queues, the default is enough for all of them.
TEST(Buffers, TheDefaultIsEnough) {
    EXPECT_EQ(dataplane::packet_buffers(ports_of(2, 1, 1)), 16384U) << "a small router";
    for (const size_t ports : {1U, 2U, 3U, 8U}) {
        for (const uint16_t queues : std::array<uint16_t, 4>{1, 2, 4, 64}) {
            const Config config = ports_of(ports, queues, queues);
            EXPECT_GE(dataplane::packet_buffers(config), dataplane::buffers_needed(config) + queues * 384U);
        }
    }
}

TEST(Buffers, EachQueueNeedsItsRingsAndEachPortItsPunts) {
    Config config = ports_of(3, 2, 1);
    EXPECT_EQ(dataplane::buffers_needed(config), 6 * (2048U + 2048) + 3 * 2 * 512);
    config.ports[0].zero_copy = ZeroCopy::always;
    EXPECT_EQ(dataplane::buffers_needed(config), 4 * (2048U + 2048) + 2 * (2048U + 1024) + 3 * 2 * 512);
    config.sizes.ring = 4096;
    config.sizes.punt_ring = 32;
    EXPECT_EQ(dataplane::buffers_needed(config), 4 * (2048U + 4096) + 2 * (2048U + 1024) + 3 * 2 * 32);
    config.sizes.mbufs = 5000;
    EXPECT_EQ(dataplane::packet_buffers(config), 5000U) << "what is configured";
}

}  // namespace
}  // namespace millrace::test
