// SPDX-License-Identifier: BSD-3-Clause
// How many descriptors an AF_XDP socket's rings get.
#pragma once

#include <algorithm>
#include <cstdint>

namespace millrace::dataplane {

// Buffers that DPDK's net_af_xdp (22.11 to 24.11) puts into each fill ring, whatever it is asked for
// (ETH_AF_XDP_DFLT_NUM_DESCS); later it adds one for each frame that is received.
inline constexpr uint16_t fill_buffers = 2048;

// In zero-copy mode the NIC has no buffers but those of the fill ring. A worker that stops leaves a full
// receive ring; what is left of the buffers must go on serving the classifier, and with it the kernel's
// traffic. So many the drivers post to the NIC at most by default (512 to 1024 descriptors).
inline constexpr uint16_t nic_buffers = 1024;

// configured: [sizes] ring, a power of two; so is the result. The driver gives the transmit ring the same
// size.
constexpr uint16_t ring_size(bool zero_copy, uint16_t configured) {
    return zero_copy ? std::min<uint16_t>(configured, fill_buffers - nic_buffers) : configured;
}

}  // namespace millrace::dataplane
