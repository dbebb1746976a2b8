/* SPDX-License-Identifier: (BSD-3-Clause OR GPL-2.0-only) */
/* What the reader of the kernel's hooks (hooks.bpf.c) tells its loader (hooks.cpp). */
#ifndef MILLRACE_HOOKS_H
#define MILLRACE_HOOKS_H

#include <linux/types.h>

#define MILLRACE_MOST_HOOKS 256
#define MILLRACE_MOST_AT_HOOK 32

/* Where: families beside NFPROTO_IPV4 and NFPROTO_IPV6, with the hook number 0 ingress, 1 egress. */
#define MILLRACE_HOOK_NETDEV 5 /* NFPROTO_NETDEV */
#define MILLRACE_HOOK_TC 255   /* classifiers of a clsact or ingress qdisc, tcx programs */

#define MILLRACE_OPS_NFT 1 /* enum nf_hook_ops_type */
#define MILLRACE_OPS_BPF 2
#define MILLRACE_OPS_TCX 254 /* ours, as the next */
#define MILLRACE_OPS_TC 255

struct millrace_hook {
    __u64 function; /* address; 0 for tc */
    __u64 argument; /* that it is called with: of nft the chain */
    __s32 priority;
    __u32 ifindex; /* netdev and tc */
    __u32 rules;   /* nft: as counted, which is ahead of a transaction */
    __u8 family;
    __u8 hook;
    __u8 type;  /* MILLRACE_OPS_*; 0 = something else, or the kernel doesn't say */
    __u8 empty; /* nft: policy accept, and no rule is in force */
    __u8 drops; /* nft: policy drop */
    __u8 reserved[7];
    char name[64];  /* of the function, as in /proc/kallsyms */
    char table[32]; /* nft; cut where longer */
    char chain[32];
};

struct millrace_hooks {
    __u64 net;        /* address of the struct net that was looked at */
    __u64 dev;        /* and of the device */
    __u32 generation; /* of the nft ruleset, before anything was read; 0 where this kernel doesn't tell */
    __u32 cursor;     /* its last bit */
    __u32 count;
    __u8 incomplete; /* more hooks than fit, or something could not be read */
    __u8 no_device;
    __u8 reserved[2];
};

#endif /* MILLRACE_HOOKS_H */
