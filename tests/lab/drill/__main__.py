# SPDX-License-Identifier: BSD-3-Clause
"""Runs the drills and prints the table."""

import argparse
import contextlib
import dataclasses
import json
import os
import pathlib
import re
import sys
import time

from ..cases import Skip, Stolen
from ..load import Load
from ..netns import CommandError
from ..router import version
from . import table
from .catalogue import DRILLS
from .drill import run
from .rig import PPS, Rig

LOADS = {"quiet": contextlib.nullcontext, "loaded": Load}


def one(rig, drill, machine):
    """A drill on both routers: a dict with its outcomes, and what was missed."""
    result = {"drill": drill.title, "machine": machine, "required": drill.required, "result": "ok", "why": "", "note": ""}
    begin, stolen = time.monotonic(), Stolen()
    try:
        with LOADS[machine]():
            twin = rig.calm.get(machine) if drill.is_brief and not drill.twin_acts else None
            twin = twin or run(drill, rig.kernel)
            rig.calm.setdefault(machine, twin)
            mill = run(drill, rig.mill)
        result.update(twin=twin, mill=mill, note=drill.note(mill, twin))
        missed = list(drill.judge(mill, twin, machine == "loaded"))
        if mill.sessions:
            missed.append(f"{mill.sessions} BGP sessions went down")
        if missed and mill.figures["counts"]:
            missed.append(f"counted: {', '.join(f'{k} {v}' for k, v in mill.figures['counts'].items())}")
        result.update(result="MISS" if missed else "ok", why="; ".join(missed))
    except Skip as skip:
        result.update(result="skip", why=str(skip))
    except Exception as error:  # the next drill runs all the same
        kind = "" if isinstance(error, AssertionError) else f"{type(error).__name__}: "
        result.update(result="MISS", why=f"{kind}{error}")
    result["stolen"] = round(stolen.share(), 4)
    if result["result"] == "MISS" and stolen.share() > stolen.SHARE:
        result["why"] += f" (the hypervisor took {stolen.share():.0%} of the CPU time)"
    result["seconds"] = round(time.monotonic() - begin, 1)
    return result


def chosen(options):
    """The drills that match, in the order of the table."""
    found = [d(options.brief) for d in DRILLS if (d.brief or not options.brief) and re.search(options.only, d.title)]
    for drill in found:
        if options.seconds and drill.scales:
            drill.lasts = options.seconds
    return found


def drills(rig, options, told):
    """All of them; told: hears each row as it is there."""
    results, wanted = [], chosen(options)
    machines = ["quiet"] if options.quiet_only else list(LOADS)
    for number, drill in enumerate(wanted, 1):
        for machine in machines:
            if sys.stderr.isatty():
                print(f"  {number} of {len(wanted)}: {drill.title}, {machine} ...", end="\r", file=sys.stderr)
            results.append(one(rig, drill, machine))
            told(table.row(results[-1]))
    return results


def plain(result):
    return {k: dataclasses.asdict(v) if dataclasses.is_dataclass(v) else v for k, v in result.items()}


def arguments():
    parser = argparse.ArgumentParser(prog="tests/drill", description="Lets bad things happen to the router under traffic and "
                                     "BGP, beside one with the kernel alone, and prints what both lost.",
                                     epilog="Exits with 1 when a requirement is missed.")
    parser.add_argument("--only", metavar="REGEX", default="", help="only drills whose name matches")
    parser.add_argument("--quiet-only", action="store_true", help="not again on a loaded machine")
    parser.add_argument("--brief", action="store_true", help="a shorter form of fewer drills")
    parser.add_argument("--seconds", type=float, metavar="N", help="how long the traffic of a drill lasts, where it may be chosen")
    parser.add_argument("--list", action="store_true", help="the names of the drills")
    parser.add_argument("--json", metavar="FILE", help="write all figures to FILE")
    parser.add_argument("--markdown", metavar="FILE", help="write the table to FILE, as README has it")
    parser.add_argument("--build-dir", type=pathlib.Path, metavar="DIR",
                        help="use the programs in DIR: nothing is installed or built")
    return parser


def main():
    options = arguments().parse_args()
    if options.list:
        print("\n".join(d.title for d in DRILLS))
        return 0
    if not chosen(options):
        print(f"error: no drill's name matches '{options.only}'; --list tells them", file=sys.stderr)
        return 2
    begin = time.monotonic()
    try:
        with Rig(options.build_dir.resolve()) as rig:
            print(f"{2 * PPS:,} packets a second, half of them IPv6; lost: packets, of those between the BGP peers; "
                  f"{os.cpu_count()} cores, Linux {os.uname().release}, load {os.getloadavg()[0]:.1f}\n\n{table.head()}", flush=True)
            results = drills(rig, options, lambda text: print(text, flush=True))
    except (CommandError, TimeoutError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    missed = [r for r in results if r["result"] == "MISS"]
    skipped = [r for r in results if r["result"] == "skip"]
    print(f"\n{len(results)} rows, {len(missed)} missed, {len(skipped)} skipped, {time.monotonic() - begin:.0f} s")
    if options.json:
        document = {"millrace": version(options.build_dir), "kernel": os.uname().release, "cores": os.cpu_count(), "pps": 2 * PPS,
                    "date": time.strftime("%Y-%m-%d"), "load": os.getloadavg(), "rows": [plain(r) for r in results]}
        pathlib.Path(options.json).write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    if options.markdown:
        pathlib.Path(options.markdown).write_text(table.markdown(results) + "\n", encoding="utf-8")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
