// SPDX-License-Identifier: BSD-3-Clause
// Attaching the classifier to ports. The attachment is a pinned link: it outlives this process, and ends
// with its pins. All functions: the network namespace of the calling thread; CAP_BPF and CAP_NET_ADMIN (and
// CAP_SYS_ADMIN where a bpf filesystem has to be mounted); any thread and process: they wait for each other.
// An Error's text is one line for the operator.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "millrace/abi.h"
#include "millrace/result.hpp"
#include "millrace/types.hpp"
#include "steering_bpf/mode.hpp"

namespace millrace::steering {

// Packets and bytes (layer-2 header included, FCS not) by enum millrace_steer_reason.
using Counters = std::array<millrace_steer_counter, MILLRACE_STEER_REASON_COUNT>;

struct AttachOptions {
    std::string pin_root = MILLRACE_PIN_ROOT;
    Mode mode = Mode::automatic;  // not offload
    bool force = false;           // removes pins that this version doesn't know
};

struct AttachReport {
    Mode mode = Mode::native;            // what it became
    uint32_t program_id = 0;             // the kernel's id of the program
    bool already_attached = false;       // nothing was changed
    bool upgraded = false;               // another build's classifier has given its place,
    bool maps_kept = false;              // and left its maps
    std::vector<std::string> removed{};  // pins that this version doesn't know
};

// Loads the classifier, pins its maps, attaches it and pins the link; or undoes what it has done and says
// why: only what a deleted netdev or an attach that was killed has left may be gone then, but for the folder.
// A port that has our link already is left as it is, or gets this build's classifier in the place of another
// one's (upgrade.hpp). Pins of a deleted netdev of the same name are replaced. Errors: no such netdev, a
// program of somebody else on it, pins that this version doesn't know, the pin root not on a bpf filesystem,
// refused by driver or kernel.
Result<AttachReport> attach(const std::string& port, const AttachOptions& options = {});

// For the daemon, when a port's netdev was replaced: attaches again where the operator had attached, that is
// where the port's pins are there. Beyond attach(): a link that is on a netdev of another name or in another
// namespace is given up for the netdev that has the name now; and another build's classifier is left alone.
// Errors: attach()'s; no pins; attached by another build.
Result<AttachReport> attach_again(const std::string& port, const AttachOptions& options = {});

// Did the operator attach to a netdev of this name, and not detach again, whatever became of the netdev?
bool has_pins(const std::string& port, const std::string& pin_root);
// The classifier that the port runs.
struct Attached {
    Mode mode = Mode::native;
    uint32_t program_id = 0;  // the kernel's
    uint32_t maps_id = 0;     // the kernel's id of one of its maps: another one, other maps
    uint32_t sees = 0;        // MILLRACE_SEES_*
};
// Error: it runs none of this build's.
Result<Attached> attached(const std::string& port, const std::string& pin_root);

// The netdev with a name, or another name (altname), in the calling thread's network namespace. Looks for no
// module when there is none; waits for whoever holds the kernel's network configuration (RTNL). Error:
// ENODEV, or why nothing is known.
Result<Ifindex> netdev_index(const std::string& name);
// The netdev that is called so. Error: none is, or the name is only another one (altname) of it.
Result<Ifindex> find_netdev(const std::string& port);

// Detaches and removes the pins, whatever they are; which of them this version doesn't know is returned. The
// netdev need not exist any more. Error: nothing attached.
Result<std::vector<std::string>> detach(const std::string& port,
                                        const std::string& pin_root = MILLRACE_PIN_ROOT);

struct PortStatus {
    std::string port;
    std::string
        problem;  // empty = attached to the netdev of that name; else what is wrong, the rest may be zero
    Ifindex ifindex{};  // 0 = the netdev is gone
    Mode mode = Mode::native;
    uint32_t program_id = 0;
    uint32_t flags = 0;                        // MILLRACE_FLAG_*
    uint16_t max_frame = 0;                    // bytes
    std::optional<uint64_t> heartbeat_age_ms;  // none = never
    uint64_t heartbeat_timeout_ms = 0;
    uint32_t sees = 0;  // MILLRACE_SEES_*
    Counters counters{};
};

// Each port that is pinned below pin_root, by name. No pin root = no ports.
Result<std::vector<PortStatus>> status(const std::string& pin_root = MILLRACE_PIN_ROOT);

}  // namespace millrace::steering
