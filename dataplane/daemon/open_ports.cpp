// SPDX-License-Identifier: BSD-3-Clause
#include "dataplane/daemon/open_ports.hpp"

#include <fmt/core.h>
#include <net/if.h>
#include <spdlog/spdlog.h>
#include <systemd/sd-daemon.h>

#include <algorithm>
#include <array>
#include <string_view>

#include "dataplane/daemon/preflight.hpp"
#include "steering_bpf/attach.hpp"
#include "steering_bpf/device.hpp"

namespace millrace::dataplane {

namespace {

// Forwarded with zero-copy sockets in tests/vm, through all that befalls a NIC there.
constexpr std::array<std::string_view, 1> good_drivers = {"igb"};

// is_native: the driver runs the classifier. In generic mode it may grant such a socket all the same, and
// never look at it (igb).
bool asks_zero_copy(const PortConfig& port, bool is_native) {
    if (port.zero_copy != ZeroCopy::automatic) {
        return port.zero_copy == ZeroCopy::always;
    }
    return is_native &&
           std::find(good_drivers.begin(), good_drivers.end(), steering::driver(port.name)) !=
               good_drivers.end() &&
           steering::has_zero_copy(Ifindex{if_nametoindex(port.name.c_str())});
}

Result<AfXdpPort> open_port(const Config& config, PortConfig port, uint16_t queues, rte_mempool* pool) {
    port.queues = queues;
    const auto attached = steering::attached(port.name, config.steering.pin_root);
    const bool is_native = attached && attached->mode == steering::Mode::native;
    if (port.zero_copy == ZeroCopy::always && !is_native) {
        return fail(fmt::format(
            "port {}: zero-copy sockets need the classifier in native mode; 'millrace-steer status {}' tells why it isn't",
            port.name, port.name));
    }
    auto opened = AfXdpPort::open(port, asks_zero_copy(port, is_native), pool, config.sizes.ring);
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
