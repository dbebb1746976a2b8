// SPDX-License-Identifier: BSD-3-Clause
#include "fib_sync/policy_reader.hpp"

#include <fmt/core.h>
#include <linux/fib_rules.h>
#include <linux/if_link.h>
#include <linux/netconf.h>
#include <linux/pkt_sched.h>
#include <linux/rtnetlink.h>
#include <linux/xfrm.h>
#include <spdlog/spdlog.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <utility>

#include "fib_sync/decode_policy.hpp"

namespace millrace::sync {
namespace {

constexpr uint16_t dump = NLM_F_DUMP;
constexpr uint16_t one = NLM_F_ACK;  // the acknowledgement marks the end

// What a kernel says that was built without the table asked for.
bool not_there(const Error& e) {
    return e.code == EOPNOTSUPP || e.code == EAFNOSUPPORT || e.code == EPROTONOSUPPORT;
}

template <class T>
Status into(Result<std::optional<T>> decoded, const std::function<void(T)>& take) {
    if (!decoded) {
        return tl::unexpected(decoded.error());
    }
    if (*decoded) {
        take(std::move(**decoded));
    }
    return {};
}

}  // namespace

Result<PolicyReader> PolicyReader::open() {
    auto route = Exchange::open(NETLINK_ROUTE);
    if (!route) {
        return tl::unexpected(route.error());
    }
    PolicyReader reader(std::move(*route));
    // Without it the kernel doesn't tell a dump by ifindex from one of all.
    const int on = 1;
    setsockopt(reader.route_.fd(), SOL_NETLINK, NETLINK_GET_STRICT_CHK, &on, sizeof(on));
    if (auto xfrm = Exchange::open(NETLINK_XFRM)) {
        reader.xfrm_ = std::move(*xfrm);
    }
    return reader;
}

Status PolicyReader::read_rules(uint8_t family, std::optional<std::vector<Rule>>& rules) {
    std::vector<Rule> all;
    fib_rule_hdr header{};
    header.family = family;
    Status asked = route_.ask(RTM_GETRULE, dump, bytes_of(header), [&](uint16_t, Bytes payload) {
        return into<Rule>(decode_rule(payload), [&](Rule r) { all.push_back(std::move(r)); });
    });
    if (asked) {
        rules = std::move(all);
    } else if (not_there(asked.error())) {
        rules.reset();
    } else {
        return asked;
    }
    return {};
}

Status PolicyReader::read_switches(uint8_t family, std::optional<SwitchTable>& table) {
    SwitchTable all;
    netconfmsg header{};
    header.ncm_family = family;
    Status asked = route_.ask(RTM_GETNETCONF, dump, bytes_of(header), [&](uint16_t, Bytes payload) {
        return into<SwitchesMessage>(decode_switches(payload),
                                     [&](SwitchesMessage m) { all[m.ifindex] = m.switches; });
    });
    if (asked) {
        table = std::move(all);
    } else if (not_there(asked.error())) {
        table.reset();
    } else {
        return asked;
    }
    return {};
}

Result<bool> PolicyReader::has_filter(Ifindex ifindex, uint32_t parent) {
    bool any = false;
    tcmsg header{};
    header.tcm_ifindex = static_cast<int>(raw(ifindex));
    header.tcm_parent = parent;
    Status asked = route_.ask(RTM_GETTFILTER, dump, bytes_of(header), [&](uint16_t, Bytes) {
        any = true;
        return Status{};
    });
    if (!asked && !not_there(asked.error()) && asked.error().code != ENODEV) {
        return tl::unexpected(asked.error());
    }
    return any;
}

Status PolicyReader::read_qdiscs(std::span<const Ifindex> ports, Policy& policy) {
    std::vector<Qdisc> qdiscs;
    Status asked = route_.ask(RTM_GETQDISC, dump, bytes_of(tcmsg{}), [&](uint16_t, Bytes payload) {
        return into<Qdisc>(decode_qdisc(payload), [&](Qdisc q) {
            if (std::find(ports.begin(), ports.end(), q.ifindex) != ports.end()) {
                qdiscs.push_back(std::move(q));
            }
        });
    });
    if (!asked && !not_there(asked.error())) {
        return asked;
    }
    std::map<Ifindex, Hooks> hooks;
    for (const Qdisc& q : qdiscs) {
        if (!q.hooks()) {
            continue;
        }
        const bool both = q.kind == "clsact";
        const auto ingress = has_filter(
            q.ifindex, both ? TC_H_MAKE(TC_H_CLSACT, TC_H_MIN_INGRESS) : TC_H_MAKE(TC_H_INGRESS, 0));
        const auto egress = both ? has_filter(q.ifindex, TC_H_MAKE(TC_H_CLSACT, TC_H_MIN_EGRESS)) : false;
        if (!ingress || !egress) {
            return tl::unexpected((ingress ? egress : ingress).error());
        }
        hooks[q.ifindex] = {*ingress, *egress};
    }
    policy.qdiscs = std::move(qdiscs);
    policy.hooks = std::move(hooks);
    return {};
}

Status PolicyReader::read_xfrm(Policy& policy) {
    if (!xfrm_) {
        return {};
    }
    std::vector<XfrmPolicy> all;
    Status asked = xfrm_->ask(XFRM_MSG_GETPOLICY, dump, {}, [&](uint16_t, Bytes payload) {
        return into<XfrmPolicy>(decode_xfrm_policy(payload), [&](XfrmPolicy p) { all.push_back(p); });
    });
    if (!asked && !not_there(asked.error())) {
        return asked;
    }
    bool blocks = false;
    asked = xfrm_->ask(XFRM_MSG_GETDEFAULT, one, bytes_of(xfrm_userpolicy_default{}),
                       [&](uint16_t, Bytes payload) -> Status {
                           const auto decoded = decode_xfrm_default(payload);
                           if (!decoded) {
                               return tl::unexpected(decoded.error());
                           }
                           blocks = *decoded;
                           return {};
                       });
    if (!asked && asked.error().code != EINVAL) {  // before Linux 5.15 there is none
        return asked;
    }
    policy.xfrm = std::move(all);
    policy.xfrm_blocks_by_default = blocks;
    return {};
}

Status PolicyReader::read_links(std::span<const Ifindex> ports, Policy& policy,
                                const std::atomic<bool>& stop) {
    std::map<Ifindex, LinkIpv6> all;
    for (const Ifindex ifindex : ports) {
        if (stop) {
            return {};
        }
        struct {
            ifinfomsg header;
            nlattr mask_head;
            uint32_t mask;
        } request{};
        request.header.ifi_index = static_cast<int>(raw(ifindex));
        request.mask_head = {.nla_len = NLA_HDRLEN + sizeof(uint32_t), .nla_type = IFLA_EXT_MASK};
        request.mask = RTEXT_FILTER_SKIP_STATS;
        Status asked =
            route_.ask(RTM_GETLINK, one, bytes_of(request), [&](uint16_t, Bytes payload) -> Status {
                const auto decoded = decode_link_ipv6(payload);
                if (!decoded) {
                    return tl::unexpected(decoded.error());
                }
                all[ifindex] = *decoded;
                return {};
            });
        if (!asked && asked.error().code != ENODEV) {
            return asked;
        }
    }
    policy.ipv6 = std::move(all);
    return {};
}

Status PolicyReader::read(std::span<const Ifindex> ports, Policy& policy, const std::atomic<bool>& stop) {
    Status first;
    const auto next = [&](const char* what, const auto& read) {
        if (stop) {
            return;
        }
        if (const Status status = read(); !status && first) {
            first = fail(fmt::format("{}: {}", what, status.error().what), status.error().code);
        }
    };
    next("IPv4 rules", [&] { return read_rules(AF_INET, policy.rules4); });
    next("IPv6 rules", [&] { return read_rules(AF_INET6, policy.rules6); });
    next("IPv4 device configuration", [&] { return read_switches(AF_INET, policy.switches4); });
    next("IPv6 device configuration", [&] { return read_switches(AF_INET6, policy.switches6); });
    next("queueing disciplines", [&] { return read_qdiscs(ports, policy); });
    next("XFRM policies", [&] { return read_xfrm(policy); });
    next("links", [&] { return read_links(ports, policy, stop); });
    return first;
}

}  // namespace millrace::sync
