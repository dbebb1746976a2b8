/* SPDX-License-Identifier: (BSD-3-Clause OR GPL-2.0-only) */
/*
 * Run by the daemon (BPF_PROG_TEST_RUN), for one device of its network namespace: which device above it takes
 * its frames, wherever that one is. Netlink tells that only of devices of the same namespace.
 */
#include <linux/bpf.h>
#include <stdbool.h>
/* after linux/bpf.h, which has the types it needs */
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>

#include "steering_bpf/judge.h"

#define KERNEL_TYPE __attribute__((preserve_access_index))
#define PASSTHRU 1 /* MACVLAN_F_PASSTHRU */

struct hlist_node {
    struct hlist_node* next;
} KERNEL_TYPE;
struct hlist_head {
    struct hlist_node* first;
} KERNEL_TYPE;
struct list_head {
    struct list_head* next;
} KERNEL_TYPE;
struct net_device {
    int ifindex;
    struct hlist_node index_hlist;
    const unsigned char* dev_addr;
    void* rx_handler;
    void* rx_handler_data;
} KERNEL_TYPE;
struct net {
    struct hlist_head* dev_index_head;
} KERNEL_TYPE;
struct nsproxy {
    struct net* net_ns;
} KERNEL_TYPE;
struct task_struct {
    struct nsproxy* nsproxy;
} KERNEL_TYPE;
struct macvlan_port {
    struct list_head vlans;
    __u32 flags;
} KERNEL_TYPE;
/* linux/if_link.h has them, and types that would be the kernel's. */
enum macvlan_mode { MODE_PRIVATE = 1, MODE_VEPA = 2, MODE_BRIDGE = 4, MODE_PASSTHRU = 8 };
struct macvlan_dev {
    struct net_device* dev;
    struct list_head list;
    enum macvlan_mode mode;
} KERNEL_TYPE;

#include "steering_bpf/find_device.bpf.h"

struct {
    __uint(type, BPF_MAP_TYPE_ARRAY);
    __type(key, __u32);
    __type(value, struct millrace_judged);
    __uint(max_entries, 1);
} judged SEC(".maps");

static __always_inline bool same_mac(const unsigned char* a, const unsigned char* b) {
    unsigned char x[6] = {};
    unsigned char y[6] = {};

    if (bpf_probe_read_kernel(x, sizeof(x), a) || bpf_probe_read_kernel(y, sizeof(y), b))
        return true; /* unknown */
    return !((x[0] ^ y[0]) | (x[1] ^ y[1]) | (x[2] ^ y[2]) | (x[3] ^ y[3]) | (x[4] ^ y[4]) | (x[5] ^ y[5]));
}

/* macvlan_handle_frame: which frames to the lower device's own MAC address does one of its devices take? */
static __always_inline enum millrace_macvlan judge_macvlan(struct net_device* dev,
                                                           struct macvlan_port* port) {
    const unsigned char* own = BPF_CORE_READ(dev, dev_addr);
    struct list_head* head;
    struct list_head* at;

    if (!bpf_core_type_exists(struct macvlan_port) || !bpf_core_type_exists(struct macvlan_dev))
        return MILLRACE_MACVLAN_UNKNOWN;
    if (BPF_CORE_READ(port, flags) & PASSTHRU)
        return MILLRACE_MACVLAN_PASSTHRU;
    head = (void*)port + bpf_core_field_offset(struct macvlan_port, vlans);
    at = BPF_CORE_READ(head, next);
    for (int i = 0; i <= MILLRACE_MOST_MACVLANS; i++) {
        struct macvlan_dev* vlan = (void*)at - bpf_core_field_offset(struct macvlan_dev, list);
        enum macvlan_mode mode;

        if (!at)
            return MILLRACE_MACVLAN_UNKNOWN;
        if (at == head)
            return i ? MILLRACE_MACVLAN_HARMLESS : MILLRACE_MACVLAN_UNKNOWN;
        if (i == MILLRACE_MOST_MACVLANS)
            return MILLRACE_MACVLAN_MANY;
        mode = BPF_CORE_READ(vlan, mode);
        if (mode == MODE_PASSTHRU)
            return MILLRACE_MACVLAN_PASSTHRU;
        if (mode != MODE_PRIVATE && mode != MODE_VEPA && mode != MODE_BRIDGE)
            return MILLRACE_MACVLAN_SOURCE;
        if (same_mac(own, BPF_CORE_READ(vlan, dev, dev_addr)))
            return MILLRACE_MACVLAN_SAME_MAC;
        at = BPF_CORE_READ(at, next);
    }
    return MILLRACE_MACVLAN_UNKNOWN;
}

SEC("raw_tp")
int judge(__u64* ifindex) {
    const __u32 zero = 0;
    struct millrace_judged* out = bpf_map_lookup_elem(&judged, &zero);
    const struct task_struct* task = (const void*)bpf_get_current_task();
    struct net_device* dev = find_device(BPF_CORE_READ(task, nsproxy, net_ns), (__u32)ifindex[0]);
    __u64 handler;

    if (!out)
        return 0;
    __builtin_memset(out, 0, sizeof(*out));
    if (!dev)
        return 0;
    out->found = 1;
    handler = (__u64)BPF_CORE_READ(dev, rx_handler);
    if (!handler)
        return 0;
    out->rx_handler = handler;
    out->macvlan = judge_macvlan(dev, BPF_CORE_READ(dev, rx_handler_data));
    if (bpf_core_type_exists(struct macvlan_port) && bpf_core_type_exists(struct macvlan_dev)) {
        out->macvlan_fields.macvlan_handler = handler;
        out->macvlan_fields.port_vlans = bpf_core_field_offset(struct macvlan_port, vlans);
        out->macvlan_fields.port_flags = bpf_core_field_offset(struct macvlan_port, flags);
        out->macvlan_fields.vlan_list = bpf_core_field_offset(struct macvlan_dev, list);
        out->macvlan_fields.vlan_mode = bpf_core_field_offset(struct macvlan_dev, mode);
        out->macvlan_fields.vlan_dev = bpf_core_field_offset(struct macvlan_dev, dev);
    }
    BPF_SNPRINTF(out->handler, sizeof(out->handler), "%ps", (void*)handler);
    return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
