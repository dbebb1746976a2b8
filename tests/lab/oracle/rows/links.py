# SPDX-License-Identifier: BSD-3-Clause
"""Rows 47 and 48: links, addresses and neighbours that change. What follows is timed in the router with millrace."""

import contextlib
import ipaddress
import select
import socket
import struct
import subprocess
import time

from ... import frames as f
from ...cases import expect
from ..exchange import forwarded, icmp_error, transit
from ..table import row
from ..twins import address, behind, host_mac, router_mac
from ..ways import IGNORE_LINKDOWN, Hop, Way, bring_back, carrier, others
from .nexthops import answers, silent, unresolved

IN_TIME = 0.1
NEW_MAC = "02:00:00:00:77:01"
GROUPS = (1, 3, 5, 9)  # RTNLGRP_LINK, NEIGH, IPV4_IFADDR, IPV6_IFADDR


def followed(lab, change, packet, right):
    """Makes the change (`ip` lines, or a function) under a stream of packets, one each millisecond, in the router with
    millrace.

    packet(payload): a frame to p0; right(link, frame): it has left as it must after the change. Every packet that is
    sent later than IN_TIME after the kernel's own last word on the change must be.
    """
    twin = lab.twins.millrace
    told = twin.netns.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0)
    told.bind((0, 0))
    for group in GROUPS:
        told.setsockopt(270, 1, group)  # SOL_NETLINK, NETLINK_ADD_MEMBERSHIP
    sent, good, changed_at, process = {}, set(), None, None
    begin = time.monotonic()
    end = begin + 5
    try:
        while time.monotonic() < end:
            if process is None and time.monotonic() > begin + 0.02:
                process = _start(twin, change)
            mark = b"followed" + struct.pack("!I", len(sent)) * 3
            twin.wire.send("w0", packet(mark))
            sent[len(sent)] = time.monotonic()
            if select.select([told], [], [], 0.001)[0]:
                told.recv(65536)
                if process is not None:
                    changed_at = time.monotonic()
                    end = changed_at + 0.5
            good |= _right_ones(twin, right, 0)
        give_up = time.monotonic() + 0.5
        while changed_at is not None and time.monotonic() < give_up and \
                any(at > changed_at + IN_TIME and n not in good for n, at in sent.items()):
            good |= _right_ones(twin, right, 0.01)
    finally:
        told.close()
        if process is not None:
            process.wait()
        # What the stream has left is not to be compared.
        for each in lab.twins.twins.values():
            while each.wire.read(0.05):
                pass
    expect(changed_at is not None, "the kernel said nothing of the change")
    after = {n: at - changed_at for n, at in sent.items() if at > changed_at}
    wrong = [at for n, at in after.items() if n not in good]
    expect(not wrong or max(wrong) <= IN_TIME, f"{len(wrong)} of {len(after)} packets went wrong after the change, the last "
                                               f"{max(wrong, default=0) * 1000:.0f} ms after it")


def _start(twin, change):
    if callable(change):
        change()
        return subprocess.Popen(["true"])
    process = twin.netns.popen("ip", "-batch", "-", stdin=subprocess.PIPE, text=True)
    process.stdin.write("".join(f"{line}\n" for line in change))
    process.stdin.close()
    return process


def _right_ones(twin, right, seconds):
    out = set()
    for link, frame in twin.wire.read(seconds):
        at = frame.find(b"followed")
        if at > 0 and right(link, frame):
            out.add(int.from_bytes(frame[at + 8:at + 12], "big"))
    return out


def sent_by(lab, port):
    return next(r for r in lab.twins.ask("ports") if r["port"] == port)["tx_packets"]


def stream(v, to, source=None):
    source = source or behind("p0", v, 77)
    return lambda mark: transit(v, source=source, destination=to, payload=f.udp(source, to, 30000, 9, mark))


