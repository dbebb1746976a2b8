// SPDX-License-Identifier: BSD-3-Clause
// What is known of a port beside its link: the entry of port_state, whichever version made the map. Internal
// to steering_bpf. Any thread.
#pragma once

#include <string>

#include "millrace/abi.h"
#include "millrace/result.hpp"
#include "steering_bpf/kernel.hpp"

namespace millrace::steering {

// Of the map pinned in dir; zeros where there is none, and for what an older version didn't have.
millrace_port_state read_state(const std::string& dir);
// A map of another version gets what it has room for.
Status write_state(int map, const std::string& port, const millrace_port_state& state);
// To the map pinned in dir; none there is no error.
Status write_state(const std::string& dir, const std::string& port, const millrace_port_state& state);
// Are the maps beside it this build's, and does the link that runs the program use them?
bool in_place(const millrace_port_state& state, uint32_t program_id);
// The classifier that the link runs, which is pinned in dir. Error: it is not this build's, with the maps
// beside it.
Result<Attached> attached_by(const std::string& port, const std::string& dir, const PinnedLink& link);

}  // namespace millrace::steering
