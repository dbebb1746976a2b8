# SPDX-License-Identifier: BSD-3-Clause
"""The forwarder on one core, over DPDK's rings: a full table beside one route, lookups alone and the floor of memory."""

import json
import platform
import re
import statistics
import subprocess

from ..netns import CommandError

VARIANTS = ("one route", "full table", "lookups", "floor")
IN_FLIGHT = (8192, 65536)  # 60-byte frames: those of the first are in the second cache, those of the other are not
# (packets in flight, this, and that): the least share, of one run
REQUIRED = {(8192, "full table", "one route"): 0.90, (65536, "full table", "floor"): 0.60}
VERDICTS = {True: "ok", False: "MISSED"}


def arguments(parser):
    parser.add_argument("--in-flight", type=int, action="append", metavar="N",
                        help="packets that are under way at once (default: 8192, then 65536)")
    parser.add_argument("--rounds", type=int, default=7, metavar="N", help="alternating rounds (default 7)")
    parser.add_argument("--packets", type=int, default=8_000_000, metavar="N",
                        help="each time one is measured (default 8000000)")
    parser.add_argument("--seed", type=int, default=1, metavar="N", help="of the table (default 1)")


def measure(args, in_flight):
    command = [args.build_dir / "tests/benchmarks/bench-engine", "--rounds", str(args.rounds),
               "--packets", str(args.packets), "--seed", str(args.seed), "--in-flight", str(in_flight)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode != 0:
        raise CommandError(f"bench-engine failed ({done.returncode})")
    return json.loads(done.stdout.splitlines()[-1])


def share(rates, this, that):
    """Of each round: both were measured side by side."""
    return statistics.median(a / b for a, b in zip(rates[this], rates[that]))


def run(args):
    found = [measure(args, n) for n in args.in_flight or IN_FLIGHT]
    cpu = re.search(r"model name\s*: (.*)", open("/proc/cpuinfo", encoding="utf-8").read())
    print(f"{cpu[1] if cpu else platform.machine()}, kernel {platform.release()}, "
          f"{'hugepages' if found[0]['hugepages'] else '4 kB pages'}, AVX-512 {'yes' if found[0]['avx512'] else 'no'}")
    print(f"table of seed {args.seed}: {found[0]['ipv4']['prefixes']} IPv4 and {found[0]['ipv6']['prefixes']} IPv6 prefixes, "
          f"{found[0]['next_hops']} next hops; medians of {args.rounds} alternating rounds, CPU time\n")
    print(f"  {'in flight':16}" + "".join(f"{v:>20}" for v in VARIANTS) + "   (Mpps, ns a packet)")
    for run_ in found:
        for family in ("ipv4", "ipv6"):
            rates = [statistics.median(run_[family]["packets_per_second"][v]) for v in VARIANTS]
            print(f"  {run_['in_flight']:<10}{family:6}" + "".join(f"{r / 1e6:12.1f} {1e9 / r:7.2f}" for r in rates))
    print()
    missed = False
    for run_ in found:
        for family in ("ipv4", "ipv6"):
            for (in_flight, this, that), required in REQUIRED.items():
                if in_flight == run_["in_flight"]:
                    is_share = share(run_[family]["packets_per_second"], this, that)
                    missed = missed or is_share < required
                    print(f"  {family}, {in_flight} in flight: {this} / {that} {is_share:.2f}, required {required:.2f}  "
                          f"{VERDICTS[is_share >= required]}")
    if args.json:
        with open(args.json, "w", encoding="utf-8") as out:
            json.dump(found, out, indent=1)
            out.write("\n")
    return 1 if missed else 0
