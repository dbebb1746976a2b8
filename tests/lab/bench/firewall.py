# SPDX-License-Identifier: BSD-3-Clause
"""What asking the kernel's firewall hooks costs the classifier, in nanoseconds a packet."""

import json
import platform
import statistics
import subprocess

from ..netns import CommandError

REQUIRED = {"no hooks": 20, "conntrack": 100}  # ns more than where the operator bypasses the firewall
VERDICTS = {True: "ok", False: "MISSED", None: ""}


def arguments(_parser):
    pass


def measure(args):
    done = subprocess.run([args.build_dir / "tests/benchmarks/bench-classifier"], stdout=subprocess.PIPE, text=True,
                          check=False)
    if done.returncode != 0:
        raise CommandError(f"bench-classifier failed ({done.returncode})")
    return json.loads(done.stdout)


def rows(found):
    """[(what, ns, more than bypassed, allowed, held)]; medians, the difference that of each round"""
    out = []
    for name, times in found.items():
        family, _, what = name.partition(" ")
        base = found.get(f"{family} bypassed")
        more = statistics.median(t - b for t, b in zip(times, base)) if base and times is not base else None
        allowed = REQUIRED.get(what)
        out.append((name, statistics.median(times), more, allowed, more <= allowed if allowed else None))
    return out


def run(args):
    found = measure(args)
    rounds = len(next(iter(found.values())))
    print(f"the classifier by BPF_PROG_TEST_RUN, Linux {platform.release()}: ns a packet, median of {rounds} rounds "
          "of all variants")
    print(f"  {'':24}{'ns':>7}{'more':>8}{'allowed':>9}")
    table = rows(found)
    for name, median, more, allowed, held in table:
        print(f"  {name:24}{median:7.0f}{'' if more is None else f'{more:+.0f}':>8}"
              f"{'' if allowed is None else allowed:>9}  {VERDICTS[held]}".rstrip())
    if args.json:
        with open(args.json, "w", encoding="utf-8") as file:
            json.dump(found, file, indent=1)
    return 1 if any(held is False for *_, held in table) else 0
