/* SPDX-License-Identifier: (BSD-3-Clause OR GPL-2.0-only) */
/*
 * Stops the daemon's heartbeats in the instant in which the kernel begins to end the daemon, however it dies.
 * Without it the classifiers go on redirecting until its sockets are closed, and that comes after its address
 * space, about 50 ms later.
 */
#include <linux/bpf.h>
#include <stdbool.h>
/* after linux/bpf.h, which has the types it needs */
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>

#include "millrace/abi.h"
#include "steering_bpf/farewell.h"

#define KERNEL_TYPE __attribute__((preserve_access_index))
#define SIGNAL_GROUP_EXIT 4 /* linux/sched/signal.h: all threads are to end, for whatever reason */

struct signal_struct {
    unsigned int flags;
} KERNEL_TYPE;
struct task_struct {
    struct task_struct* group_leader;
    struct signal_struct* signal;
} KERNEL_TYPE;

/* As maps.bpf.h has it. */
struct heartbeat_map {
    __uint(type, BPF_MAP_TYPE_ARRAY);
    __uint(map_flags, BPF_F_MMAPABLE);
    __uint(key_size, sizeof(__u32));
    __uint(value_size, sizeof(struct millrace_heartbeat));
    __uint(max_entries, 1);
};

struct {
    __uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
    __type(key, __u32);
    __uint(max_entries, MILLRACE_MOST_FAREWELLS);
    __array(values, struct heartbeat_map);
} heartbeats SEC(".maps");

/*
 * The process, by the one thing that names it in all PID namespaces. It is not used again for another one
 * while this program is there, since the process holds the program.
 */
static volatile __u64 watched;

static __always_inline __u64 current_process(void) {
    const struct task_struct* task = (const void*)bpf_get_current_task();

    return (__u64)BPF_CORE_READ(task, group_leader);
}

/* Run by the daemon (BPF_PROG_TEST_RUN): it is the one. */
SEC("raw_tp")
int arm(void* unused) {
    (void)unused;
    watched = current_process();
    return 0;
}

/*
 * A process that is to end tells its threads so by SIGKILL, whatever the reason was: get_signal(), before
 * do_exit(). (A function's own entry would say the same, but some kernels refuse programs of that type.) Each
 * thread comes here, so the last word is not the control thread's. A thread that ends alone gets no signal,
 * and those that end because another one calls exec() have no SIGNAL_GROUP_EXIT.
 */
SEC("raw_tp/signal_deliver")
int farewell(void* unused) {
    const struct task_struct* task;
    const __u32 zero = 0;

    (void)unused;
    if (!watched || current_process() != watched)
        return 0;
    task = (const void*)bpf_get_current_task();
    if (!(BPF_CORE_READ(task, signal, flags) & SIGNAL_GROUP_EXIT))
        return 0;
    for (__u32 i = 0; i < MILLRACE_MOST_FAREWELLS; i++) {
        void* map = bpf_map_lookup_elem(&heartbeats, &i);
        struct millrace_heartbeat* beat;

        if (!map)
            break;
        beat = bpf_map_lookup_elem(map, &zero);
        if (beat)
            *(volatile __u64*)&beat->alive_ns = 0;
    }
    return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
