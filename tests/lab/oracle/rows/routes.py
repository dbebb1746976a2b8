# SPDX-License-Identifier: BSD-3-Clause
"""Rows 24 and 38 to 43: kinds of routes, and what becomes of a prefix when they change."""

import collections
import os
import random

from ...cases import expect
from ..exchange import forwarded, icmp_error, transit
from ..table import row
from ..twins import UNMANAGED, behind, host_mac
from ..ways import FLOWS, Hop, Way

B, C = Hop("p1"), Hop("p2")
SEED = int(os.environ.get("MILLRACE_TEST_SEED", str(random.SystemRandom().randrange(1 << 32))), 0)


def via(hop, version):
    return f"via {hop.gateway(version)} dev {hop.device}"


@row(24, "order within a flow is kept; ECMP choice is stable, follows the weights, and takes a datagram's fragments one way")
def order_and_choice(lab, v):
    way = Way(lab, v, 24)
    hops = (Hop("p1"), Hop("p2", weight=3))
    with lab.twins.routed(f"{way.prefix} " + " ".join(f"nexthop {via(h, v)} weight {h.weight}" for h in hops)):
        way.goes(*hops)
        _, first, _ = way.spread(400)
        _, again, out = way.spread(400)
        out.by(forwarded=400)
        expect(first == again, "flows changed their way")
        share = collections.Counter(first.values())["p2", 2] / 400
        expect(abs(share - 0.75) < 0.02 + 5 * (0.75 * 0.25 / 400) ** 0.5, f"weight 3 of 4 has {share:.3f} of the flows")
        # Ten flows in turn, 40 packets of each.
        lab.exchange.member_of = way.member_of
        try:
            sends = [("p0", transit(v, source=behind("p0", v, 10 + i % 10), destination=way.to, size=20 + i // 10))
                     for i in range(400)]
            out = lab.exchange(sends).by(forwarded=400)
        finally:
            lab.exchange.member_of = lambda link, frame: None
        source = slice(26, 30) if v == 4 else slice(22, 38)
        flows = collections.defaultdict(list)
        for _, frame in out.left_millrace:
            flows[frame[source]].append(len(frame))
        expect(len(flows) == 10 and all(sizes == sorted(sizes) for sizes in flows.values()), "the order is another")
        fragments_one_way(way)


def fragments_one_way(way):
    ways = way.ways_of_fragments(40, 24)
    expect(all(len(taken) == 1 for taken in ways), "the fragments of a datagram took two ways")
    expect(len(set().union(*ways)) == 2, "all datagrams took one way")


@row(38, "blackhole: silent drop, counted; unreachable, prohibit: the kernel answers")
def no_way(lab, v):
    errors = {"unreachable": (3, 1), "prohibit": (3, 13)} if v == 4 else {"unreachable": (1, 0), "prohibit": (1, 1)}
    ways = {kind: Way(lab, v, 38 + i) for i, kind in enumerate(("blackhole", *errors))}
    with lab.twins.routed(*(f"{kind} {way.prefix}" for kind, way in ways.items())):
        frames = {kind: next(iter(way.flows(1).values())) for kind, way in ways.items()}
        out = lab.exchange([("p0", frames["blackhole"])])
        out.is_nothing().by(drop_blackhole=1)
        for kind, error in errors.items():
            out = lab.exchange([("p0", frames[kind])])
            out.is_exactly(icmp_error(frames[kind], "p0", *error)).by(punt_unreachable=1)


@row(39, "a route over a netdev that millrace does not manage: the kernel forwards it there")
def unmanaged(lab, v):
    plain, mixed, on_link = Way(lab, v, 39), Way(lab, v, 49), Way(lab, v, 59)
    with lab.twins.routed(f"{plain.prefix} {via(Hop(UNMANAGED), v)}", f"{on_link.prefix} dev {UNMANAGED}",
                          f"{mixed.prefix} nexthop {via(B, v)} nexthop {via(Hop(UNMANAGED), v)}"):
        frame = next(iter(plain.flows(1).values()))
        lab.exchange([("p0", frame)]).is_exactly(forwarded(frame, UNMANAGED)).by(punt_unmanaged=1)
        # Of several, one over such a netdev: the kernel has them all.
        mixed.goes_on_the_wire(B, Hop(UNMANAGED), by="punt_unmanaged")
        neighbour = f"neigh replace {on_link.to} lladdr {host_mac(UNMANAGED)} nud permanent dev {UNMANAGED}"
        with lab.twins.changed(neighbour, undo=[f"neigh del {on_link.to} dev {UNMANAGED}"]):
            frame = next(iter(on_link.flows(1).values()))
            lab.exchange([("p0", frame)]).is_exactly(forwarded(frame, UNMANAGED)).by(punt_unmanaged=1)


@row(40, "several metrics of one prefix, replace, append, prepend, change, delete: the kernel's choice at every step")
def metrics(lab, v):
    way, draw = Way(lab, v, 40), random.Random(SEED + v)
    hops = [Hop("p1", 2), Hop("p1", 3), Hop("p2", 2), Hop("p2", 3), Hop(UNMANAGED, 2)]
    print(f"row 40, IPv{v}: seed {SEED} (MILLRACE_TEST_SEED)", flush=True)
    done = []
    try:
        for _ in range(60):
            done.append(_random_change(way, draw, hops))
            lab.twins.batch(done[-1], force=True)
            kernel, millrace, out = way.spread()
            expect(set(kernel.values()) == set(millrace.values()),
                   f"the kernel sends to {set(kernel.values())}, millrace to {set(millrace.values())}")
            expect(len(kernel) in (0, FLOWS), f"{len(kernel)} of {FLOWS} flows came out")
            if kernel and not any(device == UNMANAGED for device, _ in kernel.values()):
                out.by(forwarded=FLOWS)
    except AssertionError as error:
        raise AssertionError(f"seed {SEED}, after {'; '.join(done)}: {error}") from error
    finally:
        lab.twins.both("ip", f"-{v}", "route", "flush", "exact", way.prefix)
        lab.twins.settle()


def _random_change(way, draw, hops):
    verb = draw.choice(("add", "append", "prepend", "replace", "replace", "change", "del", "del"))
    kind = draw.choice((*["hop"] * 8, "hops", "blackhole", "unreachable"))
    # 0 is the kernel's own default for IPv4; for IPv6 it stands for 1024.
    metric = draw.choice((0, 10, 20))
    target = f"{way.prefix} metric {metric}" if metric else way.prefix
    if kind == "hop":
        return f"route {verb} {target} {via(draw.choice(hops), way.version)}"
    if kind == "hops":
        return f"route {verb} {target} " + " ".join(f"nexthop {via(h, way.version)}" for h in draw.sample(hops[:4], 2))
    # Not at one metric with IPv6 gateways: a dump leaves out what the kernel has between two paths of a multipath route,
    # so nobody can tell what it will do when the first of them goes. millrace leaves such a prefix to the kernel.
    return f"route {verb} {kind} {target if way.version == 4 else f'{way.prefix} metric 5'}"


@row(41, "nexthop objects and groups: add, replace, weights, delete, group member loss")
def objects(lab, v):
    single, group = Way(lab, v, 41), Way(lab, v, 51)
    try:
        lab.twins.batch(f"nexthop add id 1 {via(B, v)}", f"nexthop add id 2 {via(C, v)}", "nexthop add id 3 group 1,3/2",
                        f"route add {single.prefix} nhid 1", f"route add {group.prefix} nhid 3")
        single.goes(B)
        group.goes(Hop("p1", weight=3), C)
        lab.twins.batch(f"nexthop replace id 1 {via(Hop('p1', 4), v)}", "nexthop replace id 3 group 1/2,2")
        single.goes(Hop("p1", 4))
        group.goes(Hop("p1", 4), Hop("p2", weight=2))
        lab.twins.batch("nexthop del id 1")
        single.gone()
        group.goes(Hop("p2", weight=2))
        frame = next(iter(single.flows(1).values()))
        lab.exchange([("p0", frame)]).is_exactly(icmp_error(frame, "p0", *((3, 0) if v == 4 else (1, 0))))
        lab.twins.batch("nexthop del id 3")
        group.gone()
    finally:
        lab.twins.both("ip", "nexthop", "flush", check=False)
        lab.twins.settle()


@row(42, "gateway of the other family: IPv4 over an IPv6 nexthop", versions=(4,))
def other_family(lab, v):
    plain, several, on_link_local = Way(lab, v, 42), Way(lab, v, 52), Way(lab, v, 62)
    six = [Hop("p1", version=6), Hop("p2", version=6)]
    with lab.twins.changed(f"neigh replace fe80::99 lladdr {host_mac('p2', 9)} nud permanent dev p2",
                           undo=["neigh del fe80::99 dev p2"]), lab.twins.routed(
            f"{plain.prefix} via inet6 {six[0].gateway(6)} dev p1", f"{on_link_local.prefix} via inet6 fe80::99 dev p2",
            f"{several.prefix} nexthop via inet6 {six[0].gateway(6)} dev p1 nexthop {via(C, 4)}"):
        plain.goes(six[0])
        several.goes(six[0], C)
        on_link_local.goes_on_the_wire(Hop("p2", 9))


@row(43, "an on-link gateway outside of any prefix")
def onlink(lab, v):
    way = Way(lab, v, 43)
    gateway = "172.31.7.7" if v == 4 else "2001:db8:ffff::7"
    with lab.twins.changed(f"neigh replace {gateway} lladdr {host_mac('p1', 7)} nud permanent dev p1",
                           undo=[f"neigh del {gateway} dev p1"]), \
            lab.twins.routed(f"{way.prefix} via {gateway} dev p1 onlink"):
        way.goes_on_the_wire(Hop("p1", 7))
