// SPDX-License-Identifier: BSD-3-Clause
// Opens what can be opened of the configured ports. What can't is left to the kernel, and the others are
// served.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "dataplane/port/af_xdp_port.hpp"
#include "dataplane/punt/tap.hpp"
#include "millrace/config.hpp"

namespace millrace::dataplane {

// All by PortId.
struct OpenPorts {
    std::vector<AfXdpPort> ports;          // closed where there is a problem
    std::vector<std::optional<Tap>> taps;  // none there
    std::vector<std::string> problems;     // one line; empty = open
    std::vector<bool> refused;             // the netdev was good, but DPDK had no sockets for it
};

// problems: of each port, as far as they are known. Main thread, after Eal::start.
OpenPorts open_ports(const Config& config, std::vector<std::string> problems, rte_mempool* pool);

}  // namespace millrace::dataplane
