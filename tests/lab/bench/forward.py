# SPDX-License-Identifier: BSD-3-Clause
"""Forwarding rate on one core: kernel, dpdk-testpmd and millrace, in one run on the same veths."""

import json
import os
import platform
import re
import statistics
import time

from .. import netns
from ..netns import CommandError
from .variants import Kernel, Millrace, Testpmd
from .veths import FLOWS, GENERATOR_CORE, WORKER_CORE, BenchLab

REQUIRED = 0.90  # of testpmd's median
MIN_ROUNDS = 5
WARM_UP = 1.0    # seconds
BUSY = 0.05      # share of the machine's time that others use; above it the figures are marked


def arguments(parser):
    parser.add_argument("--rounds", type=int, default=MIN_ROUNDS, metavar="N",
                        help=f"alternating rounds, at least {MIN_ROUNDS} (default {MIN_ROUNDS})")
    parser.add_argument("--seconds", type=float, default=3.0, metavar="S",
                        help="seconds measured each time (default 3)")


def run_rounds(lab, variants, rounds, seconds):
    """{name: [packets a second]}"""
    seen = {v.name: [] for v in variants}
    for n in range(rounds):
        line = f"round {n + 1} of {rounds}:"
        print(line, end="", flush=True)
        # Each round begins with another one: what changes with time must not fall on one of them alone.
        for variant in variants[n % len(variants):] + variants[:n % len(variants)]:
            try:
                with variant.running(lab):
                    pps = lab.measure(seconds, WARM_UP, variant.ttl)
            except (CommandError, TimeoutError) as error:
                raise CommandError(f"{variant.name}: {error}") from error
            seen[variant.name].append(pps)
            print(f"  {variant.name} {pps / 1e6:.2f}", end="", flush=True)
        print("  Mpps", flush=True)
    return seen


def _conditions(seconds, rounds):
    cpu = re.search(r"model name\s*: (.*)", open("/proc/cpuinfo", encoding="utf-8").read())
    dpdk = netns.run(["pkg-config", "--modversion", "libdpdk"], check=False).stdout.strip()
    return {"kernel": platform.release(), "cpu": cpu[1] if cpu else "?", "cores": os.cpu_count(),
            "dpdk": dpdk, "frame_bytes": 60, "flows": FLOWS, "routes": 1, "rounds": rounds,
            "seconds": seconds, "busy_before_percent": round(100 * _busy(), 1)}


def _busy():
    """Share of all cores' time that was used in one second, before anything of ours runs."""
    def read():
        values = list(map(int, open("/proc/stat", encoding="utf-8").readline().split()[1:]))
        return values[3] + values[4], sum(values[:8])
    idle, total = read()
    time.sleep(1)  # the interval that is measured
    idle_after, total_after = read()
    return 1 - (idle_after - idle) / max(1, total_after - total)


def _table(rates):
    medians = {name: statistics.median(values) for name, values in rates.items()}
    print(f"\n{'Mpps':<18}{'min':>8}{'median':>8}{'max':>8}{'/ kernel':>11}{'/ testpmd':>11}")
    for name, values in rates.items():
        low, mid, high = (v / 1e6 for v in (min(values), medians[name], max(values)))
        print(f"{name:<18}{low:>8.2f}{mid:>8.2f}{high:>8.2f}{medians[name] / medians['kernel']:>11.2f}"
              f"{medians[name] / medians['testpmd']:>11.2f}")
    return medians


def run(args):
    if args.rounds < MIN_ROUNDS or args.seconds <= 0:
        raise CommandError(f"--rounds must be at least {MIN_ROUNDS}, --seconds more than 0")
    if len(os.sched_getaffinity(0)) < 2:
        raise CommandError("two cores are needed: one for the generator, one for the worker")
    conditions = _conditions(args.seconds, args.rounds)
    print(f"{conditions['cpu']}, {conditions['cores']} cores; Linux {conditions['kernel']}; "
          f"DPDK {conditions['dpdk']}\n60-byte UDP, {FLOWS} flows, one route; veth, AF_XDP copy mode; "
          f"{args.seconds:g} s each after {WARM_UP:g} s\n"
          f"core {GENERATOR_CORE}: generator and the ports' receive side (the kernel forwards there); "
          f"core {WORKER_CORE}: testpmd, millrace")
    if conditions["busy_before_percent"] > 100 * BUSY:
        print(f"warning: other programs use {conditions['busy_before_percent']:.0f} % of this machine; "
              "the figures are no good for a comparison")
    # spin is what testpmd does; sleep is the default, and must not cost anything under load.
    variants = [Kernel(), Testpmd(), Millrace(), Millrace("spin")]
    with BenchLab(args.build_dir.resolve()) as lab:
        lab.start()
        rates = run_rounds(lab, variants, args.rounds, args.seconds)
    medians = _table(rates)
    ratio = medians["millrace"] / medians["testpmd"]
    held = ratio >= REQUIRED
    print(f"\nmillrace / testpmd = {ratio:.3f}: {'at least' if held else 'BELOW'} {REQUIRED:.2f}")
    if args.json:
        with open(args.json, "w", encoding="utf-8") as out:
            json.dump({"conditions": conditions, "packets_per_second": rates, "median": medians,
                       "millrace_to_testpmd": ratio, "required": REQUIRED, "held": held}, out, indent=2)
            out.write("\n")
    return 0 if held else 1
