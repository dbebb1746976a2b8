// SPDX-License-Identifier: BSD-3-Clause
// 'millraced --check': would the daemon serve all ports on this machine? Main thread.
#pragma once

#include "dataplane/daemon/firewall_watch.hpp"
#include "millrace/config.hpp"
#include "millrace/result.hpp"

namespace millrace::dataplane {

// Error: a port that it would not. What it would do less well than the operator may think is logged. Takes
// half a second.
Status check(const Config& config, Ruleset ruleset);

}  // namespace millrace::dataplane
