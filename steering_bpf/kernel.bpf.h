/* SPDX-License-Identifier: (BSD-3-Clause OR GPL-2.0-only) */
/*
 * Questions that only the kernel's own structures answer, asked for each packet: the answer is never stale.
 * Each depends on what kernel and driver have, so the classifier is built once for each set of questions, and
 * the loader takes the richest that is not refused:
 *
 *   MILLRACE_WITH_TAKERS  bpf_cast_to_kern_ctx (Linux 6.2): the device behind the context
 *   MILLRACE_WITH_TAGS    bpf_xdp_metadata_rx_vlan_tag (Linux 6.8): only for a program that is bound to one
 *                         device, in native mode
 *
 * Only the fields that are read are declared; libbpf finds their places in the running kernel.
 */
#ifndef MILLRACE_KERNEL_BPF_H
#define MILLRACE_KERNEL_BPF_H

#include <bpf/bpf_core_read.h>
#include <linux/errno.h>
#include <stdbool.h>

#include "steering_bpf/maps.bpf.h"

#define MILLRACE_KERNEL_TYPE __attribute__((preserve_access_index))

struct nf_hook_entries;
struct bpf_mprog_entry;
struct netns_nf {
    struct nf_hook_entries* hooks_ipv4[5];
    struct nf_hook_entries* hooks_ipv6[5];
} MILLRACE_KERNEL_TYPE;
struct netns_nftables {
    unsigned int base_seq;
    __u8 gencursor;
} MILLRACE_KERNEL_TYPE;
struct net {
    struct netns_nf nf;
    struct netns_nftables nft;
} MILLRACE_KERNEL_TYPE;
struct net_device {
    const unsigned char* dev_addr;
    void* rx_handler;
    void* rx_handler_data;
    struct {
        struct net* net;
    } nd_net;
    struct nf_hook_entries* nf_hooks_ingress;
    struct bpf_mprog_entry* tcx_ingress;
} MILLRACE_KERNEL_TYPE;

#ifdef MILLRACE_WITH_TAKERS
struct xdp_rxq_info {
    struct net_device* dev;
} MILLRACE_KERNEL_TYPE;
struct xdp_buff {
    struct xdp_rxq_info* rxq;
} MILLRACE_KERNEL_TYPE;

extern void* bpf_cast_to_kern_ctx(void* obj) __ksym;

#define MACVLAN_PASSTHRU 1 /* MACVLAN_F_PASSTHRU */

/* to: a variable of the size to be read. */
#define MILLRACE_READ(to, address) (!bpf_probe_read_kernel(&(to), sizeof(to), (const void*)(address)))

/*
 * macvlan_handle_frame: does one of the macvlans take frames to the lower device's own MAC address? Asked for
 * each packet of a port that has any: a macvlan that comes or changes its mode is obeyed at once. Where the
 * fields are is in the judgement: macvlan may be a module that came after the classifier.
 */
static __always_inline bool macvlan_takes(const struct millrace_judgement* j, __u64 port, const __u8* mac) {
    const __u64 head = port + j->port_vlans;
    const __u16* own = (const void*)mac;
    __u16 other[3];
    __u32 word;
    __u64 at;
    __u64 dev;

    if (!MILLRACE_READ(word, port + j->port_flags) || (word & MACVLAN_PASSTHRU))
        return true;
    if (!MILLRACE_READ(at, head))
        return true;
    for (int i = 0; i < MILLRACE_MOST_MACVLANS; i++) {
        const __u64 vlan = at - j->vlan_list;

        if (at == head)
            return false;
        if (!MILLRACE_READ(word, vlan + j->vlan_mode) || (word != 1 && word != 2 && word != 4))
            return true; /* none of private, vepa, bridge */
        if (!MILLRACE_READ(dev, vlan + j->vlan_dev) ||
            !MILLRACE_READ(dev, dev + bpf_core_field_offset(struct net_device, dev_addr)) ||
            !MILLRACE_READ(other, dev))
            return true;
        if (!((own[0] ^ other[0]) | (own[1] ^ other[1]) | (own[2] ^ other[2])))
            return true;
        if (!MILLRACE_READ(at, at))
            return true;
    }
    return at != head;
}

/*
 * Does a device above this one take its frames before the stack routes them: a macvlan, ipvlan, bridge, bond,
 * ...? (netdev_rx_handler_register; at most one does.) Wherever that device is: its namespace doesn't matter.
 */
static __always_inline bool frames_are_taken(struct xdp_md* ctx, const __u8* mac) {
    struct xdp_buff* xdp = bpf_cast_to_kern_ctx(ctx);
    const struct net_device* dev = xdp->rxq->dev;
    const __u64 handler = (__u64)dev->rx_handler;
    const struct millrace_judgement* j;
    const __u32 zero = 0;

    if (!handler)
        return false;
    j = bpf_map_lookup_elem(&judgement, &zero);
    return !j || j->macvlan_handler != handler || macvlan_takes(j, (__u64)dev->rx_handler_data, mac);
}
#else
static __always_inline bool frames_are_taken(struct xdp_md* ctx, const __u8* mac) {
    (void)ctx;
    (void)mac;
    return false;
}
#endif

#ifdef MILLRACE_WITH_TAGS
extern int bpf_xdp_metadata_rx_vlan_tag(const struct xdp_md* ctx, __be16* vlan_proto, __u16* vlan_tci) __ksym;

/* The driver, or on a veth the sender's stack, has taken a VLAN tag off the frame. */
static __always_inline bool tag_is_off(struct xdp_md* ctx) {
    __be16 protocol;
    __u16 tag;
    const int error = bpf_xdp_metadata_rx_vlan_tag(ctx, &protocol, &tag);

    return !error || error == -EOPNOTSUPP;
}
#else
static __always_inline bool tag_is_off(struct xdp_md* ctx) {
    (void)ctx;
    return false;
}
#endif

#endif /* MILLRACE_KERNEL_BPF_H */
