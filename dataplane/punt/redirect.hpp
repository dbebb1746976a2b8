// SPDX-License-Identifier: BSD-3-Clause
// What makes a TAP the way back into a port: up, silent, and all that arrives on it goes on into the port's
// ingress, as sent to this host whatever the frame's MAC says. Functions wait for whoever holds the kernel's
// network configuration (RTNL): main or keeper thread.
#pragma once

#include <string>

#include "dataplane/punt/tap.hpp"
#include "millrace/result.hpp"
#include "millrace/types.hpp"

namespace millrace::dataplane {

// tap: just made, without a qdisc.
Status set_up_redirect(const std::string& tap, Ifindex tap_index, Ifindex target);
// What somebody has changed. Error: nothing is known.
Result<TapFault> check_redirect(Ifindex tap_index, Ifindex target);
// Only up and silent, where the rest is as it was.
Status set_link_up(const std::string& tap, Ifindex tap_index);

}  // namespace millrace::dataplane
