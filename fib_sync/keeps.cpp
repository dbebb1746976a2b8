// SPDX-License-Identifier: BSD-3-Clause
#include "fib_sync/keeps.hpp"

#include <fmt/core.h>
#include <linux/xfrm.h>

#include <algorithm>
#include <string_view>

#include "fib_sync/keeps_of_rules.hpp"

namespace millrace::sync {
namespace {

// Work-conserving, and possible as net.core.default_qdisc: nobody notices when traffic goes round them.
constexpr std::string_view plain_kinds[] = {"noqueue",  "noop", "pfifo_fast", "pfifo", "bfifo",
                                            "fq_codel", "fq",   "sfq",        "mq"};

bool shapes(const Qdisc& q) {
    return !q.hooks() && (q.paced || std::find(std::begin(plain_kinds), std::end(plain_kinds), q.kind) ==
                                         std::end(plain_kinds));
}

Hooks hooks_in_use(const Policy& policy, const Qdisc& q) {
    const auto found = policy.hooks.find(q.ifindex);
    Hooks hooks = found == policy.hooks.end() ? Hooks{} : found->second;
    hooks.ingress = hooks.ingress || q.ingress_block;
    hooks.egress = hooks.egress || q.egress_block;
    return hooks;
}

// 0 off, 1 strict, 2 loose: the higher of "all" and the device (IN_DEV_RPFILTER).
uint8_t rp_filter_of(const Policy& policy, Ifindex ifindex) {
    uint8_t value = 0;
    for (const Ifindex i : {all_devices, ifindex}) {
        if (const auto found = policy.switches4 ? policy.switches4->find(i) : SwitchTable::const_iterator{};
            policy.switches4 && found != policy.switches4->end()) {
            value = std::max(value, found->second.rp_filter);
        }
    }
    return std::min<uint8_t>(value, 2);
}

class Collector {
  public:
    Collector(const Policy& policy, std::span<const PortDevice> ports, const std::set<Prefix>& locals)
        : policy_(policy), ports_(ports), locals_(locals) {}

    std::vector<Keep> collect() {
        for (const PortDevice& port : ports_) {
            if (!port.master.empty()) {
                add({.cause = KeepCause::master, .port = port.name, .text = "member of " + port.master});
            }
            add_switches4(port);
            add_ipv6(port);
            add_qdiscs(port);
        }
        add_forwarding6();
        add_multicast();
        add_locals();
        add_rules();
        add_xfrm();
        std::sort(keeps_.begin(), keeps_.end());
        keeps_.erase(std::unique(keeps_.begin(), keeps_.end()), keeps_.end());
        return std::move(keeps_);
    }

  private:
    void add(Keep keep) { keeps_.push_back(std::move(keep)); }

    // ip_route_input_slow asks the ingress device; writing ip_forward or "all" only sets every device.
    void add_switches4(const PortDevice& port) {
        if (!policy_.switches4) {
            return;
        }
        const auto found = policy_.switches4->find(port.ifindex);
        if (found == policy_.switches4->end()) {
            add({.cause = KeepCause::forwarding,
                 .port = port.name,
                 .family = Family::ipv4,
                 .text = "the kernel has no IPv4 on it"});
        } else if (!found->second.forwarding) {
            add({.cause = KeepCause::forwarding,
                 .port = port.name,
                 .family = Family::ipv4,
                 .text = fmt::format("net.ipv4.conf.{}.forwarding = 0", port.name)});
        }
    }

    // ip6_forward asks "all" alone; the device's own switch makes it a host or a router to its neighbours.
    // (force_forwarding, Linux 6.17, forwards nevertheless; that is left to the kernel.)
    void add_forwarding6() {
        if (!policy_.switches6) {
            return;
        }
        const auto all = policy_.switches6->find(all_devices);
        if (all != policy_.switches6->end() && !all->second.forwarding) {
            add({.cause = KeepCause::forwarding,
                 .family = Family::ipv6,
                 .text = "net.ipv6.conf.all.forwarding = 0"});
        }
    }

    // ipv6_rcv discards what comes in on such a device.
    void add_ipv6(const PortDevice& port) {
        const auto found = policy_.ipv6.find(port.ifindex);
        if (found == policy_.ipv6.end() || (found->second.present && !found->second.disabled)) {
            return;
        }
        add({.cause = KeepCause::forwarding,
             .port = port.name,
             .family = Family::ipv6,
             .text = found->second.present ? fmt::format("net.ipv6.conf.{}.disable_ipv6 = 1", port.name)
                                           : "the kernel has no IPv6 on it (MTU below 1280?)"});
    }

