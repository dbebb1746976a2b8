// SPDX-License-Identifier: BSD-3-Clause
#include <algorithm>

#include "dataplane/config/config_file.hpp"

namespace millrace::dataplane {

namespace {

const PortConfig* find_port(const Config& config, const std::string& name) {
    const auto found = std::find_if(config.ports.begin(), config.ports.end(),
                                    [&](const PortConfig& p) { return p.name == name; });
    return found == config.ports.end() ? nullptr : &*found;
}

}  // namespace

std::vector<std::string> changes(const Config& before, const Config& after) {
    std::vector<std::string> changed;
    const auto note = [&changed](bool different, std::string what) {
        if (different) {
            changed.push_back(std::move(what));
        }
    };
    for (const PortConfig& port : before.ports) {
        const PortConfig* now = find_port(after, port.name);
        note(now == nullptr, fmt::format("port {} (gone)", port.name));
        note(now != nullptr && *now != port, fmt::format("port {}", port.name));
    }
    for (const PortConfig& port : after.ports) {
        note(find_port(before, port.name) == nullptr, fmt::format("port {} (new)", port.name));
    }
    note(changed.empty() && before.ports != after.ports, "order of the ports");
    note(before.workers != after.workers, "[workers]");
    note(before.sizes != after.sizes, "[sizes]");
    note(before.punt != after.punt, "[punt]");
    note(before.keep != after.keep, "[keep]");
    note(before.firewall != after.firewall, "[firewall]");
    note(before.sync != after.sync, "[sync]");
    note(before.steering != after.steering, "[steering]");
    note(before.audit != after.audit, "[audit]");
    note(before.metrics != after.metrics, "[metrics]");
    note(before.control_socket != after.control_socket, "[control]");
    note(before.log_level != after.log_level, "[log]");
    note(changed.empty() && before != after, "the rest");
    return changed;
}

}  // namespace millrace::dataplane
