/* SPDX-License-Identifier: (BSD-3-Clause OR GPL-2.0-only) */
/*
 * Run by the daemon (BPF_PROG_TEST_RUN): what is registered where transit of its network namespace comes by,
 * as the kernel itself goes through it for each packet. No netlink tells that (nfnetlink_hook has no
 * notifications, and is not in Debian's kernels).
 */
#include <linux/bpf.h>
#include <stdbool.h>
/* after linux/bpf.h, which has the types it needs */
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>

#include "steering_bpf/hooks.h"

#define KERNEL_TYPE __attribute__((preserve_access_index))
#define ACCEPT 1 /* NF_ACCEPT */
#define IPV4 2   /* NFPROTO_* */
#define IPV6 10

struct hlist_node {
    struct hlist_node* next;
} KERNEL_TYPE;
struct hlist_head {
    struct hlist_node* first;
} KERNEL_TYPE;
struct nft_table {
    char* name;
} KERNEL_TYPE;
struct nft_rule_blob {
    unsigned long size;
    unsigned char data[0];
} KERNEL_TYPE;
struct nft_rule_dp {
    __u64 is_last : 1;
} KERNEL_TYPE;
struct nft_chain {
    struct nft_rule_blob* blob_gen_0;
    struct nft_rule_blob* blob_gen_1;
    struct nft_table* table;
    __u32 use;
    char* name;
} KERNEL_TYPE;
struct nft_base_chain {
    __u8 policy;
    struct nft_chain chain;
} KERNEL_TYPE;
struct nf_hook_entry {
    void* hook;
    void* priv;
} KERNEL_TYPE;
enum nf_hook_ops_type { NF_HOOK_OP_UNDEFINED };
struct nf_hook_ops {
    void* hook;
    void* priv;
    enum nf_hook_ops_type hook_ops_type : 8;
    int priority;
} KERNEL_TYPE;
struct nf_hook_entries {
    __u16 num_hook_entries;
    struct nf_hook_entry hooks[0];
} KERNEL_TYPE;
struct netns_nf {
    struct nf_hook_entries* hooks_ipv4[5];
    struct nf_hook_entries* hooks_ipv6[5];
} KERNEL_TYPE;
struct netns_nftables {
    unsigned int base_seq;
    __u8 gencursor;
} KERNEL_TYPE;
struct bpf_prog;
struct bpf_mprog_fp {
    struct bpf_prog* prog;
} KERNEL_TYPE;
struct bpf_mprog_bundle;
struct bpf_mprog_entry {
    struct bpf_mprog_fp fp_items[64];
    struct bpf_mprog_bundle* parent;
} KERNEL_TYPE;
struct bpf_mprog_bundle {
    struct bpf_mprog_entry a;
} KERNEL_TYPE;
struct mini_Qdisc {
    void* filter_list;
} KERNEL_TYPE;
struct tcx_entry {
    struct mini_Qdisc* miniq;
    struct bpf_mprog_bundle bundle;
} KERNEL_TYPE;
struct net_device {
    int ifindex;
    struct hlist_node index_hlist;
    struct nf_hook_entries* nf_hooks_ingress;
    struct nf_hook_entries* nf_hooks_egress;
    struct bpf_mprog_entry* tcx_ingress;
    struct bpf_mprog_entry* tcx_egress;
} KERNEL_TYPE;
struct net {
    struct hlist_head* dev_index_head;
    struct netns_nf nf;
    struct netns_nftables nft;
} KERNEL_TYPE;
struct nsproxy {
    struct net* net_ns;
} KERNEL_TYPE;
struct task_struct {
    struct nsproxy* nsproxy;
} KERNEL_TYPE;

#include "steering_bpf/find_device.bpf.h"

struct {
    __uint(type, BPF_MAP_TYPE_ARRAY);
    __type(key, __u32);
    __type(value, struct millrace_hooks);
    __uint(max_entries, 1);
} summary SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_ARRAY);
    __type(key, __u32);
    __type(value, struct millrace_hook);
    __uint(max_entries, MILLRACE_MOST_HOOKS);
} hooks SEC(".maps");

/* Is no rule in force, now? What a transaction under way has prepared doesn't count. */
static __always_inline bool has_no_rules(const struct net* net, const struct nft_chain* chain) {
    const struct nft_rule_blob* blob;
    __u64 first = 0;

    blob = BPF_CORE_READ(net, nft.gencursor) ? BPF_CORE_READ(chain, blob_gen_1)
                                             : BPF_CORE_READ(chain, blob_gen_0);
    if (!blob || !bpf_core_field_exists(struct nft_rule_dp, is_last))
        return false;
    blob = (const void*)blob + bpf_core_field_offset(struct nft_rule_blob, data);
    if (bpf_probe_read_kernel(&first, sizeof(first), blob))
        return false;
    return BPF_CORE_READ_BITFIELD_PROBED((const struct nft_rule_dp*)blob, is_last);
}

