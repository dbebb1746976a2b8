// SPDX-License-Identifier: BSD-3-Clause
#include "fib_sync/decode_policy.hpp"

#include <fmt/core.h>
#include <netinet/in.h>
// behind netinet/in.h, whose in6_addr it then takes
#include <linux/ipv6.h>
#include <linux/netconf.h>
#include <linux/pkt_sched.h>
#include <linux/rtnetlink.h>
#include <linux/xfrm.h>

#include "fib_sync/decode_route.hpp"

namespace millrace::sync {
namespace {

constexpr uint32_t unlimited = 0xffffffff;  // fq: no maximum rate

}  // namespace

Result<std::optional<SwitchesMessage>> decode_switches(Bytes payload) {
    constexpr std::string_view name = "RTM_NEWNETCONF";
    const auto header = read<netconfmsg>(payload);
    if (!header) {
        return bad(name, "header");
    }
    const auto family = family_of(header->ncm_family);
    if (!family) {
        return std::nullopt;
    }
    SwitchesMessage m;
    m.family = *family;
    bool named = false;
    AttributeReader reader(after(payload, sizeof(netconfmsg)));
    while (const auto a = reader.next()) {
        const auto number = read<uint32_t>(a->value);
        switch (a->type) {
            case NETCONFA_IFINDEX:
                m.ifindex = Ifindex{number.value_or(0)};
                named = number.has_value();
                break;
            case NETCONFA_FORWARDING:
                m.switches.forwarding = number.value_or(0) != 0;
                break;
            case NETCONFA_RP_FILTER:
                m.switches.rp_filter = static_cast<uint8_t>(number.value_or(0));
                break;
            case NETCONFA_MC_FORWARDING:
                m.switches.multicast = number.value_or(0) != 0;
                break;
            default:
                break;
        }
    }
    if (reader.malformed() || !named) {
        return bad(name, named ? "attribute" : "NETCONFA_IFINDEX");
    }
    return m;
}

Result<std::optional<Qdisc>> decode_qdisc(Bytes payload) {
    constexpr std::string_view name = "RTM_NEWQDISC";
    const auto header = read<tcmsg>(payload);
    if (!header) {
        return bad(name, "header");
    }
    Qdisc q;
    q.ifindex = Ifindex{static_cast<uint32_t>(header->tcm_ifindex)};
    q.handle = header->tcm_handle;
    q.parent = header->tcm_parent;
    Bytes options;
    AttributeReader reader(after(payload, sizeof(tcmsg)));
    while (const auto a = reader.next()) {
        switch (a->type) {
            case TCA_KIND:
                q.kind = text_of(a->value);
                break;
            case TCA_OPTIONS:
                options = a->value;
                break;
            case TCA_INGRESS_BLOCK:
                q.ingress_block = true;
                break;
            case TCA_EGRESS_BLOCK:
                q.egress_block = true;
                break;
            default:
                break;
        }
    }
    if (reader.malformed() || q.kind.empty()) {
        return bad(name, q.kind.empty() ? "TCA_KIND" : "attribute");
    }
    if (q.kind == "fq") {
        AttributeReader fq(options);
        while (const auto a = fq.next()) {
            if (a->type == TCA_FQ_FLOW_MAX_RATE) {
                q.paced = read<uint32_t>(a->value).value_or(unlimited) != unlimited;
            }
        }
    }
    return q;
}

Result<std::optional<XfrmPolicy>> decode_xfrm_policy(Bytes payload) {
    constexpr std::string_view name = "XFRM_MSG_NEWPOLICY";
    const auto info = read<xfrm_userpolicy_info>(payload);
    if (!info) {
        return bad(name, "header");
    }
    const auto family = family_of(info->sel.family);
    if (!family) {
        return std::nullopt;
    }
    const unsigned bits = address_bits(*family);
    if (info->sel.prefixlen_s > bits || info->sel.prefixlen_d > bits) {
        return bad(name, "prefix length");
    }
    XfrmPolicy p;
    p.family = *family;
    p.source = longer_than_0(IpAddress::from_bytes(*family, &info->sel.saddr), info->sel.prefixlen_s);
    p.destination = longer_than_0(IpAddress::from_bytes(*family, &info->sel.daddr), info->sel.prefixlen_d);
    p.direction = info->dir;
    p.block = info->action == XFRM_POLICY_BLOCK;
    AttributeReader reader(after(payload, sizeof(xfrm_userpolicy_info)));
    while (const auto a = reader.next()) {
        if (a->type == XFRMA_IF_ID) {
            p.interface_id = read<uint32_t>(a->value).value_or(0);
        }
    }
    if (reader.malformed()) {
        return bad(name, "attribute");
    }
    return p;
}

Result<bool> decode_xfrm_default(Bytes payload) {
    const auto all = read<xfrm_userpolicy_default>(payload);
    if (!all) {
        return bad("XFRM_MSG_GETDEFAULT", "header");
    }
    return all->fwd == XFRM_USERPOLICY_BLOCK || all->out == XFRM_USERPOLICY_BLOCK;
}

Result<LinkIpv6> decode_link_ipv6(Bytes payload) {
    constexpr std::string_view name = "RTM_NEWLINK";
    if (payload.size() < sizeof(ifinfomsg)) {
        return bad(name, "header");
    }
    LinkIpv6 link;
    AttributeReader reader(after(payload, sizeof(ifinfomsg)));
    while (const auto a = reader.next()) {
        if (a->type != IFLA_AF_SPEC) {
            continue;
        }
        link.present = false;
        AttributeReader families(a->value);
        while (const auto f = families.next()) {
            if (f->type != AF_INET6) {
                continue;
            }
            link.present = true;
            AttributeReader inet6(f->value);
            while (const auto i = inet6.next()) {
                // An array of __s32, by DEVCONF_*.
                if (i->type == IFLA_INET6_CONF && i->value.size() > DEVCONF_DISABLE_IPV6 * sizeof(uint32_t)) {
                    link.mtu = *read<uint32_t>(i->value.subspan(DEVCONF_MTU6 * sizeof(uint32_t)));
                    link.disabled =
                        *read<uint32_t>(i->value.subspan(DEVCONF_DISABLE_IPV6 * sizeof(uint32_t))) != 0;
                }
            }
            if (inet6.malformed()) {
                return bad(name, "IFLA_AF_SPEC");
            }
        }
        if (families.malformed()) {
            return bad(name, "IFLA_AF_SPEC");
        }
    }
    if (reader.malformed()) {
        return bad(name, "attribute");
    }
    return link;
}

}  // namespace millrace::sync
