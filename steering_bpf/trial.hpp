// SPDX-License-Identifier: BSD-3-Clause
// What a port's classifier says of a frame, without the frame coming in.
#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "millrace/abi.h"
#include "millrace/result.hpp"

namespace millrace::steering {

struct Trial {
    millrace_steer_reason reason{};
    // What the port's classifier asks beyond what was tried: MILLRACE_SEES_*.
    uint32_t left_out = 0;
};

// Loads the port's classifier a second time, on the port's own maps but for the counters, and has the kernel
// run it once on the frame, as if it came in over the port's receive queue 0 (BPF_PROG_TEST_RUN): nothing is
// counted, redirected or changed. The attached one itself would count it, among the traffic, and one that is
// bound to its device can't be run so.
// frame: 14 bytes at least. The network namespace of the calling thread; CAP_BPF, CAP_NET_ADMIN and
// CAP_PERFMON; any thread. Error: the port runs no classifier of this build, or the kernel refuses.
Result<Trial> try_frame(const std::string& port, const std::string& pin_root, std::span<const uint8_t> frame);

}  // namespace millrace::steering
