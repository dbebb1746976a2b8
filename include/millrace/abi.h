/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the classifier (BPF C) and the programs in user space (C++) agree on: map names, their keys and
 * values, the reasons a verdict is counted under. One copy; included by both sides.
 *
 * Integers are in host byte order unless the field says "network order".
 */
#ifndef MILLRACE_ABI_H
#define MILLRACE_ABI_H

#include <linux/types.h>

/* Where the link and the maps of each port are pinned: <root>/<port>/{link,<map name>}. */
#define MILLRACE_PIN_ROOT "/sys/fs/bpf/millrace"
#define MILLRACE_PIN_LINK "link"

/* libxdp adopts a program of this name whose BTF says xsk_prog_version = 1 and whose XSKMAP is xsks_map. */
#define MILLRACE_PROGRAM_NAME "xsk_def_prog"
#define MILLRACE_MAP_XSKS "xsks_map"
#define MILLRACE_MAP_CONFIG "steer_config"
#define MILLRACE_MAP_HEARTBEAT "heartbeat"
#define MILLRACE_MAP_COUNTERS "counters"
#define MILLRACE_MAP_LOCAL4 "local4"
#define MILLRACE_MAP_LOCAL6 "local6"
#define MILLRACE_MAP_KEEP4 "keep4"
#define MILLRACE_MAP_KEEP6 "keep6"
#define MILLRACE_MAP_KEEP_L4 "keep_l4port"
#define MILLRACE_MAP_JUDGEMENT "judgement"
#define MILLRACE_MAP_FIREWALL "firewall"
#define MILLRACE_MAP_STATE "port_state"

/*
 * Sizes of the maps above, in entries. local4 and local6 hold one map each, which the daemon makes and puts
 * there; it begins small, and a bigger one takes its place when it is full.
 */
#define MILLRACE_MAX_QUEUES 64
#define MILLRACE_FIRST_LOCAL 1024
#define MILLRACE_MAX_LOCAL 1048576
#define MILLRACE_MAX_KEEP 4096

/* keep_l4port: one bit for each port of TCP (first half) and UDP (second half), 64 to an entry. */
#define MILLRACE_KEEP_L4_WORDS 2048
#define MILLRACE_KEEP_L4_INDEX(is_udp, port) (((is_udp) ? 1024U : 0U) + ((__u32)(port) >> 6))
#define MILLRACE_KEEP_L4_BIT(port) (1ULL << ((port)&63U))

/*
 * The largest frame, in bytes, that an AF_XDP buffer of 4096 bytes holds: 256 bytes of XDP headroom, 64 of
 * mempool header, 128 of mbuf and 128 of mbuf headroom go off.
 */
#define MILLRACE_MAX_FRAME 3520

/*
 * Flags of struct millrace_steer_config. A KEEP flag is set while its map has an entry; KEEP_ALL while all
 * transit of the family that comes in is the kernel's.
 */
#define MILLRACE_FLAG_ENABLED (1U << 0)
#define MILLRACE_FLAG_KEEP4 (1U << 1)
#define MILLRACE_FLAG_KEEP6 (1U << 2)
#define MILLRACE_FLAG_KEEP_L4 (1U << 3)
#define MILLRACE_FLAG_KEEP_PROTOCOL (1U << 4)
#define MILLRACE_FLAG_KEEP_ALL4 (1U << 5)
#define MILLRACE_FLAG_KEEP_ALL6 (1U << 6)

/* The one entry of steer_config. All zero (as loaded) = everything stays in the kernel. */
struct millrace_steer_config {
    __u64 heartbeat_timeout_ns; /* a heartbeat older than this is stale */
    __u64 keep_protocol[4];     /* one bit for each IP protocol number */
    __u32 flags;                /* MILLRACE_FLAG_* */
    __u16 max_frame;            /* bytes, layer-2 header included; longer frames stay in the kernel */
    __u8 mac[6];                /* the port's own MAC address; other destinations stay in the kernel */
    __u32 reserved;
};

