// SPDX-License-Identifier: BSD-3-Clause
// What can be told to be missing before anything is touched.
#pragma once

#include "millrace/config.hpp"
#include "millrace/result.hpp"

namespace millrace::dataplane {

// Permissions, kernel features, netdevs and their queues, cores. Main thread. Logs warnings for what works,
// but not as the operator may think.
Status preflight(const Config& config);

}  // namespace millrace::dataplane
