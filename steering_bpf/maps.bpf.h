/* SPDX-License-Identifier: (BSD-3-Clause OR GPL-2.0-only) */
/* The classifier's maps: one set for each port, pinned beside its link. Their ABI is millrace/abi.h. */
#ifndef MILLRACE_MAPS_BPF_H
#define MILLRACE_MAPS_BPF_H

#include <linux/bpf.h>
/* after linux/bpf.h, which has the types it needs */
#include <bpf/bpf_helpers.h>

#include "millrace/abi.h"

struct {
    __uint(type, BPF_MAP_TYPE_XSKMAP);
    __type(key, __u32);
    __type(value, __u32);
    __uint(max_entries, MILLRACE_MAX_QUEUES);
} xsks_map SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_ARRAY);
    __type(key, __u32);
    __type(value, struct millrace_steer_config);
    __uint(max_entries, 1);
} steer_config SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_ARRAY);
    __uint(map_flags, BPF_F_MMAPABLE);
    __type(key, __u32);
    __type(value, struct millrace_heartbeat);
    __uint(max_entries, 1);
} heartbeat SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
    __type(key, __u32);
    __type(value, struct millrace_steer_counter);
    __uint(max_entries, MILLRACE_STEER_REASON_COUNT);
} counters SEC(".maps");

/*
 * The router's own addresses: a table that all ports share, in a map of each port that holds nothing else.
 * Keys in network order; the value says nothing.
 */
struct local4_table {
    __uint(type, BPF_MAP_TYPE_HASH);
    __uint(map_flags, BPF_F_NO_PREALLOC);
    __type(key, __u8[4]);
    __type(value, __u8);
    __uint(max_entries, MILLRACE_FIRST_LOCAL);
};

struct {
    __uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
    __type(key, __u32);
    __uint(max_entries, 1);
    __array(values, struct local4_table);
} local4 SEC(".maps");

struct local6_table {
    __uint(type, BPF_MAP_TYPE_HASH);
    __uint(map_flags, BPF_F_NO_PREALLOC);
    __type(key, __u8[16]);
    __type(value, __u8);
    __uint(max_entries, MILLRACE_FIRST_LOCAL);
};

struct {
    __uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
    __type(key, __u32);
    __uint(max_entries, 1);
    __array(values, struct local6_table);
} local6 SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_LPM_TRIE);
    __uint(map_flags, BPF_F_NO_PREALLOC); /* the trie knows no other way */
    __type(key, struct millrace_lpm4);
    __type(value, __u8);
    __uint(max_entries, MILLRACE_MAX_KEEP);
} keep4 SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_LPM_TRIE);
    __uint(map_flags, BPF_F_NO_PREALLOC);
    __type(key, struct millrace_lpm6);
    __type(value, __u8);
    __uint(max_entries, MILLRACE_MAX_KEEP);
} keep6 SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_ARRAY);
    __type(key, __u32);
    __type(value, __u64);
    __uint(max_entries, MILLRACE_KEEP_L4_WORDS);
} keep_l4port SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_ARRAY);
    __type(key, __u32);
    __type(value, struct millrace_judgement);
    __uint(max_entries, 1);
} judgement SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_ARRAY);
    __type(key, __u32);
    __type(value, struct millrace_firewall);
    __uint(max_entries, 1);
} firewall SEC(".maps");

/* Between who attaches, the daemon, and who detaches; the classifier doesn't look at it. */
struct {
    __uint(type, BPF_MAP_TYPE_ARRAY);
    __type(key, __u32);
    __type(value, struct millrace_port_state);
    __uint(max_entries, 1);
} port_state SEC(".maps");

#endif /* MILLRACE_MAPS_BPF_H */
