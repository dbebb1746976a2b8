// SPDX-License-Identifier: BSD-3-Clause
// Before the fast path ends: what it has taken in goes out first.
#pragma once

#include <chrono>
#include <string>
#include <vector>

#include "dataplane/forward/worker_set.hpp"
#include "dataplane/port/af_xdp_port.hpp"
#include "dataplane/punt/punter.hpp"

namespace millrace::dataplane {

// Waits until the receive rings, the frames in the workers' hands, the transmit rings and the punt rings are
// empty, in this order. The classifiers no longer redirect when it is called; the workers and the punter run.
// Returns what was left at the deadline in one line, or nothing. A netdev that is down keeps what waits for
// it. Control thread.
std::string drain(const std::vector<AfXdpPort>& ports, const WorkerSet& workers, const Punter& punter,
                  std::chrono::milliseconds deadline);

}  // namespace millrace::dataplane
