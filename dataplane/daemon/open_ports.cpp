// SPDX-License-Identifier: BSD-3-Clause
#include "dataplane/daemon/open_ports.hpp"

#include <net/if.h>
#include <spdlog/spdlog.h>
#include <systemd/sd-daemon.h>

#include <algorithm>
#include <array>
#include <string_view>

#include "dataplane/daemon/preflight.hpp"
#include "steering_bpf/device.hpp"

namespace millrace::dataplane {

namespace {

// Forwarded with zero-copy sockets in tests/vm, through all that befalls a NIC there.
constexpr std::array<std::string_view, 1> good_drivers = {"igb"};

bool asks_zero_copy(const PortConfig& port) {
    if (port.zero_copy != ZeroCopy::automatic) {
        return port.zero_copy == ZeroCopy::always;
    }
    return std::find(good_drivers.begin(), good_drivers.end(), steering::driver(port.name)) !=
               good_drivers.end() &&
           steering::has_zero_copy(Ifindex{if_nametoindex(port.name.c_str())});
}

Result<AfXdpPort> open_port(const Config& config, PortConfig port, uint16_t queues, rte_mempool* pool) {
    port.queues = queues;
    auto opened = AfXdpPort::open(port, asks_zero_copy(port), pool, config.sizes.ring);
    if (opened) {
        spdlog::info("port {}: {} queue(s), {} sockets", port.name, port.queues,
                     opened->zero_copy() ? "zero-copy" : "copy-mode");
    }
    return opened;
}

}  // namespace

OpenPorts open_ports(const Config& config, std::vector<std::string> problems, rte_mempool* pool) {
    OpenPorts all;
    all.problems = std::move(problems);
    all.refused.resize(config.ports.size());
    for (size_t p = 0; p < config.ports.size(); ++p) {
        const std::string& name = config.ports[p].name;
        sd_notify(0, "WATCHDOG=1");  // each port may wait for whoever holds the network configuration
        std::string& problem = all.problems[p];
        std::optional<Tap> tap;
        if (problem.empty()) {
            if (auto made = Tap::create(name)) {
                tap.emplace(std::move(*made));
            } else {
                problem = made.error().text();
            }
        }
        if (problem.empty()) {
            const uint16_t queues = queues_to_serve(config.ports[p]);
            if (queues < config.workers.cores.size()) {
                // Fewer than when the port was looked at.
                problem = too_few_queues(name, queues, config.workers.cores.size());
            } else if (auto opened = open_port(config, config.ports[p], queues, pool); opened) {
                all.ports.push_back(std::move(*opened));
                all.taps.push_back(std::move(tap));
                continue;
            } else {
                problem = opened.error().text();
                all.refused[p] = true;
            }
        }
        all.ports.push_back(AfXdpPort::closed(name));
        all.taps.emplace_back();
    }
    return all;
}

}  // namespace millrace::dataplane
