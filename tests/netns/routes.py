# SPDX-License-Identifier: BSD-3-Clause
"""Kinds of kernel routes, each looked at on the wire: where a packet comes out, and by whose hand."""

import collections
import contextlib
import sys

from lab.cases import Cases, build_dir, expect
from lab.netns import wait_until
from lab.star import Probe, StarLab, edge_address, host_address

V4, V6 = 4, 6


def target(n, version):
    """(prefix, an address in it)"""
    return (f"10.100.{n}.0/24", f"10.100.{n}.9") if version == V4 else \
        (f"2001:db8:{n}::/48", f"2001:db8:{n}::9")


class Moved:
    """How far each counter moved in a `with`."""

    def __init__(self, router):
        self.router = router

    def __enter__(self):
        self.before = self.router.settled_counters()
        return self

    def __exit__(self, *_):
        after = self.router.settled_counters()
        self.by = {k: v - self.before.get(k, 0) for k, v in after.items() if v != self.before.get(k, 0)}


def route(lab, version, *args):
    lab.edge.ip(f"-{version}", "route", *args)


@contextlib.contextmanager
def routed(lab, version, *args, **wanted):
    """The route is in the kernel and millrace shows it so, for as long as the `with` lasts."""
    route(lab, version, "add", *args)
    prefix = next(a for a in args if "/" in a)
    try:
        lab.router.wait_route(prefix, **wanted)
        yield
    finally:
        route(lab, version, "del", *args)
        lab.router.wait_no_route(prefix)


def comes_out(lab, probe, address, spoke, fast=True, **options):
    """One packet to the address comes out at the spoke, right to the byte; by the worker where fast."""
    with Moved(lab.router) as moved:
        where, frame = probe.send(address, **options)
    expect(where == spoke, f"a packet to {address} came out at {where} instead of {spoke}: {moved.by}")
    wrong = probe.wrong(spoke, frame)
    expect(not wrong, wrong)
    expect((moved.by.get("forwarded", 0) == 1) == fast, f"worker's counters: {moved.by}")
    return moved.by


def refused(lab, probe, address, reason, kind, code):
    """The edge's kernel answers with this ICMP error, and the worker counted the reason."""
    version = V6 if ":" in address else V4
    with Moved(lab.router) as moved:
        where, answer = probe.send(address)
    expect(where == "icmp", f"no ICMP error, the packet came out at {where}: {moved.by}")
    expect(answer[:2] == (kind, code), f"ICMP type {answer[0]} code {answer[1]}, not {kind} and {code}")
    expect(answer[2] == edge_address("a", version), f"the answer came from {answer[2]}")
    expect(moved.by.get(reason) == 1, f"worker's counters: {moved.by}")


def plain(cases, lab, probe):
    for version in (V4, V6):
        prefix, address = target(1, version)
        with cases.case(f"unicast, IPv{version}"):
            route(lab, version, "add", prefix, "via", host_address("b", version))
            lab.router.wait_route(prefix, outcome="forward")
            comes_out(lab, probe, address, "b")
        with cases.case(f"the longest prefix wins, IPv{version}"):
            longer = f"{address}/{32 if version == V4 else 128}"
            route(lab, version, "add", longer, "via", host_address("c", version))
            lab.router.wait_route(longer, outcome="forward")
            comes_out(lab, probe, address, "c")
            route(lab, version, "del", longer)
            lab.router.wait_no_route(longer)
            comes_out(lab, probe, address, "b")
        with cases.case(f"a better metric, and the worse one again, IPv{version}"):
            better = (prefix, "via", host_address("c", version), "metric", 1 if version == V6 else 0)
            worse = (prefix, "via", host_address("b", version), "metric", 2000)
            route(lab, version, "replace", *better)
            route(lab, version, "append" if version == V6 else "add", *worse)
            wait_until(lambda: probe.send(address)[0] == "c", "the better route is used", 3)
            comes_out(lab, probe, address, "c")
            route(lab, version, "del", *better)
            wait_until(lambda: probe.send(address)[0] == "b", "the worse route is used", 3)
            comes_out(lab, probe, address, "b")
            route(lab, version, "flush", prefix)
        with cases.case(f"withdrawn: no route, IPv{version}"):
            lab.router.wait_no_route(prefix)
            refused(lab, probe, address, "punt_no_route", *((3, 0) if version == V4 else (1, 0)))