def link_lost(lab, v, how):
    """A prefix with a way over p1 and a worse one over p2, and a group over both."""
    way, group = Way(lab, v, 47), Way(lab, v, 57)
    gateways = {d: address(d, v, 2) for d in ("p1", "p2")}
    worse = f"{way.prefix} via {gateways['p2']} metric 2000"
    with lab.twins.sysctls(**IGNORE_LINKDOWN[v]):
        try:
            lab.twins.batch(f"route add {way.prefix} via {gateways['p1']} metric 1000", f"route add {worse}",
                            f"route add {group.prefix} nexthop via {gateways['p1']} nexthop via {gateways['p2']}")
            way.goes(Hop("p1"))
            group.goes(Hop("p1"), Hop("p2"))
            chosen = {s: m for s, m in group.spread()[1].items() if m[0] == "p1"}
            dying = behind("p0", v, 10 + (min(chosen) - 20000) % 200)

            def both_streams(mark):
                # To the prefix and to the group in turn.
                n = int.from_bytes(mark[8:12], "big")
                to = (way.to, group.to)[n % 2]
                return transit(v, source=dying, destination=to, payload=f.udp(dying, to, min(chosen), 9, mark))
            change = ["link set p1 down"] if how == "down" else \
                lambda: lab.twins.millrace.wire_netns.ip("link", "set", "w1", "down")
            followed(lab, change, both_streams, lambda link, _: link == "w2")
            if how == "down":
                lab.twins.both("ip", "link", "set", "p1", "down")
            else:
                carrier(lab, "p1", False)
            lab.twins.settle()
            before = sent_by(lab, "p1")
            way.shown(Hop("p2")) if how == "down" else None
            kernel, millrace, _ = group.spread(fences=others("p1"))
            expect(set(millrace.values()) == set(kernel.values()) == {("p2", 2)}, f"{set(millrace.values())}")
            frame = next(iter(way.flows(1).values()))
            lab.exchange([("p0", frame)], fences=others("p1")).is_exactly(forwarded(frame, "p2"))
            expect(sent_by(lab, "p1") == before, "packets went out of a dead port")
        finally:
            bring_back(lab, "p1")
            for each in (way, group):
                lab.twins.both("ip", f"-{v}", "route", "flush", each.prefix)
            lab.twins.settle()


@row(47, "link down: followed within 100 ms, no packet out of a dead port")
def link_down(lab, v):
    link_lost(lab, v, "down")


@row(47, "carrier loss: followed within 100 ms, no packet out of a dead port")
def carrier_loss(lab, v):
    link_lost(lab, v, "carrier")


@row(47, "the MTU of a link changes: followed within 100 ms")
def mtu(lab, v):
    to, source = behind("p1", v), behind("p0", v, 77)

    def big(mark):
        return transit(v, source=source, destination=to, payload=f.udp(source, to, 1, 9, mark + bytes(1350)))

    def too_big(link, frame):
        return link == "w0" and frame[23 if v == 4 else 20] == (f.ICMP if v == 4 else f.ICMP6)
    try:
        followed(lab, ["link set p1 mtu 1300"], big, too_big)
        lab.twins.batch("link set p1 mtu 1300")
        error = (3, 4) if v == 4 else (2, 0)
        fits, long = transit(v, size=1300 - (28 if v == 4 else 48)), transit(v, size=1301 - (28 if v == 4 else 48))
        out = lab.exchange([("p0", fits), ("p0", long)])
        out.is_exactly(forwarded(fits, "p1"), icmp_error(long, "p0", *error, mtu=1300)).by(forwarded=1, punt_too_big=1)
        followed(lab, ["link set p1 mtu 1500"], big, lambda link, _: link == "w1")
    finally:
        lab.twins.batch("link set p1 mtu 1500")
    out = lab.exchange([("p0", long)]).is_exactly(forwarded(long, "p1")).by(forwarded=1)


@row(47, "the MAC address of a port changes: followed within 100 ms, in and out")
def mac(lab, v):
    neighbours = [f"neigh replace {address('p1', v, h)} lladdr {host_mac('p1', h)} nud permanent dev p1" for h in (2, 3)]
    change = [f"link set p1 address {NEW_MAC}", *neighbours]
    try:
        followed(lab, change, stream(v, behind("p1", v)), lambda _, frame: frame[6:12] == f.mac_bytes(NEW_MAC))
        lab.twins.batch(*change)
        frame = transit(v)
        link, was = forwarded(frame, "p1")
        back, lost = (transit(v, "p1", "p0", to=to) for to in (NEW_MAC, router_mac("p1")))
        out = lab.exchange([("p0", frame), ("p1", back), ("p1", lost)], fences=others("p1"))
        out.is_exactly((link, was[:6] + f.mac_bytes(NEW_MAC) + was[12:]), forwarded(back, "p0"))
        out.by(forwarded=2, not_our_mac=1)
    finally:
        lab.twins.batch(f"link set p1 address {router_mac('p1')}", force=True)
        bring_back(lab, "p1")
    frame = transit(v)
    lab.exchange([("p0", frame)]).is_exactly(forwarded(frame, "p1")).by(forwarded=1)


