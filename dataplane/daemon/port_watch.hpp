// SPDX-License-Identifier: BSD-3-Clause
// What nobody announces of a port's device, and makes its traffic the kernel's: a device above it that takes
// its frames, VLAN tags that the classifier can't see. Looked at time and again. Control thread.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "millrace/config.hpp"
#include "millrace/keep.hpp"
#include "steering_bpf/device.hpp"
#include "steering_bpf/judge.hpp"

namespace millrace::dataplane {

// May a tagged frame of the port pass for an untagged one, and what can be done about it? Empty = no.
// sees: MILLRACE_SEES_* of the classifier.
std::string hidden_tags(const PortConfig& port, uint32_t sees, bool hardware,
                        const Result<steering::TagOffload>& offload);
// The same for the device as it is now.
std::string hidden_tags(const PortConfig& port, uint32_t sees, Ifindex ifindex);

class PortWatch {
  public:
    struct Found {
        std::vector<Keep> keeps{};
        bool of_netlink = false;       // the mirror has a keep for what takes the frames, too
        millrace_judgement macvlan{};  // how the classifier asks one, where there is one

        bool operator==(const Found& other) const {
            return keeps == other.keeps && of_netlink == other.of_netlink &&
                   macvlan.macvlan_handler == other.macvlan.macvlan_handler;
        }
    };
    PortWatch();
    // A device that is not there takes nothing. sees: MILLRACE_SEES_* of the port's classifier.
    Found look(const PortConfig& port, uint32_t sees);

  private:
    std::optional<steering::Judge> judge_;
    std::string no_judge_;  // why there is none
};

}  // namespace millrace::dataplane
