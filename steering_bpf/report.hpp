// SPDX-License-Identifier: BSD-3-Clause
// A port's status as `millrace-steer status` prints it.
#pragma once

#include <string>

#include "steering_bpf/attach.hpp"

namespace millrace::steering {

// Lines of at most 80 columns. Without all_reasons, only the counters that are not zero.
std::string report_text(const PortStatus& port, bool all_reasons);
// One JSON object without a newline; all counters.
std::string report_json(const PortStatus& port);

}  // namespace millrace::steering
