/* SPDX-License-Identifier: BSD-3-Clause */
/* What the benchmark's BPF programs and bench-traffic agree on. */
#ifndef MILLRACE_BENCH_TRAFFIC_H
#define MILLRACE_BENCH_TRAFFIC_H

#include <linux/types.h>

#define BENCH_FRAME 60    /* bytes, FCS not counted: the shortest Ethernet frame */
#define BENCH_HEADERS 42  /* Ethernet, IPv4, UDP */
#define BENCH_FRAME6 62   /* no payload */
#define BENCH_HEADERS6 62 /* Ethernet, IPv6, UDP */
#define BENCH_PORT 9      /* UDP destination: discard */
#define BENCH_FIRST_PORT 10000

struct bench_count {
    __u64 good;  /* the generator's packets, to our MAC, with the TTL that was asked for */
    __u64 other; /* anything else: a router that sent these did something wrong */
};

#endif /* MILLRACE_BENCH_TRAFFIC_H */
