/* SPDX-License-Identifier: (BSD-3-Clause OR GPL-2.0-only) */
/*
 * Would a hook of the kernel see the packet in transit: netfilter's at PRE_ROUTING, FORWARD and POST_ROUTING,
 * the port's own at ingress, a tc program there? The lists are the kernel's, read for each packet, so that
 * what appears in them is obeyed by the next one; the daemon only says what is harmless, and that for one
 * generation of the ruleset. So whatever changes there is the kernel's until the daemon has looked: also a
 * chain at the egress of a device that nobody knows here.
 */
#ifndef MILLRACE_FIREWALL_BPF_H
#define MILLRACE_FIREWALL_BPF_H

#include "steering_bpf/kernel.bpf.h"

#define MILLRACE_MOST_ENTRIES 8 /* of a hook; where there are more, it is not gone past */

struct nf_hook_entries {
    __u16 num_hook_entries;
    struct {
        void* hook;
        void* priv;
    } hooks[0];
} MILLRACE_KERNEL_TYPE;
struct bpf_mprog_fp {
    void* prog;
} MILLRACE_KERNEL_TYPE;
struct bpf_mprog_bundle;
struct bpf_mprog_entry {
    struct bpf_mprog_fp fp_items[64];
    struct bpf_mprog_bundle* parent;
} MILLRACE_KERNEL_TYPE;
struct mini_Qdisc {
    void* filter_list;
} MILLRACE_KERNEL_TYPE;
struct bpf_mprog_bundle {
    struct bpf_mprog_entry a;
} MILLRACE_KERNEL_TYPE;
struct tcx_entry {
    struct mini_Qdisc* miniq;
    struct bpf_mprog_bundle bundle;
} MILLRACE_KERNEL_TYPE;

struct millrace_hook_list {
    __u64 number; /* in the lowest 16 bits */
    struct {
        __u64 function;
        __u64 argument;
    } entry[MILLRACE_MOST_ENTRIES];
};

/* list: address of a struct nf_hook_entries. */
static __noinline int may_pass_list(__u64 list, const struct millrace_firewall* f, __u32 nft) {
    struct millrace_hook_list read;
    __u16 number;

    if (!f || bpf_core_field_offset(struct nf_hook_entries, hooks) != sizeof(read.number) ||
        bpf_probe_read_kernel(&read, sizeof(read), (const void*)list))
        return 0;
    number = (__u16)read.number;
    if (number > MILLRACE_MOST_ENTRIES)
        return 0;
    for (int i = 0; i < MILLRACE_MOST_ENTRIES; i++) {
        const __u64 function = read.entry[i].function;
        int known = 0;

        if (i >= number)
            break;
        for (int k = 0; k < MILLRACE_MOST_HARMLESS && !known; k++)
            known = f->harmless[k] == function;
        for (int k = 0; nft && k < MILLRACE_MOST_NFT && !known; k++)
            known = f->nft[k] == read.entry[i].argument;
        if (!known)
            return 0;
    }
    return 1;
}

/* An empty clsact is no program. */
static __always_inline bool may_pass_tc(const struct bpf_mprog_entry* entry) {
    const struct tcx_entry* tcx;

    if (BPF_CORE_READ(entry, fp_items[0].prog))
        return false;
    tcx = (const void*)BPF_CORE_READ(entry, parent) - bpf_core_field_offset(struct tcx_entry, bundle);
    return !BPF_CORE_READ(tcx, miniq, filter_list);
}

#ifdef MILLRACE_WITH_TAKERS
#define MILLRACE_GET(pointer, field) ((pointer)->field)
#else
#define MILLRACE_GET(pointer, field) BPF_CORE_READ(pointer, field)
#endif

static __always_inline bool firewall_sees(struct xdp_md* ctx, bool is_ipv4) {
    const __u32 zero = 0;
    const struct millrace_firewall* f = bpf_map_lookup_elem(&firewall, &zero);
    const struct net_device* dev;
    const struct net* net;
    const struct bpf_mprog_entry* tc;
    __u64 prerouting, forward, postrouting, ingress;
    __u32 generation, flags;

    if (!f)
        return true;
    flags = f->flags;
    if (flags & (is_ipv4 ? MILLRACE_MAY_BYPASS4 : MILLRACE_MAY_BYPASS6))
        return false;
    if (!(flags & MILLRACE_MAY_READ))
        return true;
#ifdef MILLRACE_WITH_TAKERS
    {
        struct xdp_buff* xdp = bpf_cast_to_kern_ctx(ctx);

        dev = xdp->rxq->dev;
        net = dev->nd_net.net;
    }
#else
    (void)ctx;
    dev = (const void*)f->dev;
    net = (const void*)f->net;
#endif
    /* Before the lists: what is added to them has raised it, or is not in force yet. */
    if (bpf_core_field_exists(net->nft.base_seq))
        generation = MILLRACE_GET(net, nft.base_seq);
    else if (bpf_core_field_exists(net->nft.gencursor))
        generation = MILLRACE_GET(net, nft.gencursor);
    else
        generation = 0;
    if (generation != f->generation)
        return true;
    if (is_ipv4) {
        prerouting = (__u64)MILLRACE_GET(net, nf.hooks_ipv4[0]);
        forward = (__u64)MILLRACE_GET(net, nf.hooks_ipv4[2]);
        postrouting = (__u64)MILLRACE_GET(net, nf.hooks_ipv4[4]);
    } else {
        prerouting = (__u64)MILLRACE_GET(net, nf.hooks_ipv6[0]);
        forward = (__u64)MILLRACE_GET(net, nf.hooks_ipv6[2]);
        postrouting = (__u64)MILLRACE_GET(net, nf.hooks_ipv6[4]);
    }
    ingress = bpf_core_field_exists(dev->nf_hooks_ingress) ? (__u64)MILLRACE_GET(dev, nf_hooks_ingress) : 0;
    tc = bpf_core_field_exists(dev->tcx_ingress) ? MILLRACE_GET(dev, tcx_ingress) : NULL;
    if (ingress && !may_pass_list(ingress, f, flags & MILLRACE_MAY_PASS_NETDEV))
        return true;
    if (tc && !may_pass_tc(tc))
        return true;
    flags &= is_ipv4 ? MILLRACE_MAY_PASS_NFT4 : MILLRACE_MAY_PASS_NFT6;
    return (prerouting && !may_pass_list(prerouting, f, flags)) ||
           (forward && !may_pass_list(forward, f, flags)) ||
           (postrouting && !may_pass_list(postrouting, f, flags));
}

#endif /* MILLRACE_FIREWALL_BPF_H */
