// SPDX-License-Identifier: BSD-3-Clause
// What the firewall's hooks mean, in the operator's words.
#include <fmt/core.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <array>
#include <map>
#include <utility>

#include "dataplane/daemon/firewall_watch.hpp"

namespace millrace::dataplane {

namespace {

using steering::Follows;
using steering::Hook;

constexpr std::array both = {Family::ipv4, Family::ipv6};

Family family_of(const Hook& hook) {
    return hook.where == Hook::Where::ipv6 ? Family::ipv6 : Family::ipv4;
}

class Collector {
  public:
    Collector(const FirewallWatch::Found& found, const Config& config, const std::vector<Ifindex>& ports)
        : found_(found), config_(config), ports_(ports) {}

    std::vector<Keep> collect() {
        if (!found_.problem.empty()) {
            for (const Family family : both) {
                add_family(family, "the firewall can't be read");
            }
        }
        for (const Hook& hook : found_.hooks.all) {
            const std::string text = fmt::format("{}: {}", steering::place(hook), steering::whose(hook));
            switch (steering::follows(hook, config_.firewall)) {
                case Follows::nothing:
                    break;
                case Follows::family:
                    add_family(family_of(hook), text);
                    break;
                case Follows::ingress:
                    add_port(hook, text);
                    break;
                case Follows::egress:
                    add({.cause = KeepCause::netfilter,
                         .port = name_of(hook.ifindex),
                         .egress = true,
                         .text = text});
                    break;
                case Follows::ignored:
                    ignored_.insert(steering::table_of(hook));
                    break;
            }
        }
        if (found_.hooks.incomplete) {
            for (const Family family : both) {
                add_family(family, "more hooks than can be read");
            }
        }
        for (const std::string& table : ignored_) {
            add({.cause = KeepCause::bypass,
                 .text = fmt::format("not kept: [firewall] ignore = [\"{}\"]", table)});
        }
        for (const PortConfig& port : config_.ports) {
            for (const Family family : both) {
                if (steering::bypassed(config_.firewall, port.name, family)) {
                    add({.cause = KeepCause::bypass,
                         .port = port.name,
                         .family = family,
                         .text = "not kept: [firewall] mode = \"bypass\""});
                }
            }
        }
        return merged();
    }

  private:
    void add(Keep keep) { keeps_.push_back(std::move(keep)); }

    // Of all ports, or of those that are not bypassed.
    void add_family(Family family, const std::string& text) {
        const auto bypassed = [&](const PortConfig& p) {
            return steering::bypassed(config_.firewall, p.name, family);
        };
        const bool any = std::any_of(config_.ports.begin(), config_.ports.end(), bypassed);
        if (!any) {
            add({.cause = KeepCause::netfilter, .family = family, .text = text});
            return;
        }
        for (const PortConfig& port : config_.ports) {
            if (!bypassed(port)) {
                add({.cause = KeepCause::netfilter, .port = port.name, .family = family, .text = text});
            }
        }
    }

    void add_port(const Hook& hook, const std::string& text) {
        const std::string port = name_of(hook.ifindex);
        for (const Family family : both) {
            if (!steering::bypassed(config_.firewall, port, family)) {
                add({.cause = KeepCause::netfilter, .port = port, .family = family, .text = text});
            }
        }
    }

    std::string name_of(Ifindex ifindex) const {
        const auto at = std::find(ports_.begin(), ports_.end(), ifindex);
        return at == ports_.end() ? "?" : config_.ports[static_cast<size_t>(at - ports_.begin())].name;
    }

    // What holds for both families is one row.
    std::vector<Keep> merged() {
        std::sort(keeps_.begin(), keeps_.end());
        keeps_.erase(std::unique(keeps_.begin(), keeps_.end()), keeps_.end());
        std::vector<Keep> out;
        for (const Keep& keep : keeps_) {
            Keep other = keep;
            if (keep.family) {
                other.family = *keep.family == Family::ipv4 ? Family::ipv6 : Family::ipv4;
                if (std::binary_search(keeps_.begin(), keeps_.end(), other)) {
                    other.family.reset();
                    if (*keep.family == Family::ipv6) {
                        continue;
                    }
                } else {
                    other = keep;
                }
            }
            out.push_back(std::move(other));
        }
        return out;
    }

    const FirewallWatch::Found& found_;
    const Config& config_;
    const std::vector<Ifindex>& ports_;
    std::set<std::string> ignored_;
    std::vector<Keep> keeps_;
};

}  // namespace

std::vector<Keep> keeps_of(const FirewallWatch::Found& found, const Config& config,
                           const std::vector<Ifindex>& ports) {
    return Collector(found, config, ports).collect();
}

std::set<Ifindex> kept_egress(const FirewallWatch::Found& found, const Config& config) {
    std::set<Ifindex> devices;
    for (const Hook& hook : found.hooks.all) {
        if (steering::follows(hook, config.firewall) == Follows::egress) {
            devices.insert(hook.ifindex);
        }
    }
    if (found.hooks.incomplete) {
        for (const auto& [device, address] : found.hooks.devices) {
            devices.insert(device);
        }
    }
    return devices;
}

void warn_of_bypass(const Config& config) {
    const FirewallConfig& firewall = config.firewall;
    if (firewall.mode == FirewallMode::bypass) {
        std::string ports;
        for (const PortConfig& port : config.ports) {
            std::string families;
            for (const Family family : both) {
                if (steering::bypassed(firewall, port.name, family)) {
                    families += families.empty() ? "" : " and ";
                    families += family == Family::ipv4 ? "IPv4" : "IPv6";
                }
            }
            if (!families.empty()) {
                ports += fmt::format("{}{} of {}", ports.empty() ? "" : ", ", families, port.name);
            }
        }
        spdlog::warn("the firewall is bypassed: {} ([firewall] mode = \"bypass\")", ports);
    }
    for (const std::string& table : firewall.ignore) {
        spdlog::warn("transit may miss table {} ([firewall] ignore)", table);
    }
}

void tell_of_firewall(const Config& config, Ruleset ruleset) {
    FirewallWatch watch(config.ports, std::move(ruleset));
    const std::vector<Keep> keeps = keeps_of(watch.found(), config, watch.ports());
    for (const Keep& keep : keeps) {
        if (keep.cause == KeepCause::netfilter) {
            spdlog::warn("{}{}: transit is left to the kernel: {}; [firewall] mode or ignore change that",
                         keep.port.empty() ? "" : "port " + keep.port + ": ", keep.what(), keep.text);
        }
    }
}

}  // namespace millrace::dataplane
