// SPDX-License-Identifier: BSD-3-Clause
// Netlink bytes -> the values of policy.hpp. Pure, any thread. Never reads past the bytes given.
//
// payload: behind the netlink header. Error = malformed: names message and attribute. nullopt = of a family
// or kind that does not matter here.
#pragma once

#include <sys/socket.h>

#include "fib_sync/attributes.hpp"
#include "fib_sync/policy.hpp"
#include "millrace/result.hpp"

namespace millrace::sync {

// AF_INET or AF_INET6; nullopt for others.
[[nodiscard]] constexpr std::optional<Family> family_of(uint16_t family) {
    return family == AF_INET    ? std::optional(Family::ipv4)
           : family == AF_INET6 ? std::optional(Family::ipv6)
                                : std::nullopt;
}
// nullopt for 0 bits: any address. length <= address_bits.
[[nodiscard]] inline std::optional<Prefix> longer_than_0(const IpAddress& address, unsigned length) {
    return length == 0 ? std::nullopt : std::optional(Prefix::make(address, length));
}

[[nodiscard]] Result<std::optional<Rule>> decode_rule(Bytes payload);                 // RTM_NEWRULE
[[nodiscard]] Result<std::optional<SwitchesMessage>> decode_switches(Bytes payload);  // RTM_NEWNETCONF
[[nodiscard]] Result<std::optional<Qdisc>> decode_qdisc(Bytes payload);               // RTM_NEWQDISC
[[nodiscard]] Result<std::optional<XfrmPolicy>> decode_xfrm_policy(Bytes payload);    // XFRM_MSG_NEWPOLICY
// XFRM_MSG_GETDEFAULT's answer: does it block what is forwarded?
[[nodiscard]] Result<bool> decode_xfrm_default(Bytes payload);
// RTM_NEWLINK, of which only IFLA_AF_SPEC counts.
[[nodiscard]] Result<LinkIpv6> decode_link_ipv6(Bytes payload);

}  // namespace millrace::sync
