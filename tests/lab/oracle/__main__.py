# SPDX-License-Identifier: BSD-3-Clause
"""tests/conformance runs this as `python3 -m lab.oracle`."""

import argparse
import pathlib
import re
import sys

from ..netns import CommandError
from . import changes_run, random_run, rows, table  # noqa: F401  (rows registers the rows)

FRAMES = random_run.FRAMES


def main():
    parser = argparse.ArgumentParser(
        prog="tests/conformance",
        description="Sends the same frames through a router of the kernel alone and through one with millrace, and "
                    "compares all that leaves them: first every row of the table of behaviours, then random routes "
                    f"and {FRAMES} random frames. A difference is printed decoded, with what repeats it.",
        epilog="examples: tests/conformance --rows 'row 1[56]:'   tests/conformance --random 1000000   "
               "tests/conformance --random 20000 --seed 17")
    parser.add_argument("--rows", metavar="REGEX", help="only the rows whose name matches; no random frames")
    parser.add_argument("--random", type=int, metavar="FRAMES", help="only random frames, so many")
    parser.add_argument("--changes", type=int, metavar="STEPS",
                        help="only random changes of routes, addresses, links and ports, so many; by hand: 20000, 15 minutes")
    parser.add_argument("--first", type=int, metavar="CHUNK", default=0,
                        help="begin the changes with this chunk of the seed's")
    parser.add_argument("--seed", type=int, metavar="N", help="the random run's seed; without it a new one, printed")
    parser.add_argument("--generic", action="store_true", help="attach the classifier in generic XDP mode")
    parser.add_argument("--list", action="store_true", help="print the rows' names")
    parser.add_argument("--build-dir", type=pathlib.Path, metavar="DIR", default="build",
                        help="use the programs in DIR: nothing is installed or built")
    args = parser.parse_args()
    if args.list:
        print("\n".join(each.name for each in table.chosen(args.rows or ".")))
        return 0
    if args.random is not None and args.random < 1:
        parser.error("--random must be at least 1")
    if args.changes is not None and args.changes < 1:
        parser.error("--changes must be at least 1")
    try:
        if args.rows and not table.chosen(args.rows):
            parser.error(f"--rows: no row matches '{args.rows}'; --list prints their names")
    except re.error as error:
        parser.error(f"--rows: {error}")
    build = args.build_dir.resolve()
    failed = 0
    try:
        if args.changes is not None:
            return changes_run.run(build, args.changes, args.seed, args.generic, args.first)
        if args.rows or args.random is None:
            failed |= table.run(build, args.rows or ".", args.generic)
        if args.random is not None or not args.rows:
            failed |= random_run.run(build, args.random or FRAMES, args.seed, args.generic)
    except (CommandError, TimeoutError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return failed


if __name__ == "__main__":
    sys.exit(main())
