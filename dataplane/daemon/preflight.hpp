// SPDX-License-Identifier: BSD-3-Clause
// What can be told to be missing before anything is touched.
#pragma once

#include <sched.h>

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "millrace/config.hpp"
#include "millrace/result.hpp"

namespace millrace::dataplane {

// Of those cores, the process may use each. Main thread.
Status check_cores(const std::vector<uint16_t>& cores, const cpu_set_t& allowed);
// Permissions and kernel features: what no port can do without. Main thread.
Status preflight();
// What keeps each port from being served, by PortId: no netdev, too few queues, no classifier. One line;
// empty: nothing is known. Main thread.
Result<std::vector<std::string>> port_problems(const Config& config);
// Of one port, but for its classifier. Waits for whoever holds the kernel's network configuration (RTNL); any
// thread.
Status check_netdev(const PortConfig& port, size_t workers);
// The line for a netdev with fewer queues than there are workers.
std::string too_few_queues(const std::string& port, size_t queues, size_t workers);
// Receive queues that a netdev has; 0: its driver can't tell. Waits as check_netdev() does.
uint32_t netdev_queues(const std::string& port);
// Receive queues that can be served: those configured, or as many as the netdev has. As above.
uint16_t queues_to_serve(const PortConfig& port);
// Logs which queues are not served. Main thread.
void warn_of_queues(const Config& config);
// Logs which ports a daemon would leave to the kernel, since VLAN tags may hide. Main thread.
void warn_of_hidden_tags(const Config& config);

}  // namespace millrace::dataplane
