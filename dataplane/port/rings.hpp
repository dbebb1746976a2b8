// SPDX-License-Identifier: BSD-3-Clause
// How many descriptors an AF_XDP socket's rings get, and how many buffers all of them need.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "millrace/config.hpp"

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

// Packet buffers without which ports would starve each other. Any thread.
inline size_t buffers_needed(const Config& config) {
    size_t needed = 0;
    for (const PortConfig& port : config.ports) {
        // Up to a ring's worth is being sent.
        const size_t queue =
            size_t{fill_buffers} + ring_size(port.zero_copy == ZeroCopy::always, config.sizes.ring);
        needed += port.queues * queue + size_t{2} * config.sizes.punt_ring;
    }
    return needed;
}

// Packet buffers to make: those configured, or what is needed and what the workers' caches hold, and never
// fewer than a small router is used to. Any thread.
inline size_t packet_buffers(const Config& config) {
    constexpr size_t fewest = 16384;
    constexpr size_t held_by_worker = 512;  // a mempool's cache of 256 grows to one and a half of that
    if (config.sizes.mbufs != 0) {
        return config.sizes.mbufs;
    }
    return std::max(fewest, buffers_needed(config) + config.workers.cores.size() * held_by_worker);
}

}  // namespace millrace::dataplane