/* The one entry of heartbeat, memory-mapped by the daemon. */
struct millrace_heartbeat {
    __u64 alive_ns; /* CLOCK_MONOTONIC of the last time all workers were seen to make progress; 0 = never */
};

/*
 * The one entry of judgement: how the classifier can find out for itself what a device above the port does.
 * All zero = it can't, and whatever is there counts as taking the port's frames.
 */
struct millrace_judgement {
    __u64 macvlan_handler; /* address of macvlan's rx_handler in the kernel */
    __u16 port_vlans;      /* offsets in struct macvlan_port */
    __u16 port_flags;
    __u16 vlan_list; /* offsets in struct macvlan_dev */
    __u16 vlan_mode;
    __u16 vlan_dev;
    __u16 reserved[3];
};
/* More macvlans on a port are not looked at: then it is the kernel's. */
#define MILLRACE_MOST_MACVLANS 16

/*
 * The one entry of firewall: which of the kernel's own hooks transit may go past. The classifier looks at the
 * hooks themselves for each packet; what is not covered here is left to the kernel. All zero = nothing is.
 */
#define MILLRACE_MAY_PASS_NFT4 (1U << 0)   /* the nftables chains of IPv4's hooks, at the generation */
#define MILLRACE_MAY_PASS_NFT6 (1U << 1)   /* of IPv6's */
#define MILLRACE_MAY_PASS_NETDEV (1U << 2) /* those at the port's ingress, at the generation */
#define MILLRACE_MAY_BYPASS4 (1U << 3)     /* whatever there is: the operator says so */
#define MILLRACE_MAY_BYPASS6 (1U << 4)
#define MILLRACE_MAY_READ (1U << 5) /* the rest is valid */
#define MILLRACE_MOST_HARMLESS 12
#define MILLRACE_MOST_NFT 8
struct millrace_firewall {
    __u64 net;                              /* address of the port's struct net, */
    __u64 dev;                              /* and net_device: for kernels where the context has none */
    __u64 harmless[MILLRACE_MOST_HARMLESS]; /* addresses of functions that decide nothing about transit */
    __u64 nft[MILLRACE_MOST_NFT];           /* of nftables chains that were judged: others may be hooked up
                                               (a table wakes) before the generation tells of them */
    __u32 generation;                       /* of the ruleset that was judged; where the kernel doesn't */
    __u32 flags;                            /* tell it, its last bit. MILLRACE_MAY_* */
};

/* What the attached classifier can see of each packet: flags of struct millrace_port_state. */
#define MILLRACE_SEES_TAKERS (1U << 0) /* that another device takes the port's frames */
#define MILLRACE_SEES_TAGS (1U << 1)   /* a VLAN tag that the driver has taken off the frame */

/* Offloads of the port that attaching has switched off, and detaching switches on again. */
#define MILLRACE_RESTORE_CTAG (1U << 0) /* rx-vlan-hw-parse */
#define MILLRACE_RESTORE_STAG (1U << 1) /* rx-vlan-stag-hw-parse */

/*
 * The one entry of port_state, written by who attaches. Other versions read it too: a new one only adds at
 * the end.
 */
struct millrace_port_state {
    __u32 sees;    /* MILLRACE_SEES_* */
    __u32 restore; /* MILLRACE_RESTORE_* */
    __u32 abi;     /* MILLRACE_ABI_ID of the build that made the maps: a hash of this file */
    __u32 program; /* the kernel's id of the program that uses the maps, */
    __u32 next;    /* and of one that is taking its place */
    __u32 reserved;
    __u8 tag[8]; /* the kernel's hash of the program */
};

/* One entry of counters for each reason and CPU. */
struct millrace_steer_counter {
    __u64 packets;
    __u64 bytes; /* layer-2 header included, FCS not */
};

