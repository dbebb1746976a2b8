// SPDX-License-Identifier: BSD-3-Clause
#include "dataplane/daemon/steering.hpp"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <ctime>
#include <iterator>
#include <map>

namespace millrace::dataplane {

namespace {
constexpr uint64_t ns_per_ms = 1'000'000;
constexpr uint64_t ns_per_s = 1'000'000'000;
constexpr size_t lines_of_a_reason = 3;

// A map that refuses an entry leaves a port with less than the mirror knows. The FIB knows it all the same,
// and punts: slower, not wrong.
void warn(const Status& status) {
    if (!status) {
        spdlog::warn("{}", status.error().text());
    }
}
}  // namespace

Result<steering::PortMaps> Steering::open(const Config& config, const std::string& port) {
    auto maps = steering::PortMaps::open(port, config.steering.pin_root);
    if (!maps) {
        return maps;
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
    return maps;
}

Steering Steering::open(const Config& config) {
    Steering all;
    for (const PortConfig& port : config.ports) {
        auto maps = open(config, port.name);
        all.problems_.push_back(maps ? "" : maps.error().text());
        all.ports_.push_back(maps ? std::optional(std::move(*maps)) : std::nullopt);
        all.names_.push_back(port.name);
        all.usable_.push_back(false);
    }
    all.configured_ = config.keep;
    all.kept_.resize(all.ports_.size(), all.kept_of({}, {}));
    return all;
}

Steering::Kept Steering::kept_of(const std::string& port, std::span<const Keep> keeps) const {
    Kept kept{.prefixes = {configured_.prefixes.begin(), configured_.prefixes.end()}};
    for (const Keep& keep : keeps) {
        // Multicast never gets as far as the prefixes.
        if (keep.egress || keep.cause == KeepCause::multicast || (!keep.port.empty() && keep.port != port)) {
            continue;
        }
        if (keep.prefix) {
            kept.prefixes.insert(*keep.prefix);
            continue;
        }
        kept.ipv4 = kept.ipv4 || keep.family != Family::ipv6;
        kept.ipv6 = kept.ipv6 || keep.family != Family::ipv4;
    }
    return kept;
}

std::vector<Keep> Steering::fit(const std::string& port, Kept& kept) {
    std::vector<Keep> rows;
    for (const auto& [family, all] :
         {std::pair{Family::ipv4, &kept.ipv4}, std::pair{Family::ipv6, &kept.ipv6}}) {
        const auto of_family = [f = family](const Prefix& p) { return p.address.family == f; };
        if (std::count_if(kept.prefixes.begin(), kept.prefixes.end(), of_family) > MILLRACE_MAX_KEEP) {
            std::erase_if(kept.prefixes, of_family);
            *all = true;
            rows.push_back({.cause = KeepCause::limit,
                            .port = port,
                            .family = family,
                            .text = fmt::format("more than {} kept prefixes", MILLRACE_MAX_KEEP)});
        }
    }
    return rows;
}

void Steering::set_keeps(std::span<const Keep> found) {
    std::vector<Keep> keeps(found.begin(), found.end());
    for (size_t p = 0; p < ports_.size(); ++p) {
        if (!ports_[p]) {
            continue;
        }
        Kept wanted = kept_of(names_[p], found);
        const std::vector<Keep> limits = fit(names_[p], wanted);
        keeps.insert(keeps.end(), limits.begin(), limits.end());
        if (wanted == kept_[p]) {
            continue;
        }
        const std::vector<Prefix> prefixes(wanted.prefixes.begin(), wanted.prefixes.end());
        if (auto done = ports_[p]->update_keep(prefixes, wanted.ipv4, wanted.ipv6); !done) {
            spdlog::warn("{}; the whole family stays in the kernel", done.error().text());
            continue;
        }
        kept_[p] = std::move(wanted);
    }
    const auto say = [](std::string_view what, std::span<const Keep> now, std::span<const Keep> before) {
        std::vector<Keep> fresh;
        std::set_difference(now.begin(), now.end(), before.begin(), before.end(), std::back_inserter(fresh));
        // Thousands of prefixes may share one reason: a table that is full.
        std::map<std::string, size_t> of_reason;
        for (const Keep& k : fresh) {
            if (++of_reason[k.text] <= lines_of_a_reason) {
                spdlog::info("{}: {}{}: {}", what, k.port.empty() ? "" : "port " + k.port + ": ", k.what(),
                             k.text);
            }
        }
        for (const auto& [text, count] : of_reason) {
            if (count > lines_of_a_reason) {
                spdlog::info("{}: {} more: {}", what, count - lines_of_a_reason, text);
            }
        }
    };
    std::sort(keeps.begin(), keeps.end());
    say("left to the kernel", keeps, keeps_);
    say("no longer left to the kernel", keeps_, keeps);
    keeps_ = std::move(keeps);
}

Status Steering::enable(bool on) {
    on_ = on;
    Status first;
    for (size_t p = 0; p < ports_.size(); ++p) {
        if (!ports_[p]) {
            continue;
        }
        if (!on) {
            ports_[p]->beat(0);  // can't fail: stale at once
        }
        if (auto done = ports_[p]->enable(on && usable_[p]); !done && first) {
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
    if (auto& maps = ports_[raw(port)]; maps && on_) {
        warn(maps->enable(usable));
    }
}

void Steering::set_mac(PortId port, const MacAddress& mac) {
    if (auto& maps = ports_[raw(port)]) {
        warn(maps->set_mac(mac));
    }
}

void Steering::set_local(const IpAddress& address, bool present) {
    for (auto& port : ports_) {
        if (port) {
            warn(present ? port->add_local(address) : port->remove_local(address));
        }
    }
}

void Steering::beat() {
    timespec now{};
    clock_gettime(CLOCK_MONOTONIC, &now);
    const uint64_t ns = static_cast<uint64_t>(now.tv_sec) * ns_per_s + static_cast<uint64_t>(now.tv_nsec);
    for (auto& port : ports_) {
        if (port) {
            port->beat(ns);
        }
    }
}

}  // namespace millrace::dataplane
