# SPDX-License-Identifier: BSD-3-Clause
"""2000 flows over several next hops: shares by weight, a flow keeps its way, and when a next hop goes only its flows move."""

import collections
import contextlib
import sys

from lab import frames as f
from lab.cases import Cases, build_dir, expect
from lab.oracle.exchange import transit
from lab.oracle.table import TableLab
from lab.oracle.twins import Twins, behind
from lab.oracle.ways import IGNORE_LINKDOWN, Hop, Way, bring_back, carrier, others, sent_to

FLOWS, CHUNK = 2000, 500
HOPS = (Hop("p1", 2, 1), Hop("p1", 3, 2), Hop("p2", 2, 1))
LOST = ("p2", 2)


def hop_text(hop, version):
    return f"nexthop via {hop.gateway(version)} dev {hop.device} weight {hop.weight}"


def multipath(way, hops):
    return f"{way.prefix} {' '.join(hop_text(h, way.version) for h in hops)}"


def chosen(way, **options):
    """{source port: (device, host)} of all flows; each was forwarded by the worker, and out of both routers."""
    out = {}
    for first in range(0, FLOWS, CHUNK):
        for _ in range(5):
            _, millrace, outcome = way.spread(CHUNK, first, **options)
            # On a machine so busy that the heartbeat is late, the kernel has them: its choice is another.
            if "stale_heartbeat" not in outcome.moved:
                break
        outcome.by(forwarded=CHUNK)
        out.update(millrace)
    expect(len(out) == FLOWS, f"{len(out)} flows of {FLOWS} came out")
    return out


def follows_weights(choice, hops):
    share = collections.Counter(choice.values())
    total = sum(h.weight for h in hops)
    for h in hops:
        # 2 %, and five standard deviations of drawing 2000 flows.
        part, seen = h.weight / total, share[h.device, h.host] / FLOWS
        allowed = 0.02 + 5 * (part * (1 - part) / FLOWS) ** 0.5
        expect(abs(seen - part) < allowed, f"{h} has {seen:.3f} of the flows instead of {part:.3f}")


def only_its_flows_moved(before, after, lost=LOST):
    moved = {s for s in before if after[s] != before[s]}
    expect(all(before[s] == lost for s in moved), f"{sum(before[s] != lost for s in moved)} flows of others moved")
    expect(lost not in after.values(), "flows still go to the lost next hop")
    expect(len(set(after[s] for s in moved)) > 1, "all of its flows went to one of the others")


@contextlib.contextmanager
def objects(lab, version):
    lab.twins.batch(*(f"nexthop add id {i} via {h.gateway(version)} dev {h.device}" for i, h in enumerate(HOPS, 1)),
                    "nexthop add id 10 group 1,1/2,2/3,1", "nexthop add id 11 group 2,2/1,1")
    try:
        yield
    finally:
        lab.twins.both("ip", "nexthop", "flush", check=False)
        lab.twins.settle()


def shares(lab, v):
    way, by_group = Way(lab, v, 91), Way(lab, v, 92)
    two = (Hop("p1"), Hop("p2", weight=3))
    with lab.twins.routed(multipath(way, two)):
        first = chosen(way.shown(*two))
        follows_weights(first, two)
        expect(chosen(way) == first, "flows changed their way although nothing changed")
    with objects(lab, v):
        lab.twins.batch(f"route add {by_group.prefix} nhid 10")
        follows_weights(chosen(by_group.shown(*HOPS)), HOPS)


def removed_from_route(lab, v):
    """By another announcement of the route, and for IPv6 by deleting a path of it."""
    way = Way(lab, v, 93)
    with lab.twins.routed(multipath(way, HOPS)):
        before = chosen(way.shown(*HOPS))
        lab.twins.batch(f"route replace {multipath(way, HOPS[:2])}")
        only_its_flows_moved(before, chosen(way.shown(*HOPS[:2])))
        lab.twins.batch(f"route replace {multipath(way, HOPS)}")
        expect(chosen(way.shown(*HOPS)) == before, "not all flows came back, and nothing else")
        if v == 6:
            lab.twins.batch(f"route del {way.prefix} via {HOPS[2].gateway(v)} dev p2")
            only_its_flows_moved(before, chosen(way.shown(*HOPS[:2])))


def removed_from_group(lab, v):
    """By a change of the object, by deleting the member, and by moving the route to another object that was there."""
    way = Way(lab, v, 94)
    with objects(lab, v):
        lab.twins.batch(f"route add {way.prefix} nhid 10")
        before = chosen(way.shown(*HOPS))
        for lose, restore in ((["nexthop replace id 10 group 1,1/2,2"], ["nexthop replace id 10 group 3,1/1,1/2,2"]),
                              ([f"route replace {way.prefix} nhid 11"], [f"route replace {way.prefix} nhid 10"]),
                              (["nexthop del id 3"], [f"nexthop add id 3 via {HOPS[2].gateway(v)} dev p2",
                                                      "nexthop replace id 10 group 1,1/2,2/3,1"])):
            lab.twins.batch(*lose)
            only_its_flows_moved(before, chosen(way.shown(*HOPS[:2])))
            lab.twins.batch(*restore)
            expect(chosen(way.shown(*HOPS)) == before, f"after {lose}: not all flows came back, and nothing else")


