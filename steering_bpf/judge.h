/* SPDX-License-Identifier: (BSD-3-Clause OR GPL-2.0-only) */
/* What the judge's program (judge.bpf.c) tells its loader (judge.cpp). */
#ifndef MILLRACE_JUDGE_H
#define MILLRACE_JUDGE_H

#include "millrace/abi.h"

/* What is known of a macvlan's port, which is what its devices on one lower device share. */
enum millrace_macvlan {
    MILLRACE_MACVLAN_UNKNOWN,  /* no types for it in this kernel */
    MILLRACE_MACVLAN_HARMLESS, /* each has a MAC address of its own, and takes no frame but to that */
    MILLRACE_MACVLAN_MANY,     /* more devices than are looked at */
    MILLRACE_MACVLAN_PASSTHRU,
    MILLRACE_MACVLAN_SOURCE,
    MILLRACE_MACVLAN_SAME_MAC,
};

struct millrace_judged {
    __u64 rx_handler;                         /* 0 = none */
    struct millrace_judgement macvlan_fields; /* all zero where this kernel has no types for them */
    __u32 found;                              /* 0 = no device of that index in the namespace */
    __u32 macvlan;    /* enum millrace_macvlan; for what it is only when handler is macvlan's */
    char handler[64]; /* the function's name, as in /proc/kallsyms */
};

#endif /* MILLRACE_JUDGE_H */
