// SPDX-License-Identifier: BSD-3-Clause
#include "steering_bpf/firewall.hpp"

#include <linux/netfilter.h>

#include <algorithm>
#include <string_view>

namespace millrace::steering {
namespace {

// Functions at netfilter's hooks that let all transit through, as it is. Each has been read in the source.
struct Harmless {
    std::string_view function;
    std::string_view what;
};
constexpr Harmless harmless[] = {
    {"ipv4_conntrack_in", "connection tracking"},
    {"ipv6_conntrack_in", "connection tracking"},
    {"nf_confirm", "connection tracking"},
    {"ipv4_confirm", "connection tracking"},  // before Linux 6.3
    {"ipv6_confirm", "connection tracking"},
    {"ipv4_conntrack_defrag", "defragmentation"},
    {"ipv6_defrag", "defragmentation"},
    {"apparmor_ip_postroute", "AppArmor"},   // looks at packets with a socket or a mark of its own
    {"ip_sabotage_in", "bridge netfilter"},  // looks at packets that came over a bridge
};

struct Known {
    std::string_view function;
    std::string_view what;
};
constexpr Known known[] = {{"ipt_do_table", "iptables-legacy"},
                           {"ip6t_do_table", "ip6tables-legacy"},
                           {"iptable_", "iptables-legacy"},
                           {"ip6table_", "ip6tables-legacy"},
                           {"nf_nat_", "address translation"},
                           {"ip_vs_", "IPVS"},
                           {"ipv4_synproxy", "SYNPROXY"},
                           {"ipv6_synproxy", "SYNPROXY"},
                           {"nf_flow_offload", "an nftables flowtable"},
                           {"selinux_", "SELinux"},
                           {"ipv4_conntrack_local", "connection tracking"},
                           {"ipv6_conntrack_local", "connection tracking"}};

const Harmless* harmless_of(const Hook& hook) {
    const auto* found = std::find_if(std::begin(harmless), std::end(harmless),
                                     [&](const Harmless& h) { return h.function == hook.function; });
    return hook.kind == Hook::Kind::function && found != std::end(harmless) ? found : nullptr;
}

bool of_inet(const Hook& hook) {
    return hook.where == Hook::Where::ipv4 || hook.where == Hook::Where::ipv6;
}

// NF_INET_LOCAL_IN and _OUT see what is to and from the router itself.
bool met_by_transit(const Hook& hook) {
    return !of_inet(hook) || hook.number == NF_INET_PRE_ROUTING || hook.number == NF_INET_FORWARD ||
           hook.number == NF_INET_POST_ROUTING;
}

template <size_t n>
bool note(__u64 (&list)[n], uint64_t address) {
    for (__u64& slot : list) {
        if (slot == address) {
            return true;
        }
        if (slot == 0) {
            slot = address;
            return true;
        }
    }
    return false;
}

}  // namespace

std::string table_of(const Hook& hook) {
    if (hook.kind != Hook::Kind::nft) {
        return {};
    }
    // nft_do_chain_inet runs at both families' hooks.
    const char* family = hook.function == "nft_do_chain_ipv4"     ? "ip"
                         : hook.function == "nft_do_chain_ipv6"   ? "ip6"
                         : hook.function == "nft_do_chain_netdev" ? "netdev"
                                                                  : "inet";
    return fmt::format("{} {}", family, hook.table);
}

std::string place(const Hook& hook) {
    if (!of_inet(hook)) {
        return hook.number == 0 ? "ingress" : "egress";
    }
    constexpr const char* names[] = {"prerouting", "input", "forward", "output", "postrouting"};
    return hook.number < std::size(names) ? names[hook.number] : "?";
}

std::string whose(const Hook& hook) {
    if (hook.kind == Hook::Kind::nft) {
        std::string rules = hook.rules == 0   ? "no rules"
                            : hook.rules == 1 ? "1 rule"
                                              : fmt::format("{} rules", hook.rules);
        if (hook.drops) {
            rules += ", policy drop";
        }
        return fmt::format("table {}, chain {}: {}", table_of(hook), hook.chain, rules);
    }
    if (hook.kind == Hook::Kind::tc) {
        return fmt::format("{} {}", hook.function == "tcx" ? "a tcx" : "a tc",
                           hook.function == "tcx" ? "program" : "filter");
    }
    if (hook.kind == Hook::Kind::bpf) {
        return "a BPF program (netfilter link)";
    }
    if (const Harmless* h = harmless_of(hook)) {
        return std::string(h->what);
    }
    for (const Known& k : known) {
        if (hook.function.starts_with(k.function)) {
            return std::string(k.what);
        }
    }
    return fmt::format("the kernel's {}", hook.function.empty() ? "?" : hook.function);
}

Follows follows(const Hook& hook, const FirewallConfig& config) {
    if (!met_by_transit(hook) || harmless_of(hook) != nullptr ||
        (hook.kind == Hook::Kind::nft && hook.empty)) {
        return Follows::nothing;
    }
    // Of a name that was cut, nobody knows whether it is the one that is meant.
    if (hook.kind == Hook::Kind::nft && hook.table.size() < most_name &&
        std::find(config.ignore.begin(), config.ignore.end(), table_of(hook)) != config.ignore.end()) {
        return Follows::ignored;
    }
    if (of_inet(hook)) {
        return Follows::family;
    }
    return hook.number == 0 ? Follows::ingress : Follows::egress;
}

bool bypassed(const FirewallConfig& config, const std::string& port, Family family) {
    const auto has = [](const auto& list, const auto& value) {
        return list.empty() || std::find(list.begin(), list.end(), value) != list.end();
    };
    return config.mode == FirewallMode::bypass && has(config.ports, port) && has(config.families, family);
}

millrace_firewall judge(const Hooks& hooks, const FirewallConfig& config, const std::string& port,
                        Ifindex ifindex) {
    millrace_firewall out{};
    out.net = hooks.net;
    for (const auto& [index, address] : hooks.devices) {
        out.dev = index == ifindex ? address : out.dev;
    }
    out.generation = hooks.generation;
    out.flags = out.dev != 0 && out.net != 0 ? MILLRACE_MAY_READ : 0;
    if (!hooks.incomplete) {
        out.flags |= MILLRACE_MAY_PASS_NFT4 | MILLRACE_MAY_PASS_NFT6 | MILLRACE_MAY_PASS_NETDEV;
    }
    for (const Hook& hook : hooks.all) {
        if (!met_by_transit(hook) || (!of_inet(hook) && (hook.ifindex != ifindex || hook.number != 0))) {
            continue;
        }
        const Follows what = follows(hook, config);
        const uint32_t flag = hook.where == Hook::Where::ipv4   ? MILLRACE_MAY_PASS_NFT4
                              : hook.where == Hook::Where::ipv6 ? MILLRACE_MAY_PASS_NFT6
                                                                : MILLRACE_MAY_PASS_NETDEV;
        if (hook.kind == Hook::Kind::nft) {
            const bool may = what == Follows::nothing || what == Follows::ignored;
            if (!may || !note(out.nft, hook.argument)) {
                out.flags &= ~flag;
            }
        } else if (harmless_of(hook) != nullptr) {
            note(out.harmless, hook.address);  // one too many is not gone past
        }
    }
    if (bypassed(config, port, Family::ipv4)) {
        out.flags |= MILLRACE_MAY_BYPASS4;
    }
    if (bypassed(config, port, Family::ipv6)) {
        out.flags |= MILLRACE_MAY_BYPASS6;
    }
    return out;
}

}  // namespace millrace::steering
