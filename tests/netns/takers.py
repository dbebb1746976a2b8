# SPDX-License-Identifier: BSD-3-Clause
"""Devices above a port that take its frames before they are routed, in whatever namespace: their guests get them."""

import contextlib
import sys

from lab.cases import Cases, Skip, build_dir, expect
from lab.keeping import Bench
from lab.netns import CommandError, wait_until
from lab.star import Probe, StarLab, host_address

V4, V6 = 4, 6
ADDRESS = {V4: "10.100.1.9", V6: "2001:db8:101::9"}


@contextlib.contextmanager
def device(lab, kind, *options, box=False, up=True):
    """A device of that kind on a0, perhaps in another namespace, which millrace has no messages from."""
    args = ("link", "add", "link", "a0", "name", "guest", *(["netns", lab.netns["box"].name] if box else []),
            "type", kind, *options)
    try:
        lab.edge.ip(*args)
    except CommandError as error:
        if "Unknown device type" in str(error) or "not supported" in str(error):
            raise Skip(f"this kernel has no {kind}") from error
        raise
    home = lab.netns["box"] if box else lab.edge
    try:
        if up:
            home.ip("link", "set", "guest", "up")
        yield home
    finally:
        home.ip("link", "del", "guest")


def at_once(bench, v, spoke):
    """The very next packet is not the fast path's, and comes out where the kernel sends it."""
    where, _, moved = bench.sent(ADDRESS[v], seconds=0.4)
    expect(not moved, f"the worker had it: {moved}")
    expect(where == spoke, f"it came out at {where}")


def taken(bench, text):
    rows = [("a0", "all", text)]
    wait_until(lambda: bench.rows("taken") == rows, f"shown: {text}", 2)


def back(bench):
    wait_until(lambda: not bench.rows("taken"), "the row goes", 2)
    for v in (V4, V6):
        bench.fast(ADDRESS[v])


def main():
    cases = Cases("netns.takers")
    with StarLab(build_dir()) as lab:
        lab.start()
        lab.add_netns("box")
        for v, prefix in ((V4, "10.100.1.0/24"), (V6, "2001:db8:101::/48")):
            lab.edge.ip(f"-{v}", "route", "add", prefix, "via", host_address("b", v))
        lab.start_router()
        lab.resolve("a", "b")
        with Probe(lab) as probe:
            bench = Bench(lab, probe)
            for v in (V4, V6):
                bench.fast(ADDRESS[v])
            for box in (False, True):
                where = "in another namespace" if box else "beside the port"
                for kind in ("macvlan", "macvtap"):
                    with cases.case(f"{kind} passthru, {where}: its guest gets all, from the first packet on"):
                        with device(lab, kind, "mode", "passthru", box=box):
                            for v in (V4, V6):  # beside the port, the guest is the router itself, and routes
                                at_once(bench, v, None if box else "b")
                            taken(bench, "a macvlan or macvtap in mode passthru takes its frames")
                        back(bench)
                with cases.case(f"macvlan source, {where}: the kernel's, from the first packet on"):
                    with device(lab, "macvlan", "mode", "source", box=box) as home:
                        home.ip("link", "set", "guest", "type", "macvlan", "macaddr", "add", probe.a_mac)
                        for v in (V4, V6):
                            at_once(bench, v, "b")
                        taken(bench, "a macvlan or macvtap in mode source takes its frames")
                    back(bench)
                for mode in ("bridge", "private", "vepa"):
                    with cases.case(f"macvlan {mode}, {where}: transit to the port's own MAC stays fast"):
                        with device(lab, "macvlan", "mode", mode, box=box):
                            def fast():
                                return bench.sent(ADDRESS[V4])[2].get("forwarded")
                            wait_until(fast, "it is judged", 2)
                            bench.fast(ADDRESS[V6])
                            expect(not bench.rows("taken"), f"{bench.rows('taken')}")
                        back(bench)
            with cases.case("a macvlan that is switched to source"):
                with device(lab, "macvlan", "mode", "bridge", box=True) as home:
                    wait_until(lambda: bench.sent(ADDRESS[V4])[2].get("forwarded"), "it is judged", 2)
                    home.ip("link", "set", "guest", "type", "macvlan", "mode", "source")
                    at_once(bench, V4, "b")
                    taken(bench, "a macvlan or macvtap in mode source takes its frames")
                back(bench)
            with cases.case("a source macvlan beside a bridge one"):
                with device(lab, "macvlan", "mode", "bridge", box=True):
                    wait_until(lambda: bench.sent(ADDRESS[V4])[2].get("forwarded"), "it is judged", 2)
                    lab.edge.ip("link", "add", "link", "a0", "name", "second", "type", "macvlan", "mode", "source")
                    try:
                        at_once(bench, V4, "b")
                        taken(bench, "a macvlan or macvtap in mode source takes its frames")
                    finally:
                        lab.edge.ip("link", "del", "second")
                back(bench)
            with cases.case("ipvlan in another namespace"):
                with device(lab, "ipvlan", "mode", "l2", box=True):
                    at_once(bench, V4, "b")
                    taken(bench, "an ipvlan or ipvtap takes its frames")
                back(bench)
            with cases.case("the classifier counts them by a reason of their own"):
                counted = lab.router.steering().get("taken", 0)
                expect(counted > 0,  # then the row keeps them, within milliseconds
                       f"{counted} packets")
    return cases.finish()


if __name__ == "__main__":
    sys.exit(main())