@row(47, "an address is added and removed: followed within 100 ms")
def own_address(lab, v):
    own = behind("p1", v, 99)
    bits = 32 if v == 4 else 128
    frame = transit(v, destination=own)

    def answered(link, seen):  # there is no such port: ICMP's port unreachable
        return link == "w0" and seen[23 if v == 4 else 20] == (f.ICMP if v == 4 else f.ICMP6)
    lab.exchange([("p0", frame)]).is_exactly(forwarded(frame, "p1")).by(forwarded=1)
    # Without a prefix route, by which the kernel would look for the address on the link for a moment.
    add = f"addr add {own}/{bits} dev p2{' nodad noprefixroute' if v == 6 else ''}"
    remove = f"addr del {own}/{bits} dev p2"
    try:
        followed(lab, [add], stream(v, own), answered)
        lab.twins.batch(add, force=True)
        code = (3, 3) if v == 4 else (1, 4)
        lab.exchange([("p0", frame)]).is_exactly(icmp_error(frame, "p0", *code, source=own))
        followed(lab, [remove], stream(v, own), lambda link, _: link == "w1")
    finally:
        lab.twins.batch(remove, force=True)
    lab.exchange([("p0", frame)]).is_exactly(forwarded(frame, "p1")).by(forwarded=1)


@contextlib.contextmanager
def neighbour_restored(lab, v, host):
    try:
        yield
    finally:
        lab.twins.batch(f"neigh replace {address('p1', v, host)} lladdr {host_mac('p1', host)} nud permanent dev p1")


@row(48, "a neighbour changes its MAC address by the kernel's own learning, by command, and becomes PERMANENT: followed")
def neighbour_moves(lab, v):
    way, host = Way(lab, v, 48), 5
    other, third = host_mac("p1", 6), host_mac("p1", 7)
    entry = f"neigh replace {address('p1', v, host)} dev p1"

    def to(mac_address):
        return lambda _, frame: frame[:6] == f.mac_bytes(mac_address)
    with lab.twins.sysctls(**{f"net__ipv{v}__neigh__p1__locktime": 0} if v == 4 else {}), neighbour_restored(lab, v, host), \
            lab.twins.routed(f"{way.prefix} via {address('p1', v, host)}"):
        way.goes(Hop("p1", host))
        followed(lab, [f"{entry} lladdr {other} nud reachable"], stream(v, way.to), to(other))
        lab.twins.batch(f"{entry} lladdr {other} nud reachable")
        way.goes_on_the_wire(Hop("p1", 6))
        # It says so itself: an unsolicited ARP reply or neighbour advertisement from a third MAC address.
        said = announcement(v, host, third)
        followed(lab, lambda: lab.twins.millrace.wire.send("w1", said), stream(v, way.to), to(third))
        lab.twins.kernel.wire.send("w1", said)
        lab.twins.settle()
        way.goes_on_the_wire(Hop("p1", 7))
        lab.twins.batch(f"{entry} lladdr {third} nud permanent")
        way.goes_on_the_wire(Hop("p1", 7))


def announcement(v, host, mac_address):
    me, router = address("p1", v, host), address("p1", v)
    source = f.mac_bytes(mac_address)
    if v == 4:
        ip = ipaddress.ip_address
        return f.mac_bytes(router_mac("p1")) + source + b"\x08\x06\0\1\x08\0\6\4\0\2" + source + ip(me).packed + \
            f.mac_bytes(router_mac("p1")) + ip(router).packed
    body = struct.pack("!BBHI", 136, 0, 0, 0x20000000) + ipaddress.ip_address(me).packed + b"\2\1" + source
    packet = f.ipv6(me, router, f.ICMP6, f.icmp6(me, router, body), hops=255)
    return f.ethernet(router_mac("p1"), mac_address, f.ETH_IP6, packet)


@row(48, "a neighbour fails: its packets go to the kernel, which asks again and answers")
def neighbour_fails(lab, v):
    way, host = Way(lab, v, 58), 60
    error = (3, 1) if v == 4 else (1, 3)
    with unresolved(lab, v, host) as gateway, contextlib.ExitStack() as stack:
        stack.callback(silent, lab)
        stack.enter_context(lab.twins.routed(f"{way.prefix} via {gateway}"))
        answers(lab, v, host)
        frame = next(iter(way.flows(1).values()))
        there = forwarded(frame, "p1", 2)
        there = (there[0], f.mac_bytes(host_mac("p1", host)) + there[1][6:])
        lab.exchange([("p0", frame)], until=lambda t: t.left["kernel"]).is_exactly(there)
        lab.twins.settle()
        lab.exchange([("p0", frame)]).is_exactly(there).by(forwarded=1)
        silent(lab)
        lab.twins.batch(f"neigh replace {gateway} dev p1 nud failed")
        out = lab.exchange([("p0", frame)], until=lambda t: t.left["kernel"])
        out.is_exactly(icmp_error(frame, "p0", *error, late=True)).by(punt_no_neighbour=1)
        answers(lab, v, host)
        lab.exchange([("p0", frame)], until=lambda t: t.left["kernel"]).is_exactly(there)
        lab.twins.settle()
        lab.exchange([("p0", frame)]).is_exactly(there).by(forwarded=1)