    // AF_XDP transmits past queue and egress hook, and the classifier comes before the ingress hook.
    void add_qdiscs(const PortDevice& port) {
        for (const Qdisc& q : policy_.qdiscs) {
            if (q.ifindex != port.ifindex) {
                continue;
            }
            if (shapes(q)) {
                add({.cause = KeepCause::qdisc,
                     .port = port.name,
                     .egress = true,
                     .text = fmt::format("qdisc {} {:x}:{}", q.kind, q.handle >> 16,
                                         q.paced ? " with a maximum rate" : "")});
            }
            if (!q.hooks()) {
                continue;
            }
            const Hooks hooks = hooks_in_use(policy_, q);
            if (hooks.ingress) {
                add({.cause = KeepCause::filter, .port = port.name, .text = "tc filter at ingress"});
            }
            if (hooks.egress) {
                add({.cause = KeepCause::filter,
                     .port = port.name,
                     .egress = true,
                     .text = "tc filter at egress"});
            }
        }
    }

    // For information: multicast is the kernel's whoever routes it.
    // As a source such an address is discarded (fib_validate_source), as a destination delivered. Loopback
    // and multicast are the classifier's anyway.
    void add_locals() {
        static const Prefix loopback = *Prefix::parse("127.0.0.0/8");
        static const Prefix multicast = *Prefix::parse("ff00::/8");
        for (const Prefix& prefix : locals_) {
            if (!loopback.contains(prefix.address) && !multicast.contains(prefix.address)) {
                add({.cause = KeepCause::local, .prefix = prefix, .text = "prefix of the router itself"});
            }
        }
    }

    void add_multicast() {
        const auto add_table = [this](const std::optional<SwitchTable>& table, const char* prefix) {
            for (const PortDevice& port : ports_) {
                if (table && table->contains(port.ifindex) && table->at(port.ifindex).multicast) {
                    add({.cause = KeepCause::multicast,
                         .port = port.name,
                         .prefix = Prefix::parse(prefix),
                         .text = "multicast routing"});
                }
            }
        };
        add_table(policy_.switches4, "224.0.0.0/4");
        add_table(policy_.switches6, "ff00::/8");
    }

    void add_rules() {
        std::vector<RulePort> ports;
        for (const PortDevice& port : ports_) {
            ports.push_back({port.name, rp_filter_of(policy_, port.ifindex) != 0});
        }
        for (const auto& [family, rules] :
             {std::pair{Family::ipv4, &policy_.rules4}, std::pair{Family::ipv6, &policy_.rules6}}) {
            if (*rules) {
                std::vector<Keep> of_rules = keeps_of_rules(family, **rules, ports);
                std::move(of_rules.begin(), of_rules.end(), std::back_inserter(keeps_));
            }
        }
    }

    // Asked of transit: forward and output policies (ip_forward, xfrm4_route_forward). Those with an
    // interface id are for packets of XFRM interfaces, which are no ports.
    void add_xfrm() {
        for (const XfrmPolicy& p : policy_.xfrm) {
            if (p.interface_id != 0 || (p.direction != XFRM_POLICY_FWD && p.direction != XFRM_POLICY_OUT)) {
                continue;
            }
            Keep keep{.cause = KeepCause::xfrm, .family = p.family};
            keep.prefix = more_specific(p.source, p.destination);
            const char* any = p.family == Family::ipv4 ? "0.0.0.0/0" : "::/0";
            keep.text =
                fmt::format("XFRM policy src {} dst {} dir {}{}", p.source ? p.source->text() : any,
                            p.destination ? p.destination->text() : any,
                            p.direction == XFRM_POLICY_FWD ? "fwd" : "out", p.block ? " action block" : "");
            add(std::move(keep));
        }
        if (policy_.xfrm_blocks_by_default) {
            add({.cause = KeepCause::xfrm, .text = "the default XFRM policy is block"});
        }
    }

    const Policy& policy_;
    std::span<const PortDevice> ports_;
    const std::set<Prefix>& locals_;
    std::vector<Keep> keeps_;
};

}  // namespace

std::vector<Keep> keeps_of(const Policy& policy, std::span<const PortDevice> ports,
                           const std::set<Prefix>& local_prefixes) {
    return Collector(policy, ports, local_prefixes).collect();
}

std::map<Ifindex, DevicePolicy> device_policies(const Policy& policy, std::span<const PortDevice> ports) {
    std::map<Ifindex, DevicePolicy> all;
    for (const PortDevice& port : ports) {
        DevicePolicy& device = all[port.ifindex];
        device.rp_filter = rp_filter_of(policy, port.ifindex);
        if (const auto found = policy.ipv6.find(port.ifindex); found != policy.ipv6.end()) {
            device.mtu6 = found->second.mtu;
        }
        for (const Qdisc& q : policy.qdiscs) {
            if (q.ifindex == port.ifindex) {
                device.egress_kept =
                    device.egress_kept || shapes(q) || (q.hooks() && hooks_in_use(policy, q).egress);
            }
        }
    }
    return all;
}

}  // namespace millrace::sync