static __noinline int list(const struct net* net, struct nf_hook_entries* entries, __u32 where, __u32 ifindex,
                           struct millrace_hooks* out) {
    __u32 n;
    __u32 number;
    struct nf_hook_ops** all;

    if (!net || !out || !entries)
        return 0;
    n = out->count;
    number = BPF_CORE_READ(entries, num_hook_entries);
    all = (void*)entries + bpf_core_field_offset(struct nf_hook_entries, hooks) +
          number * bpf_core_type_size(struct nf_hook_entry);
    for (__u32 i = 0; i < MILLRACE_MOST_AT_HOOK; i++) {
        struct millrace_hook* hook;
        struct nf_hook_ops* ops = NULL;
        __u64 function;

        if (i >= number)
            return 0;
        hook = bpf_map_lookup_elem(&hooks, &n);
        if (!hook || bpf_probe_read_kernel(&ops, sizeof(ops), all + i) || !ops)
            break;
        __builtin_memset(hook, 0, sizeof(*hook));
        function = (__u64)BPF_CORE_READ(ops, hook);
        hook->function = function;
        hook->argument = (__u64)BPF_CORE_READ(ops, priv);
        hook->family = where >> 8;
        hook->hook = where & 255;
        hook->ifindex = ifindex;
        hook->priority = BPF_CORE_READ(ops, priority);
        if (bpf_core_field_exists(ops->hook_ops_type))
            hook->type = BPF_CORE_READ_BITFIELD_PROBED(ops, hook_ops_type);
        if (hook->type == MILLRACE_OPS_NFT && bpf_core_type_exists(struct nft_base_chain)) {
            const struct nft_chain* chain = BPF_CORE_READ(ops, priv);
            const struct nft_base_chain* base =
                (const void*)chain - bpf_core_field_offset(struct nft_base_chain, chain);

            hook->rules = BPF_CORE_READ(chain, use);
            hook->drops = BPF_CORE_READ(base, policy) != ACCEPT;
            hook->empty = !hook->drops && has_no_rules(net, chain);
            bpf_probe_read_kernel_str(hook->chain, sizeof(hook->chain), BPF_CORE_READ(chain, name));
            bpf_probe_read_kernel_str(hook->table, sizeof(hook->table), BPF_CORE_READ(chain, table, name));
        }
        BPF_SNPRINTF(hook->name, sizeof(hook->name), "%ps", (void*)function);
        out->count = ++n;
    }
    out->incomplete = 1;
    return 0;
}

static __always_inline void list_tc(struct bpf_mprog_entry* entry, __u32 hook, __u32 ifindex,
                                    struct millrace_hooks* out) {
    const __u32 n = out->count;
    struct millrace_hook* found;
    struct bpf_mprog_bundle* bundle;
    struct tcx_entry* tcx;
    __u8 type;

    if (!entry)
        return;
    bundle = BPF_CORE_READ(entry, parent);
    tcx = (void*)bundle - bpf_core_field_offset(struct tcx_entry, bundle);
    if (BPF_CORE_READ(entry, fp_items[0].prog))
        type = MILLRACE_OPS_TCX;
    else if (BPF_CORE_READ(tcx, miniq, filter_list))
        type = MILLRACE_OPS_TC;
    else
        return;
    found = bpf_map_lookup_elem(&hooks, &n);
    if (!found) {
        out->incomplete = 1;
        return;
    }
    __builtin_memset(found, 0, sizeof(*found));
    found->family = MILLRACE_HOOK_TC;
    found->hook = hook;
    found->ifindex = ifindex;
    found->type = type;
    out->count = n + 1;
}

/* ifindex: the hooks of that device; 0 = those of IPv4 and IPv6. */
SEC("raw_tp")
int read_hooks(__u64* ifindex) {
    const struct task_struct* task = (const void*)bpf_get_current_task();
    const struct net* net = BPF_CORE_READ(task, nsproxy, net_ns);
    const __u32 zero = 0;
    struct millrace_hooks* out = bpf_map_lookup_elem(&summary, &zero);
    const __u32 index = (__u32)ifindex[0];
    struct net_device* dev;

    if (!out)
        return 0;
    __builtin_memset(out, 0, sizeof(*out));
    if (bpf_core_field_exists(net->nft.base_seq))
        out->generation = BPF_CORE_READ(net, nft.base_seq);
    out->net = (__u64)net;
    out->cursor = BPF_CORE_READ(net, nft.gencursor);
    if (!index) {
        for (int h = 0; h < 5; h++)
            list(net, BPF_CORE_READ(net, nf.hooks_ipv4[h]), IPV4 << 8 | h, 0, out);
        for (int h = 0; h < 5; h++)
            list(net, BPF_CORE_READ(net, nf.hooks_ipv6[h]), IPV6 << 8 | h, 0, out);
    } else {
        dev = find_device(net, index);
        out->dev = (__u64)dev;
        if (!dev)
            out->no_device = 1;
        if (dev && bpf_core_field_exists(dev->nf_hooks_ingress))
            list(net, BPF_CORE_READ(dev, nf_hooks_ingress), MILLRACE_HOOK_NETDEV << 8, index, out);
        if (dev && bpf_core_field_exists(dev->nf_hooks_egress))
            list(net, BPF_CORE_READ(dev, nf_hooks_egress), MILLRACE_HOOK_NETDEV << 8 | 1, index, out);
        if (dev && bpf_core_field_exists(dev->tcx_ingress))
            list_tc(BPF_CORE_READ(dev, tcx_ingress), 0, index, out);
        if (dev && bpf_core_field_exists(dev->tcx_egress))
            list_tc(BPF_CORE_READ(dev, tcx_egress), 1, index, out);
    }
    return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
