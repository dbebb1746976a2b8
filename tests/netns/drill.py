# SPDX-License-Identifier: BSD-3-Clause
"""The shortened form of tests/drill: bad things happen under traffic and BGP, beside a router with the kernel alone."""

import argparse
import sys

from lab.cases import Cases, Skip, Stolen, build_dir
from lab.drill.__main__ import LOADS, chosen, one
from lab.drill.rig import Rig
from lab.drill.table import head, row

# What is worth seeing on a loaded machine, too, in the time there is.
LOADED = ("nothing happens", "kill -9", "30 busy loops")
# Milliseconds are measured, on machines that are not quiet: what is wrong misses each time. All misses are printed.
TRIES = 3


def settled(rig, drill, machine):
    for _ in range(TRIES):
        result = one(rig, drill, machine)
        print(row(result), flush=True)
        if result["result"] != "MISS":
            break
    return result


def main():
    cases = Cases("netns.drill")
    with Rig(build_dir()) as rig:
        print(head(), flush=True)
        for drill in chosen(argparse.Namespace(brief=True, only="", seconds=None)):
            for machine in LOADS:
                if machine == "loaded" and not drill.title.startswith(LOADED):
                    continue
                with cases.case(f"{drill.title}, {machine}", Stolen()):
                    result = settled(rig, drill, machine)
                    if result["result"] == "skip":
                        raise Skip(result["why"])
                    if result["result"] != "ok":
                        raise AssertionError(result["why"])
    return cases.finish()


if __name__ == "__main__":
    sys.exit(main())
