// SPDX-License-Identifier: BSD-3-Clause
// From what else decides in the kernel (policy.hpp) to what must be left to it: the narrowest set of packets
// that is safe. Pure, any thread.
#pragma once

#include <map>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "fib_sync/policy.hpp"
#include "millrace/keep.hpp"
#include "millrace/sink.hpp"

namespace millrace::sync {

// A port's netdev, as the keeps depend on it.
struct PortDevice {
    Ifindex ifindex{};
    std::string name;
    std::string master;  // "br0 (bridge)"; empty = none
};

// What the kernel does on a device that is no keep, but changes how the fast path forwards there.
struct DevicePolicy {
    uint8_t rp_filter = 0;     // in force: 0 off, 1 strict, 2 loose
    uint32_t mtu6 = 0;         // bytes; 0 = as the device's
    bool egress_kept = false;  // what leaves must pass a queueing discipline or a filter

    bool operator==(const DevicePolicy&) const = default;
};

// Without those of routes and of the configuration. In order, and none twice. local_prefixes: of the local
// table, host prefixes apart.
[[nodiscard]] std::vector<Keep> keeps_of(const Policy& policy, std::span<const PortDevice> ports,
                                         const std::set<Prefix>& local_prefixes = {});

[[nodiscard]] std::map<Ifindex, DevicePolicy> device_policies(const Policy& policy,
                                                              std::span<const PortDevice> ports);

}  // namespace millrace::sync