/* Keys of keep4 and keep6 (BPF_MAP_TYPE_LPM_TRIE); the address is in network order. */
struct millrace_lpm4 {
    __u32 prefixlen;
    __u8 addr[4];
};
struct millrace_lpm6 {
    __u32 prefixlen;
    __u8 addr[16];
};

/*
 * Why the classifier decided as it did. X(constant, name, text).
 * The first is the only one that leaves the kernel; every other reason ends in XDP_PASS.
 */
#define MILLRACE_STEER_REASONS(X)                                                         \
    X(REDIRECT, "redirect", "plain transit, redirected to the dataplane")                 \
    X(DISABLED, "disabled", "the port is not enabled: no daemon has configured it")       \
    X(STALE, "stale_heartbeat", "the daemon's heartbeat is stale")                        \
    X(NO_SOCKET, "no_socket", "no AF_XDP socket on this receive queue")                   \
    X(TOO_LONG, "too_long", "the frame is longer than an AF_XDP buffer, or in fragments") \
    X(TRUNCATED, "truncated", "too short for its headers")                                \
    X(NOT_OUR_MAC, "not_our_mac", "broadcast, multicast, or another host's MAC address")  \
    X(NOT_IP, "not_ip", "neither IPv4 nor IPv6: ARP, VLAN, LLDP, MPLS, ...")              \
    X(IP_HEADER, "ip_header", "version or length field of the IP header is not plain")    \
    X(IP_OPTIONS, "ip_options", "IPv4 options or IPv6 hop-by-hop options")                \
    X(TTL, "ttl", "TTL or hop limit of 0 or 1")                                           \
    X(MARTIAN, "martian", "an address that must not be forwarded")                        \
    X(LOCAL, "local", "to one of the router's own addresses")                             \
    X(DHCP, "dhcp", "to a DHCP client: UDP port 68 of IPv4, 546 of IPv6")                 \
    X(KEEP_FAMILY, "keep_family", "kept in the kernel: all IPv4 or IPv6 of this port")    \
    X(KEEP_PREFIX, "keep_prefix", "kept in the kernel by policy: prefix")                 \
    X(KEEP_PROTOCOL, "keep_protocol", "kept in the kernel by policy: IP protocol")        \
    X(KEEP_L4PORT, "keep_l4port", "kept in the kernel by policy: TCP or UDP port")        \
    X(ND, "nd", "neighbour discovery, router discovery or MLD")                           \
    X(TAKEN, "taken", "a macvlan, ipvlan, bridge, ... above the port takes its frames")   \
    X(TAG, "vlan_tag", "a VLAN tag that was taken off the frame before the classifier")   \
    X(KEEP_NETFILTER, "keep_netfilter", "netfilter or a tc program would see it")

enum millrace_steer_reason {
#define MILLRACE_X(constant, name, text) MILLRACE_STEER_##constant,
    MILLRACE_STEER_REASONS(MILLRACE_X)
#undef MILLRACE_X
        MILLRACE_STEER_REASON_COUNT
};

#ifdef __cplusplus
#define MILLRACE_ASSERT_SIZE(type, size) static_assert(sizeof(type) == (size), "ABI size of " #type)
#else
#define MILLRACE_ASSERT_SIZE(type, size) _Static_assert(sizeof(type) == (size), "ABI size of " #type)
#endif
MILLRACE_ASSERT_SIZE(struct millrace_steer_config, 56);
MILLRACE_ASSERT_SIZE(struct millrace_heartbeat, 8);
MILLRACE_ASSERT_SIZE(struct millrace_judgement, 24);
MILLRACE_ASSERT_SIZE(struct millrace_firewall, 184);
MILLRACE_ASSERT_SIZE(struct millrace_port_state, 32);
MILLRACE_ASSERT_SIZE(struct millrace_steer_counter, 16);
MILLRACE_ASSERT_SIZE(struct millrace_lpm4, 8);
MILLRACE_ASSERT_SIZE(struct millrace_lpm6, 20);

#endif /* MILLRACE_ABI_H */
