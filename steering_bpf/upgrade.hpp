// SPDX-License-Identifier: BSD-3-Clause
// This build's classifier into a link that runs another build's. Internal to steering_bpf. The caller holds
// the lock of the pin root.
#pragma once

#include <cstdint>
#include <string>

#include "millrace/result.hpp"
#include "steering_bpf/kernel.hpp"

namespace millrace::steering {

struct Upgrade {
    bool changed = false;    // else it ran this build's already
    bool maps_kept = false;  // a daemon that drives them goes on driving them
    uint32_t program_id = 0;
};

// No frame meets no program: the kernel replaces one by the other. Maps of this build's ABI stay, with all
// that is in them; else all are new, and what comes in is the kernel's until a daemon of this build drives
// them: of the old ones only what was switched off is carried over, the rest is the daemon's to write. Killed
// at any moment, it leaves a port that forwards, by the one program or the other, and that the next attach or
// detach understands. Error: all is as it was, or only names of pins are
// wrong, which the next attach mends.
Result<Upgrade> upgrade(const std::string& port, const std::string& dir, const PinnedLink& link);

}  // namespace millrace::steering