def special(cases, lab, probe):
    for version in (V4, V6):
        prefix, address = target(2, version)
        with cases.case(f"blackhole: dropped without a word, IPv{version}"), \
                routed(lab, version, "blackhole", prefix, outcome="drop"):
            with Moved(lab.router) as moved:
                where, _ = probe.send(address)
            expect(where is None, f"it came out at {where}")
            expect(moved.by.get("drop_blackhole") == 1, f"worker's counters: {moved.by}")
        # The kernel answers for an unreachable IPv6 route with "no route", code 0.
        for kind, icmp in (("unreachable", ((3, 1), (1, 0))), ("prohibit", ((3, 13), (1, 1)))):
            with cases.case(f"{kind}: the kernel answers, IPv{version}"), \
                    routed(lab, version, kind, prefix, outcome="punt", reason="punt_unreachable"):
                refused(lab, probe, address, "punt_unreachable", *icmp[0 if version == V4 else 1])
        with cases.case(f"over a device that is no port: the kernel forwards it there, IPv{version}"), \
                routed(lab, version, prefix, "via", host_address("d", version), outcome="punt",
                       reason="punt_unmanaged"):
            moved = comes_out(lab, probe, address, "d", fast=False)
            expect(moved.get("punt_unmanaged") == 1, f"worker's counters: {moved}")


def multipath(cases, lab, probe):
    flows = 64
    for version in (V4, V6):
        prefix, address = target(3, version)
        with cases.case(f"two nexthops: both are used, a flow keeps to one, IPv{version}"):
            route(lab, version, "add", prefix, "nexthop", "via", host_address("b", version), "nexthop", "via",
                  host_address("c", version))
            lab.router.wait_route(prefix, outcome="forward")
            first, again = ([probe.send(address, sport=20000 + i)[0] for i in range(flows)] for _ in "12")
            share = collections.Counter(first)
            expect(set(share) == {"b", "c"}, f"{flows} flows went to {dict(share)}")
            expect(min(share.values()) >= flows // 8, f"{flows} flows were spread as {dict(share)}")
            expect(first == again, "a flow changed its way")
        with cases.case(f"the link of one of two nexthops goes down: all flows take the other, IPv{version}"):
            lab.netns["c"].ip("link", "set", "eth0", "down")
            try:
                def moved_over():
                    return all(probe.send(address, 0.3, sport=20000 + i)[0] == "b" for i in range(8))
                wait_until(moved_over, "the flows take the other nexthop", 5)
            finally:
                lab.netns["c"].ip("link", "set", "eth0", "up")
                host = lab.netns["c"]
                host.ip("-6", "addr", "replace", f"{host_address('c', 6)}/64", "dev", "eth0", "nodad")
                host.ip("route", "replace", "default", "via", edge_address("c"))
                host.ip("-6", "route", "replace", "default", "via", edge_address("c", 6))
                lab.resolve("c")
            lab.edge.ip(f"-{version}", "route", "flush", prefix)


def gateways(cases, lab, probe):
    prefix, address = target(6, V4)
    with cases.case("an IPv4 route over an IPv6 nexthop"), \
            routed(lab, V4, prefix, "via", "inet6", host_address("b", V6), "dev", "b0", outcome="forward"):
        comes_out(lab, probe, address, "b")
    prefix, address = target(7, V4)
    with cases.case("an onlink gateway outside of any prefix"):
        lab.netns["b"].ip("addr", "add", "172.31.7.7/32", "dev", "eth0")
        with routed(lab, V4, prefix, "via", "172.31.7.7", "dev", "b0", "onlink"):
            wait_until(lambda: probe.send(address)[0] == "b", "the gateway is resolved", 3)
            lab.router.wait_route(prefix, outcome="forward")
            comes_out(lab, probe, address, "b")


def main():
    cases = Cases("netns.routes")
    with StarLab(build_dir()) as lab:
        lab.start().start_router()
        lab.resolve("a", "b", "c")
        with Probe(lab) as probe:
            plain(cases, lab, probe)
            special(cases, lab, probe)
            multipath(cases, lab, probe)
            gateways(cases, lab, probe)
    return cases.finish()


if __name__ == "__main__":
    sys.exit(main())
