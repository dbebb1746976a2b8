# SPDX-License-Identifier: BSD-3-Clause
"""Rows 6, 7, 23, 36 and 46: where a packet goes, and what comes of it when it can't go there."""

import contextlib
import ipaddress

from ... import frames as f
from ...cases import expect
from ...netns import wait_until
from ..exchange import forwarded, icmp_error, transit
from ..table import row
from ..twins import address, behind, host_mac

NO_ROUTE = {4: (3, 0), 6: (1, 0)}
SILENT = 50  # a host number that is no permanent neighbour


@row(6, "the longest prefix wins, the default last; no route: Destination Unreachable, code 0")
def longest_prefix(lab, v):
    if v == 4:
        default, inside = "0.0.0.0/0", "172.16.5.77"
        nested = ("172.16.0.0/12", "172.16.0.0/15", "172.16.4.0/23", "172.16.5.0/24", "172.16.5.64/26",
                  "172.16.5.76/31", "172.16.5.77/32")
        outside = "203.0.113.9"
    else:
        default, inside = "::/0", "2001:db8:4000::77"
        nested = ("2001:db8:4000::/34", "2001:db8:4000::/48", "2001:db8:4000::/63", "2001:db8:4000::/64",
                  "2001:db8:4000::/65", "2001:db8:4000::76/127", f"{inside}/128")
        outside = "2001:db8:ffff::9"
    # Each prefix has a next hop of its own, on two ports in turn.
    hops = [(("p1", "p2")[i % 2], 3 + i // 2) for i in range(len(nested) + 1)]
    prefixes = (default, *nested)
    probes = {outside, inside}
    for prefix in map(ipaddress.ip_network, nested):
        for at in (prefix.network_address, prefix.broadcast_address):
            probes |= {str(at)} | {str(at + d) for d in (-1, 1)}
    longer_by = {}
    # A source for each: the kernel's limit on errors about missing routes (route.error_cost) is one for a source.
    frames = {to: transit(v, destination=to, source=behind("p0", v, 10 + i)) for i, to in enumerate(sorted(probes))}
    for to in frames:
        best = max((i for i, p in enumerate(prefixes) if ipaddress.ip_address(to) in ipaddress.ip_network(p)),
                   key=lambda i: ipaddress.ip_network(prefixes[i]).prefixlen)
        longer_by[to] = hops[best]
    with lab.twins.routed(*(f"{p} via {address(d, v, h)}" for p, (d, h) in zip(prefixes, hops))):
        out = lab.exchange([("p0", frame) for frame in frames.values()])
        out.is_exactly(*(forwarded(frame, *longer_by[to]) for to, frame in frames.items()))
        out.by(forwarded=len(frames))
    out = lab.exchange([("p0", frame) for frame in frames.values()])
    out.is_exactly(*(icmp_error(frame, "p0", *NO_ROUTE[v]) for frame in frames.values()))
    out.by(punt_no_route=len(frames))


@contextlib.contextmanager
def unresolved(lab, v, host):
    """A host of p1's link that has no neighbour entry yet. It is given up after 300 ms."""
    neigh = f"net__ipv{v}__neigh__p1__"
    with lab.twins.sysctls(**{neigh + "mcast_solicit": 1, neigh + "retrans_time_ms": 300}):
        try:
            yield address("p1", v, host)
        finally:
            lab.twins.both("ip", "neigh", "del", address("p1", v, host), "dev", "p1", check=False)
            lab.twins.settle()


def answers(lab, v, host):
    """The host is there. What the kernels asked before, and nobody answered, has been given up when this returns: it
    would take along what waits for it by then."""
    to = address("p1", v, host)
    for twin in lab.twins.twins.values():
        twin.wire.hosts["w1", ipaddress.ip_address(to).packed] = host_mac("p1", host)

    def asks():
        return any("INCOMPLETE" in entry.get("state", ()) for twin in lab.twins.twins.values()
                   for entry in twin.netns.ip_json("neigh", "show", "to", to, "dev", "p1"))
    wait_until(lambda: not asks(), f"no kernel asks for {to} any more")


def silent(lab):
    for twin in lab.twins.twins.values():
        twin.wire.hosts.clear()


@row(7, "next hop not resolved: nothing is lost, the kernel resolves and sends; fails: Host Unreachable")
def resolution(lab, v):
    prefix = "10.77.0.0/16" if v == 4 else "2001:db8:77::/48"
    beyond = "10.77.1.1" if v == 4 else "2001:db8:77::1"
    error = (3, 1) if v == 4 else (1, 3)
    for host, direct in ((SILENT, False), (SILENT + 1, True)):
        with unresolved(lab, v, host) as gateway, contextlib.ExitStack() as stack:
            if not direct:
                stack.enter_context(lab.twins.routed(f"{prefix} via {gateway}"))
            to = gateway if direct else beyond
            reason = "punt_glean" if direct else "punt_no_neighbour"
            frames = [transit(v, destination=to, size=20 + i) for i in range(3)]
            sends = [("p0", frame) for frame in frames]
            out = lab.exchange(sends, until=lambda trial: len(trial.left["kernel"]) >= 3)
            out.is_exactly(*(icmp_error(frame, "p0", *error, late=True) for frame in frames))
            out.by(**{reason: 3})
            _asked_for(out, gateway)
            answers(lab, v, host)
            stack.callback(silent, lab)
            out = lab.exchange(sends, until=lambda trial: len(trial.left["kernel"]) >= 3)
            out.is_exactly(*(forwarded(frame, "p1", host) for frame in frames))
            reply = "not_ip" if v == 4 else "nd"  # the host's; the kernel may have asked twice
            # A gateway's entry is managed: the kernel may have resolved it before the first of them came.
            early = 0 if direct else out.moved.get("forwarded", 0)
            late = {k: n for k, n in ((reason, 3 - early), ("forwarded", early)) if n}
            asked = max(1 if early < 3 else 0, out.moved.get(reply, 0))
            out.by(**late, **({reply: asked} if asked else {}))
            if early < 3:
                _asked_for(out, gateway)
            lab.twins.settle()
            out = lab.exchange(sends)
            out.is_exactly(*(forwarded(frame, "p1", host) for frame in frames))
            out.by(forwarded=3)


def _asked_for(out, gateway):
    for name, asked in out.asked.items():
        expect(("w1", gateway) in asked, f"the {name} router did not ask for {gateway}: {asked}")


@row(36, "no route: code 0; the neighbour fails: code 3; prohibit: code 1", versions=(6,))
def unreachable6(lab, _):
    frames = {kind: transit(6, destination=f"2001:db8:{kind}::1") for kind in ("a0", "a1", "a2", "a3")}
    gateway = address("p1", 6, SILENT + 2)
    with unresolved(lab, 6, SILENT + 2), lab.twins.routed(
            "prohibit 2001:db8:a1::/48", "unreachable 2001:db8:a2::/48", f"2001:db8:a3::/48 via {gateway}"):
        out = lab.exchange([("p0", frame) for frame in frames.values()],
                           until=lambda trial: len(trial.left["kernel"]) >= 4)
        # RFC 4443 3.1 has code 0 for no route; the kernel says it for an unreachable route as well.
        out.is_exactly(icmp_error(frames["a0"], "p0", 1, 0), icmp_error(frames["a1"], "p0", 1, 1),
                       icmp_error(frames["a2"], "p0", 1, 0), icmp_error(frames["a3"], "p0", 1, 3, late=True))
        out.by(punt_no_route=1, punt_unreachable=2, punt_no_neighbour=1)


@row(23, "every discard is counted under its reason")
def counted(lab, v):
    """Those that the worker discards; each other reason is counted in the row that provokes it."""
    prefix = "10.78.0.0/16" if v == 4 else "2001:db8:78::/48"
    to = "10.78.0.1" if v == 4 else "2001:db8:78::1"
    with lab.twins.routed(f"blackhole {prefix}"):
        lost = [transit(v, destination=to, size=n) for n in range(3)]
        short = [transit(v)[:-n] for n in (1, 2)]
        wrong = [transit(4)[:24] + b"\0\0" + transit(4)[26:]]
        out = lab.exchange([("p0", frame) for frame in (*lost, *short, *(wrong if v == 4 else ()))])
        out.is_nothing()
        out.by(drop_blackhole=3, drop_ip_length=2, drop_ip_checksum=1 if v == 4 else 0)
    by_port = {(r["port"], r["reason"]) for r in lab.twins.ask("counters") if r["packets"]}
    expect(("p0", "drop_blackhole") in by_port, "the discards are not under the port that they came in by")
    expect(("p1", "drop_blackhole") not in by_port, "p1 discarded nothing")


@row(46, "BGP between two other hosts, in transit: the fast path")
def bgp_transit(lab, v):
    frames = []
    for into, out_of in (("p0", "p1"), ("p1", "p0")):
        for field_value in (2, 64, 255):  # GTSM (RFC 5082) is between the ends
            source, to = (address(into, v, 2), address(out_of, v, 3))
            for sport, dport in ((40000, 179), (179, 40000)):
                frames.append((into, out_of, transit(
                    v, into, out_of, source=source, destination=to, protocol=f.TCP,
                    payload=f.tcp_syn(source, to, sport, dport), **{"ttl" if v == 4 else "hops": field_value})))
    out = lab.exchange([(into, frame) for into, _, frame in frames])
    out.is_exactly(*(forwarded(frame, out_of, 3) for _, out_of, frame in frames))
    out.by(forwarded=len(frames))
