// SPDX-License-Identifier: BSD-3-Clause
// A worker that stops leaves the NIC of a zero-copy port buffers enough.
#include "dataplane/port/rings.hpp"

#include <gtest/gtest.h>

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

}  // namespace
}  // namespace millrace::test
