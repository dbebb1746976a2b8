/* SPDX-License-Identifier: (BSD-3-Clause OR GPL-2.0-only) */
/*
 * IPv4: is this plain transit? Length fields and the header checksum are the forwarder's to check (RFC 1812
 * 5.2.2); here are only the questions that the kernel must answer.
 */
#ifndef MILLRACE_IPV4_BPF_H
#define MILLRACE_IPV4_BPF_H

#include <linux/ip.h>

#include "steering_bpf/keep.bpf.h"

#define IPV4_MF_OR_OFFSET 0x3fff /* RFC 791 3.1: more fragments, fragment offset */
#define IPV4_OFFSET 0x1fff

/*
 * RFC 1812 5.3.7 and 4.2.2.11: 0/8, 127/8, 240/4 with limited broadcast, multicast; RFC 3927 7: 169.254/16.
 * The kernel knows which of them to take, answer or discard.
 */
static __always_inline bool martian4(__be32 network_order) {
    const __u32 address = bpf_ntohl(network_order);

    return address >> 24 == 0 || address >> 24 == 127 || address >> 16 == 0xa9fe || address >> 28 >= 14;
}

static __always_inline bool keep_prefix4(__be32 address) {
    struct millrace_lpm4 key = {.prefixlen = 32};

    __builtin_memcpy(key.addr, &address, sizeof(key.addr));
    return bpf_map_lookup_elem(&keep4, &key) != NULL;
}

/* The later fragments of a datagram don't say what port it is for. */
static __always_inline bool to_dhcp_client4(const struct iphdr* ip, const void* end) {
    return ip->protocol == IPPROTO_UDP && !(ip->frag_off & bpf_htons(IPV4_OFFSET)) &&
           to_udp_port(ip + 1, end, DHCP_CLIENT_PORT);
}

static __always_inline enum millrace_steer_reason keep_ipv4(const struct millrace_steer_config* config,
                                                            const struct iphdr* ip, const void* end) {
    if (config->flags & MILLRACE_FLAG_KEEP_ALL4)
        return MILLRACE_STEER_KEEP_FAMILY;
    if ((config->flags & MILLRACE_FLAG_KEEP4) && (keep_prefix4(ip->saddr) || keep_prefix4(ip->daddr)))
        return MILLRACE_STEER_KEEP_PREFIX;
    if ((config->flags & MILLRACE_FLAG_KEEP_PROTOCOL) && keep_protocol(config, ip->protocol))
        return MILLRACE_STEER_KEEP_PROTOCOL;
    if (!(config->flags & MILLRACE_FLAG_KEEP_L4))
        return MILLRACE_STEER_REDIRECT;
    if (ip->frag_off & bpf_htons(IPV4_MF_OR_OFFSET))
        return ip->protocol == IPPROTO_TCP || ip->protocol == IPPROTO_UDP ? MILLRACE_STEER_KEEP_L4PORT
                                                                          : MILLRACE_STEER_REDIRECT;
    return keep_l4(ip->protocol, ip + 1, end);
}

static __always_inline enum millrace_steer_reason classify_ipv4(const struct millrace_steer_config* config,
                                                                const struct iphdr* ip, const void* end) {
    const __u32 zero = 0;
    void* own;

    if ((const void*)(ip + 1) > end)
        return MILLRACE_STEER_TRUNCATED;
    if (ip->version != 4 || ip->ihl < 5)
        return MILLRACE_STEER_IP_HEADER;
    if (ip->ihl > 5)
        return MILLRACE_STEER_IP_OPTIONS;
    if (martian4(ip->saddr) || martian4(ip->daddr))
        return MILLRACE_STEER_MARTIAN;
    own = bpf_map_lookup_elem(&local4, &zero);
    if (!own)
        return MILLRACE_STEER_DISABLED;
    /* Before the TTL: to the router itself any TTL is good (RFC 1812 4.2.2.9), and BGP counts as local. */
    if (bpf_map_lookup_elem(own, &ip->daddr))
        return MILLRACE_STEER_LOCAL;
    /* The kernel discards its own address as a source (fib_validate_source), unless accept_local is set. */
    if (bpf_map_lookup_elem(own, &ip->saddr))
        return MILLRACE_STEER_MARTIAN;
    if (ip->ttl <= 1)
        return MILLRACE_STEER_TTL;
    if (to_dhcp_client4(ip, end))
        return MILLRACE_STEER_DHCP;
    return keep_ipv4(config, ip, end);
}

#endif /* MILLRACE_IPV4_BPF_H */
