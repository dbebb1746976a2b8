/* SPDX-License-Identifier: BSD-3-Clause */
/* The benchmark's generator, its sink, and a program that does nothing. */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/ip.h>
#include <linux/pkt_cls.h>
#include <linux/udp.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "traffic.h"

/* Set before the programs are loaded. */
const volatile __u8 headers[BENCH_HEADERS];
const volatile __u32 flow_mask; /* number of flows - 1; a power of two less one */
const volatile __u8 sink_mac[6];
const volatile __u8 sink_ttl;

__u32 next_flow;

struct {
    __uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
    __uint(max_entries, 1);
    __type(key, __u32);
    __type(value, struct bench_count);
} counts SEC(".maps");

/* Runs on live frames (BPF_F_TEST_XDP_LIVE_FRAMES): XDP_TX sends each out of the device. */
SEC("xdp")
int generate(struct xdp_md* ctx) {
    __u8* data = (void*)(long)ctx->data;
    if ((void*)(data + BENCH_FRAME) > (void*)(long)ctx->data_end) {
        return XDP_ABORTED;
    }
    /* The whole header each time: pages come back as the receiver left them. */
#pragma unroll
    for (int i = 0; i < BENCH_HEADERS; i++) {
        data[i] = headers[i];
    }
    struct udphdr* udp = (void*)(data + sizeof(struct ethhdr) + sizeof(struct iphdr));
    udp->source = bpf_htons(BENCH_FIRST_PORT + (next_flow++ & flow_mask));
    return XDP_TX;
}

/* In tc ingress rather than in XDP: a device with native XDP would cost AF_XDP senders another copy. */
SEC("tc")
int sink(struct __sk_buff* skb) {
    __u32 key = 0;
    struct bench_count* count = bpf_map_lookup_elem(&counts, &key);
    const __u8* data = (void*)(long)skb->data;
    if (!count) {
        return TC_ACT_SHOT;
    }
    if ((const void*)(data + BENCH_HEADERS) > (void*)(long)skb->data_end) {
        count->other++;
        return TC_ACT_SHOT;
    }
    const struct iphdr* ip = (const void*)(data + sizeof(struct ethhdr));
    const struct udphdr* udp = (const void*)(ip + 1);
    const __u8 ours = data[0] == sink_mac[0] && data[1] == sink_mac[1] && data[2] == sink_mac[2] &&
                      data[3] == sink_mac[3] && data[4] == sink_mac[4] && data[5] == sink_mac[5];
    if (ours && ip->ttl == sink_ttl && ip->protocol == 17 && udp->dest == bpf_htons(BENCH_PORT)) {
        count->good++;
    } else {
        count->other++;
    }
    return TC_ACT_SHOT;
}

/* What makes a veth without GRO take live frames: it needs NAPI, which a program switches on. */
SEC("xdp")
int pass(struct xdp_md* ctx) {
    (void)ctx;
    return XDP_PASS;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
