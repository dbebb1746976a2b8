// SPDX-License-Identifier: BSD-3-Clause
#include "dataplane/daemon/steering.hpp"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <iterator>
#include <set>
#include <string>

#include "dataplane/daemon/keep_log.hpp"
#include "dataplane/daemon/port_text.hpp"

namespace millrace::dataplane {

namespace {

constexpr uint64_t ns_per_ms = 1'000'000;

size_t index_of(Family family) {
    return family == Family::ipv4 ? 0 : 1;
}

// An error of a port's maps, for a row that names the port; empty: none.
std::string reason_of(const std::string& port, const Status& status) {
    return status ? "" : without_port(status.error().text(), port);
}

}  // namespace

Status Steering::open(Port& port, const Config& config) {
    auto maps = steering::PortMaps::open(port.config.name, config.steering.pin_root);
    if (!maps) {
        return tl::unexpected(maps.error());
    }
    port.maps = std::move(*maps);
    millrace_steer_config disabled{};
    disabled.heartbeat_timeout_ns = config.steering.heartbeat_timeout_ms * ns_per_ms;
    disabled.max_frame = MILLRACE_MAX_FRAME;
    Status written = port.maps->configure(disabled);
    if (written) {
        written = port.maps->set_keep(config.keep);
    }
    for (const Family family : families) {
        const size_t f = index_of(family);
        if (written) {
            written = port.maps->set_local(own_[f].table);
        }
        port.own[f] = own_[f].table.generation();
        port.kept[f] = kept_of(port.config.name, family, {});
        port.written[f] = port.kept[f];
    }
    return written;
}

Result<Steering> Steering::open(const Config& config, uint32_t most_own, Ruleset ruleset) {
    Steering all;
    all.config_ = config;
    for (const Family family : families) {
        auto table = steering::LocalTable::create(family, most_own);
        if (!table) {
            return tl::unexpected(table.error());
        }
        all.own_.push_back({.table = std::move(*table)});
    }
    for (const PortConfig& config_of : config.ports) {
        Port port{.config = config_of};
        if (auto opened = all.open(port, config); !opened) {
            port.maps.reset();
            port.problem = opened.error().text();
        }
        all.ports_.push_back(std::move(port));
    }
    std::vector<PortWatch::Watched> watched;
    for (const Port& port : all.ports_) {
        watched.push_back({.config = port.config,
                           .sees = port.maps ? std::optional(port.maps->attached().sees) : std::nullopt});
    }
    all.watch_ = std::make_unique<PortWatch>(std::move(watched));
    all.take_found();
    all.firewall_ = std::make_unique<FirewallWatch>(config.ports, std::move(ruleset));
    all.hooks_ = all.firewall_->found();
    all.settle();
    return all;
}

Steering::Kept Steering::kept_of(const std::string& port, Family family, std::span<const Keep> keeps) const {
    Kept kept;
    std::copy_if(config_.keep.prefixes.begin(), config_.keep.prefixes.end(),
                 std::inserter(kept.prefixes, kept.prefixes.end()),
                 [&](const Prefix& p) { return p.address.family == family; });
    for (const Keep& keep : keeps) {
        // Multicast never gets as far as the prefixes; netfilter's hooks and the heartbeat the classifier
        // sees for itself.
        if (keep.egress || keep.cause == KeepCause::multicast || keep.cause == KeepCause::netfilter ||
            keep.cause == KeepCause::bypass || keep.cause == KeepCause::heartbeat ||
            (!keep.port.empty() && keep.port != port)) {
            continue;
        }
        if (!keep.prefix) {
            kept.all = kept.all || !keep.family || *keep.family == family;
        } else if (keep.prefix->address.family == family) {
            kept.prefixes.insert(*keep.prefix);
        }
    }
    return kept;
}

void Steering::fit(const Port& port, Family family, Kept& kept, std::vector<Keep>& rows) {
    if (kept.prefixes.size() > MILLRACE_MAX_KEEP) {
        kept = {.prefixes = {}, .all = true};
        rows.push_back({.cause = KeepCause::limit,
                        .port = port.config.name,
                        .family = family,
                        .text = fmt::format("more than {} kept prefixes", MILLRACE_MAX_KEEP)});
    }
}

void Steering::write_family(Port& port, size_t family) {
    const Own& own = own_[family];
    Status done;
    if (port.own[family] != own.table.generation()) {
        done = port.maps->set_local(own.table);
        port.own[family] = done ? own.table.generation() : 0;
    }
    Kept wanted = port.kept[family];
    wanted.all = wanted.all || !done;
    if (port.written[family] != wanted) {
        const std::vector<Prefix> prefixes(wanted.prefixes.begin(), wanted.prefixes.end());
        const Status updated = port.maps->update_keep(families[family], prefixes, wanted.all);
        port.written[family] = updated ? std::optional(wanted) : std::nullopt;
        done = done ? updated : done;
    }
    port.refused[family] = reason_of(port.config.name, done);
}

void Steering::write(Port& port) {
    for (size_t family = 0; family < families.size(); ++family) {
        write_family(port, family);
    }
    Status done = port.maps->set_judgement(port.watched.macvlan);
    if (!port.keep_written) {
        const Status policy = port.maps->set_keep_protocols(config_.keep);
        port.keep_written = policy.has_value();
        done = done ? policy : done;
    }
    const auto id = static_cast<size_t>(&port - ports_.data());
    if (const Status judged = port.maps->set_firewall(
            steering::judge(hooks_.hooks, config_.firewall, port.config.name, firewall_->ports()[id]));
        done) {
        done = judged;
    }
    if (const Status mac = port.maps->set_mac(port.mac); done) {
        done = mac;
    }
    if (const Status enabled = port.maps->enable(on_ && port.usable); done) {
        done = enabled;
    }
    port.silent = reason_of(port.config.name, done);
    if (!done) {
        stop_beating(port);
    } else {
        port.may_beat->store(true);
    }
}

void Steering::settle() {
    std::vector<Keep> keeps = found_;
    keeps.insert(keeps.end(), punted_.begin(), punted_.end());
    const std::vector<Keep> of_firewall = keeps_of(hooks_, config_, firewall_->ports());
    keeps.insert(keeps.end(), of_firewall.begin(), of_firewall.end());
    for (const Family family : families) {
        if (const Own& own = own_[index_of(family)]; !own.error.empty()) {
            keeps.push_back({.cause = KeepCause::limit, .family = family, .text = own.error});
        }
    }
    for (const Port& port : ports_) {
        const bool told = std::any_of(found_.begin(), found_.end(), [&](const Keep& k) {
            return k.cause == KeepCause::master && k.port == port.config.name;
        });
        std::copy_if(
            port.watched.keeps.begin(), port.watched.keeps.end(), std::back_inserter(keeps),
            [&](const Keep& k) { return k.cause != KeepCause::taken || !port.watched.of_netlink || !told; });
    }
    std::vector<Keep> limits;
    for (Port& port : ports_) {
        if (!port.maps) {
            continue;
        }
        for (const Family family : families) {
            Kept& kept = port.kept[index_of(family)];
            kept = kept_of(port.config.name, family, keeps);
            fit(port, family, kept, limits);
        }
        write(port);
        for (const Family family : families) {
            if (const std::string& why = port.refused[index_of(family)]; !why.empty()) {
                limits.push_back(
                    {.cause = KeepCause::limit, .port = port.config.name, .family = family, .text = why});
            }
        }
        if (!port.silent.empty()) {
            limits.push_back({.cause = KeepCause::limit, .port = port.config.name, .text = port.silent});
        }
        if (!port.missing.empty()) {
            limits.push_back({.cause = KeepCause::heartbeat, .port = port.config.name, .text = port.missing});
        }
    }
    keeps.insert(keeps.end(), limits.begin(), limits.end());
    std::sort(keeps.begin(), keeps.end());
    log_change(keeps_, keeps);
    keeps_ = std::move(keeps);
}

void Steering::set_keeps(std::span<const Keep> found) {
    found_.assign(found.begin(), found.end());
    take_found();
    watch_->nudge();  // a port that joins or leaves a bridge is another one to both
    settle();
}

void Steering::set_configured(const KeepConfig& keep) {
    config_.keep = keep;
    for (Port& port : ports_) {
        port.keep_written = false;
    }
    settle();
}

void Steering::set_punted(std::vector<Keep> keeps) {
    punted_ = std::move(keeps);
    settle();
}

Status Steering::enable(bool on) {
    on_ = on;
    Status first;
    for (Port& port : ports_) {
        if (!port.maps) {
            continue;
        }
        if (!on) {
            stop_beating(port);
        }
        if (auto done = port.maps->enable(on && port.usable); !done && first) {
            first = done;
        }
    }
    return first;
}

void Steering::set_usable(PortId id, bool usable) {
    Port& port = ports_[raw(id)];
    if (port.usable != usable) {
        port.usable = usable;
        take_found();
        watch_->nudge();
        settle();
    }
}

void Steering::set_mac(PortId id, const MacAddress& mac) {
    Port& port = ports_[raw(id)];
    if (port.mac != mac) {
        port.mac = mac;
        settle();
    }
}

bool Steering::store(Own& own, const IpAddress& address) {
    if (auto added = own.table.add(address); !added) {
        own.missing.insert(address);
        own.error = own.error.empty() ? added.error().text() : own.error;
        return false;
    }
    return true;
}

void Steering::set_local(const IpAddress& address, bool present) {
    const size_t family = index_of(address.family);
    Own& own = own_[family];
    const bool fitted = own.error.empty();
    const uint32_t generation = own.table.generation();
    if (present) {
        store(own, address);
    } else if (own.missing.erase(address) == 0) {
        // What can't be removed stays the kernel's: slower, not wrong.
        if (auto removed = own.table.remove(address); !removed) {
            spdlog::warn("{}", removed.error().text());
        }
    }
    if (own.table.generation() != generation || own.error.empty() != fitted) {
        settle();
    }
}

bool Steering::take_found() {
    std::vector<PortWatch::Found> found = watch_->found();
    bool different = false;
    for (size_t p = 0; p < ports_.size(); ++p) {
        if (found[p] != ports_[p].watched) {
            ports_[p].watched = std::move(found[p]);
            different = true;
        }
    }
    return different;
}

void Steering::look() {
    if (take_found()) {
        settle();
    }
}

void Steering::follow_firewall(const std::function<void(std::set<Ifindex>)>& keep_egress) {
    hooks_ = firewall_->found();
    keep_egress(kept_egress(hooks_, config_));
    settle();
}

void Steering::poll() {
    bool again = take_found();
    for (Own& own : own_) {
        if (own.error.empty()) {
            continue;
        }
        while (!own.missing.empty() && own.table.add(*own.missing.begin())) {
            own.missing.erase(own.missing.begin());
        }
        if (own.missing.empty()) {
            own.error.clear();
            again = true;
        }
    }
    for (const Port& port : ports_) {
        again = again || !port.silent.empty() || !port.refused[0].empty() || !port.refused[1].empty();
    }
    if (again) {
        settle();
    }
}

void Steering::watch_own_end() {
    std::vector<int> heartbeats;
    for (const Port& port : ports_) {
        if (port.maps) {
            heartbeats.push_back(port.maps->heartbeat_map());
        }
    }
    auto armed = steering::Farewell::arm(heartbeats);
    if (!armed) {
        spdlog::warn("the kernel does not tell when millraced is killed, the heartbeat's timeout must: {}",
                     armed.error().text());
        return;
    }
    farewell_ = std::move(*armed);
}

void Steering::set_silent(std::vector<std::string> missing) {
    for (size_t p = 0; p < ports_.size(); ++p) {
        ports_[p].missing = std::move(missing[p]);
    }
    settle();
}

// Stale at once, and whatever beat() is about to write.
void Steering::stop_beating(Port& port) {
    port.may_beat->store(false);
    port.maps->beat(0);  // can't fail
}

void Steering::beat(PortId id, uint64_t monotonic_ns) {
    Port& port = ports_[raw(id)];
    if (!port.maps || !port.may_beat->load()) {
        return;
    }
    port.maps->beat(monotonic_ns);
    std::atomic_thread_fence(std::memory_order_seq_cst);
    if (!port.may_beat->load()) {
        port.maps->beat(0);
    }
}

}  // namespace millrace::dataplane
