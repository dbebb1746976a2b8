// SPDX-License-Identifier: BSD-3-Clause
// What can be told to be missing before anything is touched.
#pragma once

#include "millrace/config.hpp"
#include "millrace/result.hpp"

namespace millrace::dataplane {

// Permissions, kernel features, netdevs and their queues, cores, classifiers. Main thread.
Status preflight(const Config& config);
// Logs which ports a daemon would leave to the kernel, since VLAN tags may hide. Main thread.
void warn_of_hidden_tags(const Config& config);

}  // namespace millrace::dataplane
