# SPDX-License-Identifier: BSD-3-Clause
"""Nexthop objects, and what the kernel takes away without a message: in the kernel, in millrace's shows, on the wire."""

import contextlib
import sys

from lab.cases import Cases, build_dir, expect
from lab.netns import CommandError, wait_until
from lab.oracle.table import TableLab
from lab.oracle.twins import Twins, address
from lab.oracle.ways import IGNORE_LINKDOWN, Hop, Way, bring_back, link_down, others

B, C = Hop("p1"), Hop("p2")
OTHER = Hop("p1", 3)


def via(hop, version):
    return f"via {hop.gateway(version)} dev {hop.device}"


def kernel_has(lab, way):
    return bool(lab.twins.millrace.netns.ip_json(f"-{way.version}", "route", "show", "exact", way.prefix))


def objects_in_kernel(lab):
    return {n["id"] for n in lab.twins.millrace.netns.ip_json("nexthop", "show")}


@contextlib.contextmanager
def objects(lab, version, *lines):
    """Objects 1 over p1 and 2 over p2, and `ip` lines more; all objects and their routes are gone afterwards."""
    try:
        lab.twins.batch(f"nexthop add id 1 {via(B, version)}", f"nexthop add id 2 {via(C, version)}", *lines)
        yield
    finally:
        lab.twins.both("ip", "nexthop", "flush", check=False)
        wait_until(lambda: lab.twins.ask("sync")[0]["nexthop_objects"] == 0, "millrace has no objects left", 5)


@contextlib.contextmanager
def taken_back(lab, *ways):
    try:
        yield
    finally:
        for way in ways:
            lab.twins.both("ip", f"-{way.version}", "route", "flush", way.prefix)
        lab.twins.settle()


def refused(lab, *command):
    try:
        lab.twins.millrace.netns.ip(*command)
    except CommandError:
        return
    raise AssertionError(f"the kernel took: ip {' '.join(command)}")


def single(lab, v):
    way = Way(lab, v, 71)
    with objects(lab, v, f"route add {way.prefix} nhid 1"):
        way.goes(B)
        lab.twins.batch(f"nexthop replace id 1 {via(C, v)}")
        way.goes(C)
        lab.twins.batch(f"nexthop replace id 1 {via(OTHER, v)}")
        way.goes(OTHER)
        refused(lab, "nexthop", "replace", "id", "1", "group", "2")
        way.goes(OTHER)
        lab.twins.batch("nexthop del id 1")
        way.gone()
        expect(not kernel_has(lab, way), "the kernel kept the route")
        lab.exchange([("p0", next(iter(way.flows(1).values())))]).by(punt_no_route=1)


def group(lab, v):
    way = Way(lab, v, 72)
    with objects(lab, v, "nexthop add id 3 group 1,1/2,3", f"route add {way.prefix} nhid 3"):
        way.goes(B, Hop("p2", weight=3))
        lab.twins.batch("nexthop replace id 3 group 1,5/2,2")
        way.goes(Hop("p1", weight=5), Hop("p2", weight=2))
        refused(lab, "nexthop", "replace", "id", "3", *via(B, v).split())
        lab.twins.batch(f"nexthop replace id 2 {via(OTHER, v)}")
        way.goes(Hop("p1", weight=5), Hop("p1", 3, weight=2))
        lab.twins.batch("nexthop replace id 3 group 2")
        way.goes(OTHER)
        lab.twins.batch(f"nexthop replace id 2 {via(C, v)}", "nexthop replace id 3 group 1/2")
        way.goes(B, C)
        lab.twins.batch("nexthop del id 1")
        way.goes(C)
        lab.twins.batch("nexthop del id 3")
        way.gone()
        expect(not kernel_has(lab, way), "the kernel kept the route")


def last_member(lab, v):
    """A group goes with its last member, and its routes with it."""
    way = Way(lab, v, 73)
    with objects(lab, v, "nexthop add id 3 group 1", f"route add {way.prefix} nhid 3"):
        way.goes(B)
        lab.twins.batch("nexthop del id 1")
        way.gone()
        expect(not kernel_has(lab, way) and 3 not in objects_in_kernel(lab), "the kernel kept route or group")


def resilient(lab, v):
    way = Way(lab, v, 74)
    with objects(lab, v, "nexthop add id 3 group 1/2 type resilient buckets 64 idle_timer 0",
                 f"route add {way.prefix} nhid 3"):
        way.goes(B, C)
        lab.twins.batch("nexthop replace id 3 group 2 type resilient")
        way.goes(C)
        lab.twins.batch("nexthop replace id 3 group 1/2 type resilient")
        way.shown(B, C)
        lab.twins.batch("nexthop del id 2")
        way.goes(B)


