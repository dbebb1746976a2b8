/* SPDX-License-Identifier: (BSD-3-Clause OR GPL-2.0-only) */
/* IPv6: is this plain transit? The payload length is the forwarder's to check (RFC 8200 3). */
#ifndef MILLRACE_IPV6_BPF_H
#define MILLRACE_IPV6_BPF_H

#include <linux/in6.h>
#include <linux/ipv6.h>

#include "steering_bpf/keep.bpf.h"

/* Numbers that linux/in6.h does not have: RFC 7401 4.1, RFC 5533 5.1. */
#define IPPROTO_HIP 139
#define IPPROTO_SHIM6 140

/*
 * Link-local, multicast (RFC 4291 2.5.6, 2.7) and all of ::/80: unspecified, loopback, IPv4-compatible and
 * IPv4-mapped. Some kernels forward part of these (6.18: mapped sources, and to ::): theirs to decide.
 */
static __always_inline bool martian6(const struct in6_addr* a) {
    return a->s6_addr[0] == 0xff || (a->s6_addr[0] == 0xfe && (a->s6_addr[1] & 0xc0) == 0x80) ||
           (!a->s6_addr32[0] && !a->s6_addr32[1] && !a->s6_addr16[4]);
}

/* MLD and router and neighbour discovery (RFC 2710, 4861), MLDv2 (3810), multicast routers (4286). */
static __always_inline bool neighbour_discovery(__u8 type) {
    return (type >= 130 && type <= 137) || type == 143 || (type >= 151 && type <= 153);
}

/* RFC 7045 2: headers that another one follows. Hop-by-hop options never come here, ESP hides the rest. */
static __always_inline bool extension_header(__u8 next) {
    switch (next) {
        case IPPROTO_ROUTING:
        case IPPROTO_FRAGMENT:
        case IPPROTO_AH:
        case IPPROTO_DSTOPTS:
        case IPPROTO_MH:
        case IPPROTO_HIP:
        case IPPROTO_SHIM6:
            return true;
        default:
            return false;
    }
}

struct fragment_header {
    __u8 nexthdr;
    __u8 reserved;
    __be16 offset; /* RFC 8200 4.5: in the upper 13 bits, then flags */
    __be32 identification;
};

/* The later fragments of a datagram don't say what port it is for. No client gets other extension headers. */
static __always_inline bool to_dhcp_client6(const struct ipv6hdr* ip, const void* end) {
    const struct fragment_header* fragment = (const void*)(ip + 1);

    if (ip->nexthdr == IPPROTO_UDP)
        return to_udp_port(ip + 1, end, DHCPV6_CLIENT_PORT);
    return ip->nexthdr == IPPROTO_FRAGMENT && (const void*)(fragment + 1) <= end &&
           fragment->nexthdr == IPPROTO_UDP && !(fragment->offset & bpf_htons(0xfff8)) &&
           to_udp_port(fragment + 1, end, DHCPV6_CLIENT_PORT);
}

static __always_inline bool keep_prefix6(const struct in6_addr* address) {
    struct millrace_lpm6 key = {.prefixlen = 128};

    __builtin_memcpy(key.addr, address, sizeof(key.addr));
    return bpf_map_lookup_elem(&keep6, &key) != NULL;
}

static __always_inline enum millrace_steer_reason keep_ipv6(const struct millrace_steer_config* config,
                                                            const struct ipv6hdr* ip, const void* end) {
    if (config->flags & MILLRACE_FLAG_KEEP_ALL6)
        return MILLRACE_STEER_KEEP_FAMILY;
    if ((config->flags & MILLRACE_FLAG_KEEP6) && (keep_prefix6(&ip->saddr) || keep_prefix6(&ip->daddr)))
        return MILLRACE_STEER_KEEP_PREFIX;
    if ((config->flags & MILLRACE_FLAG_KEEP_PROTOCOL) &&
        (extension_header(ip->nexthdr) || keep_protocol(config, ip->nexthdr)))
        return MILLRACE_STEER_KEEP_PROTOCOL;
    if (!(config->flags & MILLRACE_FLAG_KEEP_L4))
        return MILLRACE_STEER_REDIRECT;
    if (extension_header(ip->nexthdr))
        return MILLRACE_STEER_KEEP_L4PORT;
    return keep_l4(ip->nexthdr, ip + 1, end);
}

static __always_inline enum millrace_steer_reason classify_ipv6(const struct millrace_steer_config* config,
                                                                const struct ipv6hdr* ip, const void* end) {
    const __u8* icmp6_type = (const void*)(ip + 1);
    const __u32 zero = 0;
    void* own;

    if ((const void*)(ip + 1) > end)
        return MILLRACE_STEER_TRUNCATED;
    if (ip->version != 6)
        return MILLRACE_STEER_IP_HEADER;
    if (ip->nexthdr == IPPROTO_ICMPV6) {
        if ((const void*)(icmp6_type + 1) > end)
            return MILLRACE_STEER_TRUNCATED;
        if (neighbour_discovery(*icmp6_type))
            return MILLRACE_STEER_ND;
    }
    if (ip->nexthdr == IPPROTO_HOPOPTS)
        return MILLRACE_STEER_IP_OPTIONS;
    if (martian6(&ip->saddr) || martian6(&ip->daddr))
        return MILLRACE_STEER_MARTIAN;
    own = bpf_map_lookup_elem(&local6, &zero);
    if (!own)
        return MILLRACE_STEER_DISABLED;
    /* Before the hop limit, as in IPv4. */
    if (bpf_map_lookup_elem(own, &ip->daddr))
        return MILLRACE_STEER_LOCAL;
    if (ip->hop_limit <= 1)
        return MILLRACE_STEER_TTL;
    if (to_dhcp_client6(ip, end))
        return MILLRACE_STEER_DHCP;
    return keep_ipv6(config, ip, end);
}

#endif /* MILLRACE_IPV6_BPF_H */