def link_lost(lab, v, how):
    by_route, by_group = Way(lab, v, 95), Way(lab, v, 96)
    with lab.twins.sysctls(**IGNORE_LINKDOWN[v]), objects(lab, v), lab.twins.routed(multipath(by_route, HOPS)):
        lab.twins.batch(f"route add {by_group.prefix} nhid 10")
        before = [chosen(way.shown(*HOPS)) for way in (by_route, by_group)]
        try:
            if how == "down":
                lab.twins.both("ip", "link", "set", "p2", "down")
            else:
                carrier(lab, "p2", False)
            for way, was in zip((by_route, by_group), before):
                only_its_flows_moved(was, chosen(way.shown(*HOPS[:2]), fences=others("p2")))
        finally:
            bring_back(lab, "p2")
        lab.twins.batch(f"nexthop add id 3 via {HOPS[2].gateway(v)} dev p2", "nexthop replace id 10 group 1,1/2,2/3,1",
                        f"route replace {multipath(by_route, HOPS)}")
        for way, was in zip((by_route, by_group), before):
            expect(chosen(way.shown(*HOPS)) == was, "not all flows came back, and nothing else")


def restarted(lab, v):
    way = Way(lab, v, 97)
    with lab.twins.routed(multipath(way, HOPS)):
        before = chosen(way.shown(*HOPS))
        lab.twins.router.stop()
        lab.twins.router.start()
        lab.twins.settle()
        expect(chosen(way.shown(*HOPS)) == before, "flows take another way after a restart")


def fragments(lab, v):
    """First, middle and last fragments of a datagram go one way, though only the first has ports."""
    way = Way(lab, v, 98)
    with lab.twins.routed(multipath(way, HOPS)):
        way.shown(*HOPS)
        ways = way.ways_of_fragments(150, 40)
        expect(all(len(taken) == 1 for taken in ways), "fragments of one datagram took several ways")
        expect(len(set().union(*ways)) == len(HOPS), "the datagrams are not spread")


def errors(lab, v):
    """Both routers send an ICMP error to the member that has the flow, whichever way the quoted packet was going."""
    way, count, router = Way(lab, v, 99), 100, behind("p0", v, 250)
    with lab.twins.routed(multipath(way, HOPS)):
        kernel, millrace, _ = way.shown(*HOPS).spread(count)
        expect(len(set(millrace.values())) == len(HOPS), "the flows are not spread")
        for kind in (3, 11) if v == 4 else (1, 2, 3):
            for answer in (True, False):
                frames = []
                for port in millrace:
                    client = behind("p0", v, 10 + (port - 20000) % 200)
                    there = (client, way.to, f.UDP, f.udp(client, way.to, port, 9, bytes(30)))
                    back = (way.to, client, f.UDP, f.udp(way.to, client, 9, port, bytes(30)))
                    # The number says which flow it is about: where an error has its unused field or its MTU.
                    body = bytes((kind, 0, 0, 0)) + port.to_bytes(4, "big") + f.packet(*(back if answer else there))[1]
                    message = f.icmp4(body) if v == 4 else f.icmp6(router, way.to, body)
                    frames.append(("p0", transit(v, source=router, destination=way.to, payload=message,
                                                 protocol=f.ICMP if v == 4 else f.ICMP6)))
                lab.exchange.member_of = way.member_of
                try:
                    out = lab.exchange(frames).by(forwarded=count)
                finally:
                    lab.exchange.member_of = lambda link, frame: None
                at = 38 if v == 4 else 58
                for name, flows, left in (("kernel", kernel, out.left), ("millrace", millrace, out.left_millrace)):
                    went = {int.from_bytes(frame[at:at + 4], "big"): sent_to(link, frame) for link, frame in left}
                    astray = sum(went[port] != flows[port] for port in flows)
                    expect(len(went) == count and not astray, f"type {kind}, about {'an answer' if answer else 'a packet'}"
                           f" of a flow: {astray} of {len(went)} go to another member than the flow in the {name} router")


def main():
    cases = Cases("netns.ecmp")
    with Twins(build_dir()) as twins:
        twins.start()
        lab = TableLab(twins)
        for v in (4, 6):
            for title, function, *arguments in (
                    ("shares follow the weights, and flows stay", shares),
                    ("a path of a route goes and comes back", removed_from_route),
                    ("a member of a group goes and comes back", removed_from_group),
                    ("the link of a member goes down and up", link_lost, "down"),
                    ("the link of a member loses its carrier", link_lost, "carrier"),
                    ("the daemon is started again", restarted),
                    ("fragments of a datagram take one path", fragments),
                    ("ICMP errors meet the flow that they are about", errors)):
                with cases.case(f"{title}, IPv{v}"):
                    function(lab, v, *arguments)
    return cases.finish()


if __name__ == "__main__":
    sys.exit(main())
