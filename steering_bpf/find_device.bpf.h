/* SPDX-License-Identifier: (BSD-3-Clause OR GPL-2.0-only) */
/*
 * Finds a device of a network namespace by its index, in programs that the daemon runs. To be included behind
 * the program's own declarations of struct net_device (with ifindex and index_hlist) and struct net (with
 * dev_index_head), each of which names only the fields that it reads.
 */
#ifndef MILLRACE_FIND_DEVICE_BPF_H
#define MILLRACE_FIND_DEVICE_BPF_H

#define HASH_SLOTS 256   /* NETDEV_HASHENTRIES */
#define MOST_IN_SLOT 256 /* devices of one slot that are looked at */

static __always_inline struct net_device* find_device(const struct net* net, __u32 ifindex) {
    struct hlist_head* slots = BPF_CORE_READ(net, dev_index_head);
    struct hlist_node* node;

    slots += ifindex % HASH_SLOTS;
    node = BPF_CORE_READ(slots, first);
    for (int i = 0; node && i < MOST_IN_SLOT; i++) {
        struct net_device* dev = (void*)node - bpf_core_field_offset(struct net_device, index_hlist);

        if ((__u32)BPF_CORE_READ(dev, ifindex) == ifindex)
            return dev;
        node = BPF_CORE_READ(node, next);
    }
    return NULL;
}

#endif /* MILLRACE_FIND_DEVICE_BPF_H */
