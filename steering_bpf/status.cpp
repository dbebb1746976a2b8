// SPDX-License-Identifier: BSD-3-Clause
#include <bpf/bpf.h>

#include <cerrno>
#include <ctime>

#include "steering_bpf/attach.hpp"
#include "steering_bpf/kernel.hpp"
#include "steering_bpf/maps.hpp"
#include "steering_bpf/pins.hpp"
#include "steering_bpf/state.hpp"

namespace millrace::steering {
namespace {

Result<std::optional<uint64_t>> heartbeat_age_ms(int fd) {
    const uint32_t key = 0;
    millrace_heartbeat beat{};
    if (bpf_map_lookup_elem(fd, &key, &beat) != 0) {
        return fail(MILLRACE_MAP_HEARTBEAT ": cannot read", errno);
    }
    if (beat.alive_ns == 0) {
        return std::optional<uint64_t>{};
    }
    timespec now{};
    clock_gettime(CLOCK_MONOTONIC, &now);
    const auto now_ns =
        static_cast<uint64_t>(now.tv_sec) * 1'000'000'000 + static_cast<uint64_t>(now.tv_nsec);
    return now_ns > beat.alive_ns ? (now_ns - beat.alive_ns) / 1'000'000 : 0;
}

Status read_maps(const std::string& dir, PortStatus& out) {
    const auto config_map = open_map(dir, MapId::config);
    const auto heartbeat_map = open_map(dir, MapId::heartbeat);
    const auto counters_map = open_map(dir, MapId::counters);
    for (const auto* map : {&config_map, &heartbeat_map, &counters_map}) {
        if (!*map) {
            return tl::unexpected(map->error());
        }
    }
    const auto config = read_config(config_map->get());
    if (!config) {
        return tl::unexpected(config.error());
    }
    const auto age = heartbeat_age_ms(heartbeat_map->get());
    if (!age) {
        return tl::unexpected(age.error());
    }
    const auto counters = read_counters(counters_map->get());
    if (!counters) {
        return tl::unexpected(counters.error());
    }
    out.sees = read_state(dir).sees;
    out.flags = config->flags;
    out.max_frame = config->max_frame;
    out.heartbeat_timeout_ms = config->heartbeat_timeout_ns / 1'000'000;
    out.heartbeat_age_ms = *age;
    out.counters = *counters;
    return {};
}

PortStatus port_status(const std::string& pin_root, const std::string& port) {
    PortStatus out;
    out.port = port;
    const auto dir = pin_dir(pin_root, port);
    if (!dir) {
        out.problem = dir.error().text();
        return out;
    }
    const auto link = pinned_link(*dir + "/" MILLRACE_PIN_LINK, port);
    if (!link) {
        out.problem = link.error().text();
        return out;
    }
    out.ifindex = link->ifindex;
    out.program_id = link->program_id;
    out.mode = link->mode;
    switch (link->state) {
        case PinnedLink::State::none:
            out.problem = "no link: nothing is attached";
            break;
        case PinnedLink::State::gone:
            out.problem = "its netdev is gone, or it was detached";
            break;
        case PinnedLink::State::elsewhere:
            out.problem = "attached to a netdev of another name or network namespace";
            break;
        case PinnedLink::State::attached:
            if (!in_place(read_state(*dir), link->program_id)) {
                out.problem = "its classifier is another build's, or was replaced half-way";
                return out;
            }
            break;
    }
    if (auto read = read_maps(*dir, out); !read && out.problem.empty()) {
        out.problem = read.error().text();
    }
    return out;
}

}  // namespace

Result<std::vector<PortStatus>> status(const std::string& pin_root) {
    const auto ports = pinned_ports(pin_root);
    if (!ports) {
        return tl::unexpected(ports.error());
    }
    std::vector<PortStatus> out;
    for (const std::string& port : *ports) {
        out.push_back(port_status(pin_root, port));
    }
    return out;
}

}  // namespace millrace::steering