def blackhole(lab, v):
    way, grouped = Way(lab, v, 75), Way(lab, v, 76)
    with objects(lab, v):
        lab.twins.both("ip", f"-{v}", "nexthop", "add", "id", 9, "blackhole")
        lab.twins.batch("nexthop add id 8 group 9", f"route add {way.prefix} nhid 9", f"route add {grouped.prefix} nhid 8")
        for each in (way, grouped):
            each.outcome("drop")
            lab.exchange([("p0", next(iter(each.flows(1).values())))]).is_nothing().by(drop_blackhole=1)
        lab.twins.batch(f"nexthop replace id 9 {via(C, v)}")
        way.goes(C)
        grouped.goes(C)
        # The route's own type is told anew in one mode only: its removal must be known again all the same.
        doubts = lab.twins.ask("sync")[0]["doubts"]
        lab.twins.batch(f"route del {way.prefix}")
        way.gone()
        expect(lab.twins.ask("sync")[0]["doubts"] == doubts, "the route was not known again when it was deleted")


def fdb(lab, v):
    way = Way(lab, v, 77)
    with objects(lab, v, f"nexthop add id 5 via {address('p1', v, 2)} fdb", "nexthop add id 6 group 5 fdb",
                 f"route add {way.prefix} nhid 1"):
        refused(lab, "route", "replace", way.prefix, "nhid", "5")
        way.goes(B)
        lab.twins.batch("nexthop del id 5")
        way.goes(B)


def other_family(lab):
    way, grouped = Way(lab, 4, 78), Way(lab, 4, 79)
    hops = [Hop("p1", version=6), Hop("p2", version=6)]
    with objects(lab, 6, "nexthop add id 3 group 1/2", f"route add {way.prefix} nhid 1",
                 f"route add {grouped.prefix} nhid 3"):
        way.goes(hops[0])
        grouped.goes(*hops)
        lab.twins.batch(f"nexthop add id 4 {via(C, 4)}", "nexthop replace id 3 group 1/4")
        grouped.goes(hops[0], C)
        refused(lab, "-6", "route", "add", "2001:db8:4f::/48", "nhid", "4")


def unmanaged_member(lab, v):
    """A member over a device that is no port: the kernel has the group, until the device is deleted without a word."""
    way = Way(lab, v, 80)
    lab.twins.batch("link add x0 type veth peer name x1", "link set x0 up", "link set x1 up",
                    "addr add 10.9.9.1/24 dev x0", "addr add 2001:db8:9:9::1/64 dev x0 nodad")
    gateway = "10.9.9.2" if v == 4 else "2001:db8:9:9::2"
    with objects(lab, v, f"nexthop add id 4 via {gateway} dev x0", "nexthop add id 3 group 1/2",
                 f"route add {way.prefix} nhid 3"):
        way.goes(B, C)
        lab.twins.batch("nexthop replace id 3 group 1/4")
        way.outcome("punt")
        lab.twins.both("ip", "link", "del", "x0")
        way.goes(B)
        expect(objects_in_kernel(lab) == {1, 2, 3}, "the kernel flushes the object of the deleted device")


def link_gone(lab, v, how, skip):
    """What goes with a link: objects and group members without a message, IPv4 routes too, IPv6 routes if so set."""
    plain, by_id, by_group, multipath = (Way(lab, v, n) for n in (81, 82, 83, 84))
    hops = " ".join(f"nexthop {via(h, v)}" for h in (B, C))
    sysctls = {"net__ipv6__route__skip_notify_on_dev_down": int(skip)} if v == 6 else {}
    with lab.twins.sysctls(**sysctls, **IGNORE_LINKDOWN[v]), taken_back(lab, plain, multipath), objects(
            lab, v, "nexthop add id 3 group 1/2,2", f"route add {by_id.prefix} nhid 2", f"route add {by_group.prefix} nhid 3",
            f"route add {plain.prefix} {via(C, v)}", f"route add {multipath.prefix} {hops}"):
        by_group.goes(B, Hop("p2", weight=2))
        multipath.goes(B, C)
        by_id.goes(C)
        resyncs = lab.twins.ask("sync")[0]["resyncs"]
        with link_down(lab, "p2", how) as fences:
            by_group.goes(B, fences=fences)
            by_id.gone()
            multipath.goes(B, fences=fences)
            if how == "down":
                plain.gone()
            else:
                expect(kernel_has(lab, plain), "the kernel keeps a route without an object when the carrier goes")
            expect(objects_in_kernel(lab) == {1, 3}, "the kernel flushes the object with its link")
            wait_until(lambda: lab.twins.ask("sync")[0]["nexthop_objects"] == 2, "millrace has two objects", 5)
            expect(lab.twins.ask("sync")[0]["resyncs"] > resyncs, "a dump told it: there is no message")
        by_group.goes(B)
        by_id.gone()
        lab.twins.batch(f"nexthop add id 2 {via(C, v)}", "nexthop replace id 3 group 1/2,2", f"route add {by_id.prefix} nhid 2",
                        f"route replace {plain.prefix} {via(C, v)}", f"route replace {multipath.prefix} {hops}")
        by_group.goes(B, Hop("p2", weight=2))
        by_id.goes(C)
        plain.goes(C)
        multipath.goes(B, C)


