// SPDX-License-Identifier: BSD-3-Clause
// What else than routes decides in the kernel about a packet in transit, as values: policy rules, switches of
// devices, queueing disciplines and filters, XFRM policies. Nothing here is mirrored; it is looked at to know
// what must be left to the kernel (keeps.hpp). Any thread.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "millrace/types.hpp"

namespace millrace::sync {

// A policy rule (ip-rule(8)), as far as it says which packets it is for.
struct Rule {
    Family family = Family::ipv4;
    uint32_t preference = 0;
    uint8_t action = 0;  // FR_ACT_* of linux/fib_rules.h
    TableId table{};     // with FR_ACT_TO_TBL
    bool invert = false;
    bool l3mdev = false;                // only packets that belong to a VRF
    bool suppress = false;              // takes back what it finds, under some condition
    std::optional<Prefix> from;         // longer than 0 bits
    std::optional<Prefix> to;           // the same
    std::string iif;                    // empty = any
    std::string oif;                    // empty = any
    std::optional<uint32_t> first_uid;  // of a range
    bool other = false;  // more conditions: mark, TOS, protocol, L4 ports, what a newer kernel has
    std::string text;    // as ip-rule prints it, the preference apart

    bool operator==(const Rule&) const = default;
};

// Of a device in one family, or of "all". IPv6 has no reverse path filter.
struct Switches {
    bool forwarding = true;
    bool multicast = false;  // a multicast router runs on it
    uint8_t rp_filter = 0;   // 0 off, 1 strict, 2 loose

    bool operator==(const Switches&) const = default;
};
inline constexpr Ifindex all_devices{0xffffffff};  // NETCONFA_IFINDEX_ALL
using SwitchTable = std::map<Ifindex, Switches>;
struct SwitchesMessage {
    Family family = Family::ipv4;
    Ifindex ifindex{};
    Switches switches;

    bool operator==(const SwitchesMessage&) const = default;
};

struct Qdisc {
    Ifindex ifindex{};
    std::string kind;
    uint32_t handle = 0;
    uint32_t parent = 0;
    bool paced = false;          // fq with a maximum rate
    bool ingress_block = false;  // filters shared with other devices
    bool egress_block = false;

    bool operator==(const Qdisc&) const = default;
    // The hooks before and behind the stack, not a queue.
    [[nodiscard]] bool hooks() const { return kind == "clsact" || kind == "ingress"; }
};

// A filter hangs at one of the two hooks of a device.
struct Hooks {
    bool ingress = false;
    bool egress = false;

    bool operator==(const Hooks&) const = default;
};

struct XfrmPolicy {
    Family family = Family::ipv4;
    std::optional<Prefix> source;       // longer than 0 bits
    std::optional<Prefix> destination;  // the same
    uint8_t direction = 0;              // XFRM_POLICY_* of linux/xfrm.h
    bool block = false;
    uint32_t interface_id = 0;  // only over XFRM interfaces of this number; 0 = none

    bool operator==(const XfrmPolicy&) const = default;
};

// What has no notification: read from the link itself, time and again.
struct LinkIpv6 {
    bool present = true;    // the kernel takes IPv6 from it at all
    bool disabled = false;  // net.ipv6.conf.NAME.disable_ipv6
    uint32_t mtu = 0;       // net.ipv6.conf.NAME.mtu; bytes, 0 = not known

    bool operator==(const LinkIpv6&) const = default;
};

// All of it. Rules and switches: nullopt where the kernel has no such thing.
struct Policy {
    std::optional<std::vector<Rule>> rules4;  // in the kernel's order
    std::optional<std::vector<Rule>> rules6;
    std::optional<SwitchTable> switches4;
    std::optional<SwitchTable> switches6;
    std::vector<Qdisc> qdiscs;
    std::map<Ifindex, Hooks> hooks;
    std::vector<XfrmPolicy> xfrm;
    bool xfrm_blocks_by_default = false;  // in the forward or output direction
    std::map<Ifindex, LinkIpv6> ipv6;

    bool operator==(const Policy&) const = default;
};

}  // namespace millrace::sync
