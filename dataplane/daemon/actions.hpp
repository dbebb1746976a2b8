// SPDX-License-Identifier: BSD-3-Clause
// What the operator can tell the daemon to do. Control thread; what is given outlives the openers.
#pragma once

#include "dataplane/daemon/reload.hpp"
#include "dataplane/daemon/show.hpp"

namespace millrace::dataplane {

// Argument "port": its name; without it, all. The port goes to the kernel, and what the fast path has of it
// goes out. A row for each, when that is done: {"port","left"}; left: what is not out after a second, or
// null.
RowOpener drain_ports(Running running, PortStates& states);
// {"port","state","reason"} as in show ports.
RowOpener undrain_ports(Running running, PortStates& states);
// One row: {"changed": [...], "again"}. again: the daemon starts again for it, in a moment.
RowOpener reload(Reload& reload);

}  // namespace millrace::dataplane
