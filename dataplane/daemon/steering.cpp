// SPDX-License-Identifier: BSD-3-Clause
#include "dataplane/daemon/steering.hpp"

#include <spdlog/spdlog.h>

#include <ctime>

namespace millrace::dataplane {

namespace {
constexpr uint64_t ns_per_ms = 1'000'000;
constexpr uint64_t ns_per_s = 1'000'000'000;

// A map that refuses an entry leaves a port with less than the mirror knows. The FIB knows it all the same,
// and punts: slower, not wrong.
void warn(const Status& status) {
    if (!status) {
        spdlog::warn("{}", status.error().text());
    }
}
}  // namespace

Result<Steering> Steering::open(const Config& config) {
    Steering all;
    for (const PortConfig& port : config.ports) {
        auto maps = steering::PortMaps::open(port.name, config.steering.pin_root);
        if (!maps) {
            return tl::unexpected(maps.error());
        }
        millrace_steer_config disabled{};
        disabled.heartbeat_timeout_ns = config.steering.heartbeat_timeout_ms * ns_per_ms;
        disabled.max_frame = MILLRACE_MAX_FRAME;
        Status written = maps->configure(disabled);
        if (written) {
            written = maps->set_keep(config.keep);
        }
        if (written) {
            written = maps->replace_local({});
        }
        if (!written) {
            return tl::unexpected(written.error());
        }
        all.ports_.push_back(std::move(*maps));
        all.usable_.push_back(false);
    }
    return all;
}

Status Steering::enable(bool on) {
    on_ = on;
    Status first;
    for (size_t p = 0; p < ports_.size(); ++p) {
        if (!on) {
            ports_[p].beat(0);  // can't fail: stale at once
        }
        if (auto done = ports_[p].enable(on && usable_[p]); !done && first) {
            first = done;
        }
    }
    return first;
}

void Steering::set_usable(PortId port, bool usable) {
    if (usable_[raw(port)] == usable) {
        return;
    }
    usable_[raw(port)] = usable;
    if (on_) {
        warn(ports_[raw(port)].enable(usable));
    }
}

void Steering::set_mac(PortId port, const MacAddress& mac) {
    warn(ports_[raw(port)].set_mac(mac));
}

void Steering::set_local(const IpAddress& address, bool present) {
    for (auto& port : ports_) {
        warn(present ? port.add_local(address) : port.remove_local(address));
    }
}

void Steering::beat() {
    timespec now{};
    clock_gettime(CLOCK_MONOTONIC, &now);
    const uint64_t ns = static_cast<uint64_t>(now.tv_sec) * ns_per_s + static_cast<uint64_t>(now.tv_nsec);
    for (auto& port : ports_) {
        port.beat(ns);
    }
}

}  // namespace millrace::dataplane
