// SPDX-License-Identifier: BSD-3-Clause
#include "steering_bpf/report.hpp"

#include <fmt/core.h>

#include <nlohmann/json.hpp>

#include "steering_bpf/reason_names.hpp"

namespace millrace::steering {
namespace {

bool enabled(const PortStatus& port) {
    return (port.flags & MILLRACE_FLAG_ENABLED) != 0;
}

bool stale(const PortStatus& port) {
    return !port.heartbeat_age_ms || *port.heartbeat_age_ms > port.heartbeat_timeout_ms;
}

}  // namespace

std::string report_text(const PortStatus& port, bool all_reasons) {
    std::string out =
        fmt::format("{}: {}, {}, ", port.port, name(port.mode), enabled(port) ? "enabled" : "disabled");
    out += port.heartbeat_age_ms
               ? fmt::format("heartbeat {} ms ago{}\n", *port.heartbeat_age_ms, stale(port) ? " (stale)" : "")
               : "heartbeat never\n";
    if (!port.problem.empty()) {
        out += fmt::format("  PROBLEM: {}\n", port.problem);
    }
    for (size_t i = 0; i < port.counters.size(); ++i) {
        const auto& counter = port.counters[i];
        if (all_reasons || counter.packets != 0) {
            out += fmt::format("  {:<16} {:>20} packets {:>22} bytes\n", reason_names[i], counter.packets,
                               counter.bytes);
        }
    }
    return out;
}

std::string report_json(const PortStatus& port) {
    nlohmann::json out = {
        {"port", port.port},
        {"ifindex", raw(port.ifindex)},
        {"mode", name(port.mode)},
        {"program_id", port.program_id},
        {"enabled", enabled(port)},
        {"max_frame", port.max_frame},
        {"heartbeat_age_ms", nullptr},
        {"heartbeat_timeout_ms", port.heartbeat_timeout_ms},
        {"heartbeat_stale", stale(port)},
        {"keep_ipv4", (port.flags & MILLRACE_FLAG_KEEP_ALL4) != 0},
        {"keep_ipv6", (port.flags & MILLRACE_FLAG_KEEP_ALL6) != 0},
        {"keep_prefixes", (port.flags & (MILLRACE_FLAG_KEEP4 | MILLRACE_FLAG_KEEP6)) != 0},
        {"keep_protocols", (port.flags & MILLRACE_FLAG_KEEP_PROTOCOL) != 0},
        {"keep_l4_ports", (port.flags & MILLRACE_FLAG_KEEP_L4) != 0},
        {"sees_vlan_tags", (port.sees & MILLRACE_SEES_TAGS) != 0},
        {"sees_takers", (port.sees & MILLRACE_SEES_TAKERS) != 0},
        {"problem", nullptr},
    };
    if (port.heartbeat_age_ms) {
        out["heartbeat_age_ms"] = *port.heartbeat_age_ms;
    }
    if (!port.problem.empty()) {
        out["problem"] = port.problem;
    }
    for (size_t i = 0; i < port.counters.size(); ++i) {
        out["counters"][std::string(reason_names[i])] = {{"packets", port.counters[i].packets},
                                                         {"bytes", port.counters[i].bytes}};
    }
    return out.dump();
}

}  // namespace millrace::steering
