// SPDX-License-Identifier: BSD-3-Clause
// What asking the kernel to transmit may cost a worker. DPDK's net_af_xdp (kick_tx, 22.11 to 24.11) repeats
// an empty send() for as long as it ends with EAGAIN, EBUSY or EINTR, and an egress that takes nothing makes
// it do so for ever: the worker, and with it every other port, would stand still. There is no option for it,
// so this program has a send() of its own, which the driver finds before the C library's. After a few tries
// it says ENOBUFS: that ends the loop, and the frames stay in the transmit ring for the next kick. Once the
// ring is full, the driver refuses frames, and they are counted.
#pragma once

#include <cstdint>

#include "millrace/result.hpp"

namespace millrace::dataplane {

struct Kicked {
    uint32_t dropped = 0;     // frames that the netdev discarded instead of sending: EBUSY, in copy mode
    bool unfinished = false;  // the last kick has left frames in the ring
};

// What the kicks of the calling thread came to since it asked last.
Kicked kicked();

// Is it ours that the driver calls? Not when this program was linked without exporting it.
Status kicks_are_bounded();

}  // namespace millrace::dataplane