def down_and_up(lab, v):
    """Down and up at once: what is gone then must not be forwarded to, whatever comes back under its number."""
    by_id = Way(lab, v, 85)
    with objects(lab, v, f"route add {by_id.prefix} nhid 2"):
        by_id.goes(C)
        try:
            lab.twins.batch("link set p2 down", "link set p2 up", f"nexthop add id 2 {via(B, v)}")
            out = lab.exchange([("p0", next(iter(by_id.flows(1).values())))], fences=("p0", "p1", "u0"))
            expect("forwarded" not in out.moved, "forwarded by a route that the kernel does not have")
            by_id.gone()
        finally:
            bring_back(lab, "p2")


def address_removed(lab):
    """IPv4 routes go with the address that they have as source, and with the last address of their device."""
    by_id, plain, sourced = (Way(lab, 4, n) for n in (86, 87, 88))
    second = f"{address('p1', 4, 100)}/24"
    with taken_back(lab, plain, sourced), objects(
            lab, 4, f"addr add {second} dev p1", f"route add {by_id.prefix} nhid 2", f"route add {plain.prefix} {via(C, 4)}",
            f"route add {sourced.prefix} {via(B, 4)} src {address('p1', 4, 100)}"):
        by_id.goes(C)
        plain.goes(C)
        sourced.goes(B)
        lab.twins.batch(f"addr del {second} dev p1")
        sourced.gone()
        plain.goes(C)
        try:
            lab.twins.batch(f"addr del {address('p2', 4)}/24 dev p2")
            plain.gone()
            expect(not kernel_has(lab, plain), "the kernel kept the route")
            lab.exchange([("p0", next(iter(plain.flows(1).values())))], fences=others("p2")).by(punt_no_route=1)
            # The object stays, and its gateway is not resolved any more.
            expect(kernel_has(lab, by_id), "the kernel dropped the route by an object")
            by_id.shown()
        finally:
            bring_back(lab, "p2")
        by_id.goes(C)


def main():
    cases = Cases("netns.nexthops")
    with Twins(build_dir()) as twins:
        twins.start()
        lab = TableLab(twins)
        for mode in (0, 1):
            with twins.sysctls(net__ipv4__nexthop_compat_mode=mode):
                for v in (4, 6):
                    def case(title, function, *arguments, version=v, compat=mode):
                        with cases.case(f"{title}, IPv{version}, compat mode {compat}"):
                            function(lab, version, *arguments)
                    case("an object is replaced and deleted under its routes", single)
                    case("a group: weights, members, a member deleted, deleted under its routes", group)
                    case("a group goes with its last member", last_member)
                    case("a resilient group", resilient)
                    case("blackhole objects", blackhole)
                    case("fdb objects are none of ours", fdb)
                    case("a group with a member over no port, whose device is deleted", unmanaged_member)
                    case("link down takes objects and routes along", link_gone, "down", False)
                    case("carrier loss takes objects along", link_gone, "carrier", False)
                    case("down and up, and the number of an object is used again", down_and_up)
                with cases.case(f"IPv4 routes over IPv6 objects, compat mode {mode}"):
                    other_family(lab)
        for how in ("down", "carrier"):
            with cases.case(f"link {how}, IPv6 without a message (skip_notify_on_dev_down)"):
                link_gone(lab, 6, how, True)
        with cases.case("addresses removed: IPv4 routes go along"):
            address_removed(lab)
    return cases.finish()


if __name__ == "__main__":
    sys.exit(main())
