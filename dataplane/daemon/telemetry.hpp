// SPDX-License-Identifier: BSD-3-Clause
// The counters once more, under DPDK's own telemetry, for the tools that read that: /millrace/counters.
#pragma once

#include "dataplane/daemon/show.hpp"

namespace millrace::dataplane {

// After Eal::start. running outlives the process's telemetry, which DPDK ends with its own clean-up.
void register_telemetry(const Running& running);

}  // namespace millrace::dataplane
