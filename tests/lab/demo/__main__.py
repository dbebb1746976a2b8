# SPDX-License-Identifier: BSD-3-Clause
"""Runs the router in the lab and shows, step by step, what it does."""

import argparse
import pathlib
import platform
import sys

from .. import router as router_module
from ..base import remove_kept
from ..netns import CommandError
from ..steps import Steps
from ..topology import EdgeLab
from . import exceptions, failure, firewall, sessions, tools, transit


def arguments():
    # tests/demo has checked these and tells of them; it always names the build directory.
    parser = argparse.ArgumentParser(prog="tests/demo")
    parser.add_argument("--keep", action="store_true")
    parser.add_argument("--clean", action="store_true")
    parser.add_argument("--json", metavar="FILE")
    parser.add_argument("--build-dir", metavar="DIR", type=pathlib.Path)
    return parser.parse_args()


PICTURE = """
  host-a ------- peer-a -------- [a0] edge [b0] -------- peer-b ------- host-b
  10.1.0.10      AS 65001        AS 65000, millrace      AS 65002       10.2.0.10
  2001:db8:1::10                                                   2001:db8:2::10"""


def show(lab, steps):
    with steps.step("BGP comes up across ports that carry the classifier, routes reach the fast path") as s:
        sessions.come_up(lab, s)
    if steps.failed:
        print("      the other steps build on this one: they were not tried", flush=True)
        return
    with steps.step("Transit traffic goes through the worker, without loss, right to the byte") as s:
        transit.steady(lab, s)
        transit.exact(lab, s)
    with steps.step("The kernel's tools work on the edge's ports") as s:
        tools.show(lab, s)
    with steps.step("Exceptions are answered by the kernel, from the right address") as s:
        exceptions.hops(lab, s)
        exceptions.too_big(lab, s)
        exceptions.no_route(lab, s)
        exceptions.first_packet(lab, s)
    with steps.step("peer-b withdraws a prefix and announces it again: the fast path follows") as s:
        sessions.withdraw(lab, s)
    with steps.step("A firewall rule is added under traffic and obeyed; deleted, and the fast path is back") as s:
        firewall.rule(lab, s)
    with steps.step("millraced is killed under 100,000 packets a second, and started again") as s:
        failure.kill(lab, s)


def how_to_enter(lab):
    r = lab.router
    edge, host = lab.netns["edge"].name, lab.netns["host-a"].name
    print(f"""
The lab {lab.name} stays up. As root:
  the edge's vtysh    vtysh -N {edge}
  millrace            {r.cli_bin} --socket {r.socket_path} show routes
  a host's shell      nsenter --net=/run/netns/{host} bash
  the edge's shell    nsenter --net=/run/netns/{edge} bash
  its logs            {lab.dir}
  remove it           tests/demo --clean""")


def main():
    args = arguments()
    if args.clean:
        names = remove_kept()
        print("removed: " + ", ".join(names) if names else "no lab was left up")
        return 0
    build = args.build_dir.resolve()
    if not (build / "dataplane" / "millraced").exists():
        print(f"error: no millraced in {build}: build it there, or leave out --build-dir", file=sys.stderr)
        return 2
    steps = Steps()
    lab = EdgeLab(build)
    try:
        lab.start()
        print(PICTURE, flush=True)
        show(lab, steps)
        steps.summary()
        for step in steps.failed:
            print(f"  {step.number}: {step.error}")
        if args.json:
            steps.write_json(args.json, {"kernel": platform.release(), "millraced":
                                         router_module.version(build)})
        # An interrupted or broken set-up is cleaned; what was asked to be kept is a lab that was shown.
        if args.keep:
            lab.mark_kept()
            how_to_enter(lab)
    except (CommandError, TimeoutError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    finally:
        if steps.failed and not args.keep:
            print("\nthe end of millraced's log:")
            print(lab.router.log_end(15))
        lab.close()
    return 1 if steps.failed or not steps.all else 0


if __name__ == "__main__":
    sys.exit(main())
