/* SPDX-License-Identifier: (BSD-3-Clause OR GPL-2.0-only) */
/*
 * The weir: leaves in the kernel all that is not plain transit, and redirects the rest to the AF_XDP socket
 * of its receive queue. An allow-list: a frame goes to the dataplane only when no question about it is open.
 * Every frame counts under exactly one reason.
 */
#include <linux/bpf.h>
#include <linux/if_ether.h>

#include "steering_bpf/firewall.bpf.h"
#include "steering_bpf/ipv4.bpf.h"
#include "steering_bpf/ipv6.bpf.h"
#include "steering_bpf/kernel.bpf.h"
#include "steering_bpf/maps.bpf.h"

/*
 * With this, the program's name and the name of its XSKMAP, libxdp adopts the program instead of loading its
 * own, which redirects everything. There are no global variables: to a program with a .data section libxdp
 * would attribute a reference count, and detach it when it thinks that the last socket is gone.
 */
__uint(xsk_prog_version, 1) SEC("xdp_metadata");

/* Three words: the MAC address in the map value is aligned to two bytes, like the one in the frame. */
static __always_inline bool same_mac(const void* a, const void* b) {
    const __u16* x = a;
    const __u16* y = b;

    return !((x[0] ^ y[0]) | (x[1] ^ y[1]) | (x[2] ^ y[2]));
}

/* The heartbeat's clock is CLOCK_MONOTONIC, ours its coarse form, which may be a tick (4 ms) behind. */
static __always_inline bool dataplane_alive(const struct millrace_steer_config* config) {
    const __u32 zero = 0;
    const struct millrace_heartbeat* beat = bpf_map_lookup_elem(&heartbeat, &zero);
    __u64 alive, now;

    if (!beat)
        return false;
    alive = *(const volatile __u64*)&beat->alive_ns;
    if (!alive)
        return false;
    now = bpf_ktime_get_coarse_ns();
    return now <= alive || now - alive <= config->heartbeat_timeout_ns;
}

static __always_inline enum millrace_steer_reason classify(struct xdp_md* ctx,
                                                           const struct millrace_steer_config* config,
                                                           __u64 length) {
    const void* end = (const void*)(long)ctx->data_end;
    const void* data = (const void*)(long)ctx->data;
    const struct ethhdr* eth = data;
    enum millrace_steer_reason reason;
    bool is_ipv4;

    if (!config || !(config->flags & MILLRACE_FLAG_ENABLED))
        return MILLRACE_STEER_DISABLED;
    if (length > config->max_frame || length != (__u64)(end - data)) /* unequal: the rest is in fragments */
        return MILLRACE_STEER_TOO_LONG;
    if ((const void*)(eth + 1) > end)
        return MILLRACE_STEER_TRUNCATED;
    if (!same_mac(eth->h_dest, config->mac))
        return MILLRACE_STEER_NOT_OUR_MAC;
    is_ipv4 = eth->h_proto == bpf_htons(ETH_P_IP);
    if (is_ipv4)
        reason = classify_ipv4(config, (const void*)(eth + 1), end);
    else if (eth->h_proto == bpf_htons(ETH_P_IPV6))
        reason = classify_ipv6(config, (const void*)(eth + 1), end);
    else
        return MILLRACE_STEER_NOT_IP;
    if (reason != MILLRACE_STEER_REDIRECT)
        return reason;
    if (!dataplane_alive(config))
        return MILLRACE_STEER_STALE;
    if (frames_are_taken(ctx, config->mac))
        return MILLRACE_STEER_TAKEN;
    if (tag_is_off(ctx))
        return MILLRACE_STEER_TAG;
    return firewall_sees(ctx, is_ipv4) ? MILLRACE_STEER_KEEP_NETFILTER : MILLRACE_STEER_REDIRECT;
}

SEC("xdp.frags")
int xsk_def_prog(struct xdp_md* ctx) {
    const __u32 zero = 0;
    const struct millrace_steer_config* config = bpf_map_lookup_elem(&steer_config, &zero);
    const __u64 length = bpf_xdp_get_buff_len(ctx);
    __u32 reason = classify(ctx, config, length);
    struct millrace_steer_counter* counter;
    int action = XDP_PASS;

    if (reason == MILLRACE_STEER_REDIRECT) {
        /* A queue without a socket gives back the action in the flags. */
        action = (int)bpf_redirect_map(&xsks_map, ctx->rx_queue_index, XDP_PASS);
        if (action != XDP_REDIRECT)
            reason = MILLRACE_STEER_NO_SOCKET;
    }
    counter = bpf_map_lookup_elem(&counters, &reason);
    if (counter) {
        counter->packets += 1;
        counter->bytes += length;
    }
    return action;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
