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
const volatile __u8 headers[BENCH_HEADERS6]; /* the low 16 bits of both addresses 0, IPv4's checksum too */
const volatile __u8 is_ipv6;
const volatile __u32 flow_mask; /* number of flows - 1; a power of two less one */
/* The low 16 bits of the addresses: where they begin, and how many values they take, as flow_mask. */
const volatile __u16 source_low, source_mask;
const volatile __u16 destination_low, destination_mask;
const volatile __u32 header_sum;  /* of the IPv4 header's other words */
const volatile __u64 interval_ns; /* between two frames; 0 = as fast as it goes */
const volatile __u8 sink_mac[6];
const volatile __u8 sink_ttl;

__u32 next_flow;
__u64 next_ns;

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
    if ((void*)(data + (is_ipv6 ? BENCH_FRAME6 : BENCH_FRAME)) > (void*)(long)ctx->data_end) {
        return XDP_ABORTED;
    }
    if (interval_ns) {
        const __u64 now = bpf_ktime_get_ns();
        if (now < next_ns) {
            return XDP_DROP;
        }
        /* What a pause has left behind is not made up for. */
        next_ns = (now - next_ns > 1000000 ? now : next_ns) + interval_ns;
    }
    const __u32 n = next_flow++;
    const __u16 source = source_low + (n & source_mask);
    const __u16 destination = destination_low + (n & destination_mask);
    /* The whole header each time: pages come back as the receiver left them. */
#pragma unroll
    for (int i = 0; i < BENCH_HEADERS; i++) {
        data[i] = headers[i];
    }
    if (is_ipv6) {
#pragma unroll
        for (int i = BENCH_HEADERS; i < BENCH_HEADERS6; i++) {
            data[i] = headers[i];
        }
        *(__u16*)(data + 36) = bpf_htons(source);
        *(__u16*)(data + 52) = bpf_htons(destination);
    } else {
        __u32 sum = header_sum + source + destination;
        sum = (sum & 0xffff) + (sum >> 16);
        sum = (sum & 0xffff) + (sum >> 16);
        *(__u16*)(data + 24) = bpf_htons(~sum & 0xffff);
        *(__u16*)(data + 28) = bpf_htons(source);
        *(__u16*)(data + 32) = bpf_htons(destination);
    }
    struct udphdr* udp = (void*)(data + (is_ipv6 ? 54 : 34));
    udp->source = bpf_htons(BENCH_FIRST_PORT + (n & flow_mask));
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
