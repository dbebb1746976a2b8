// SPDX-License-Identifier: BSD-3-Clause
// The classifier onto a port that doesn't have it. Internal to steering_bpf. Any thread, one at a time for a
// port.
#pragma once

#include <string>

#include "millrace/result.hpp"
#include "millrace/types.hpp"
#include "steering_bpf/classifier.hpp"
#include "steering_bpf/fd.hpp"
#include "steering_bpf/mode.hpp"

namespace millrace::steering {

struct Link {
    Fd fd;
    Mode mode = Mode::native;
};

// Loads, pins the maps in dir over what is pinned there, removes a link's pin, makes the driver leave VLAN
// tags in the frames if the classifier would not see them, and attaches; or undoes all of that and says why.
// The link is not pinned. A load that fails changes nothing; a folder that was there stays. restore:
// MILLRACE_RESTORE_* that an attach which was killed has left switched off.
Result<Link> load_and_attach(const std::string& port, Ifindex ifindex, const std::string& dir, Mode mode,
                             uint32_t restore);

// MILLRACE_RESTORE_* that are to be off for this classifier and can be.
uint32_t to_switch_off(const std::string& port, const Classifier& classifier);
// Switches on again what the port that is pinned in dir has switched off, and removes its pins: all, or all
// but the folder.
void undo_pins(const std::string& port, const std::string& dir, bool folder_stays);
// Switches on again what attaching has switched off. Says so when the driver refuses.
Status restore_tag_offload(const std::string& port, uint32_t restore);

}  // namespace millrace::steering
