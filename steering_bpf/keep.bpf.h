/* SPDX-License-Identifier: (BSD-3-Clause OR GPL-2.0-only) */
/*
 * What stays in the kernel by its ports and protocols. Where the operator's policy cannot be decided (a
 * protocol behind an extension header, the ports of a fragment), the packet counts as kept: unknown goes to
 * the kernel.
 */
#ifndef MILLRACE_KEEP_BPF_H
#define MILLRACE_KEEP_BPF_H

#include <bpf/bpf_endian.h>
#include <linux/in.h>
#include <stdbool.h>

#include "steering_bpf/maps.bpf.h"

/* RFC 2131 4.1, RFC 8415 7.2. */
#define DHCP_CLIENT_PORT 68
#define DHCPV6_CLIENT_PORT 546

/*
 * A client listens on a socket that sees all of the port's frames, while the address that it is offered is
 * nobody's yet, and may be in some route. udp: where the header begins, if the packet has that much.
 */
static __always_inline bool to_udp_port(const void* udp, const void* end, __u16 port) {
    const __be16* ports = udp; /* source, destination */

    return (const void*)(ports + 2) <= end && ports[1] == bpf_htons(port);
}

static __always_inline bool keep_protocol(const struct millrace_steer_config* config, __u8 protocol) {
    return (config->keep_protocol[(protocol >> 6) & 3] >> (protocol & 63)) & 1;
}

/* port: host order. */
static __always_inline bool keep_port(bool is_udp, __u16 port) {
    const __u32 index = MILLRACE_KEEP_L4_INDEX(is_udp, port);
    const __u64* word = bpf_map_lookup_elem(&keep_l4port, &index);

    return word && (*word & MILLRACE_KEEP_L4_BIT(port));
}

/*
 * l4: where the header of that protocol begins. Only for a packet that is no fragment and has no extension
 * header.
 */
static __always_inline enum millrace_steer_reason keep_l4(__u8 protocol, const void* l4, const void* end) {
    const __be16* ports = l4; /* source, destination: the same place in TCP and UDP */

    if (protocol != IPPROTO_TCP && protocol != IPPROTO_UDP)
        return MILLRACE_STEER_REDIRECT;
    if ((const void*)(ports + 2) > end)
        return MILLRACE_STEER_TRUNCATED;
    if (keep_port(protocol == IPPROTO_UDP, bpf_ntohs(ports[0])) ||
        keep_port(protocol == IPPROTO_UDP, bpf_ntohs(ports[1])))
        return MILLRACE_STEER_KEEP_L4PORT;
    return MILLRACE_STEER_REDIRECT;
}

#endif /* MILLRACE_KEEP_BPF_H */
