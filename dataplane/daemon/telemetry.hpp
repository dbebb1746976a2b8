// SPDX-License-Identifier: BSD-3-Clause
// The counters once more, under DPDK's own telemetry, for the tools that read that: /millrace/counters.
#pragma once

#include "dataplane/daemon/show.hpp"

namespace millrace::dataplane {

// One at a time in a process, after Eal::start. While it lives, DPDK's telemetry thread reads running.
class Telemetry {
  public:
    explicit Telemetry(const Running& running);
    ~Telemetry();
    Telemetry(const Telemetry&) = delete;
    Telemetry& operator=(const Telemetry&) = delete;
};

}  // namespace millrace::dataplane
