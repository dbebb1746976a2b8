# SPDX-License-Identifier: BSD-3-Clause
"""Benchmarks, each a subcommand; `forward` unless another is named."""

import argparse
import pathlib
import sys

from ..netns import CommandError
from . import engine, fib, firewall, forward, sync

COMMANDS = {"forward": forward, "engine": engine, "fib": fib, "sync": sync, "firewall": firewall}


def main():
    parser = argparse.ArgumentParser(prog="tests/bench", description="Measures the router.")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    for name, module in COMMANDS.items():
        sub = commands.add_parser(name, help=module.__doc__.split("\n", maxsplit=1)[0],
                                  description=module.__doc__)
        sub.add_argument("--build-dir", type=pathlib.Path, metavar="DIR",
                         help="use the programs in DIR: nothing is installed or built")
        sub.add_argument("--json", metavar="FILE", help="write all figures to FILE")
        module.arguments(sub)
    argv = sys.argv[1:]
    if not any(a in COMMANDS or a in ("-h", "--help") for a in argv):
        argv.insert(0, "forward")
    args = parser.parse_args(argv)
    try:
        return COMMANDS[args.command].run(args)
    except (CommandError, TimeoutError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
