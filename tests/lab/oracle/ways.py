# SPDX-License-Identifier: BSD-3-Clause
"""Where packets to a prefix go: in both routers on the wire, and by what millrace shows."""

import collections
import contextlib
import dataclasses
import ipaddress
import time

from .. import frames as f
from ..cases import expect
from ..netns import wait_until
from .exchange import forwarded, transit
from .twins import DEVICES, HOSTS, PORTS, address, behind, host_mac, number, set_up_lines
from .wire import LINKS

FLOWS = 48  # a member with a quarter of the weight is missed by all of them once in a million


@dataclasses.dataclass(frozen=True)
class Hop:
    device: str
    host: int = 2
    weight: int = 1
    version: int = 0  # of the gateway; 0 = the packets' own

    def gateway(self, version):
        return address(self.device, self.version or version, self.host)


class Way:
    """A prefix of the version, and flows to it from behind p0."""

    def __init__(self, lab, version, n):
        self.lab, self.version = lab, version
        self.prefix = f"10.{n}.0.0/16" if version == 4 else f"2001:db8:{n}::/48"
        self.net = ipaddress.ip_network(self.prefix)
        self.to = str(self.net.network_address + 9)
        self._round = 0

    def flows(self, count=FLOWS, first=0):
        """{source port: frame}; a flow has a source of its own too, since the kernel hashes by that alone."""
        self._round += 1
        out = {}
        for i in range(first, first + count):
            source = behind("p0", self.version, 10 + i % 200)
            data = f.udp(source, self.to, 20000 + i, 9, self._round.to_bytes(4, "big") * 4)
            out[20000 + i] = transit(self.version, source=source, destination=self.to, payload=data)
        return out

    def ways_of_fragments(self, datagrams, size):
        """For each of so many UDP datagrams with size bytes of data, in fragments of 16: the {(link, MAC)} they took."""
        sends = []
        for i in range(datagrams):
            source = behind("p0", self.version, 10 + i)
            datagram = f.udp(source, self.to, 20000 + i, 9, bytes(range(size)))
            for at in range(0, len(datagram), 16):
                part, more = datagram[at:at + 16], int(at + 16 < len(datagram))
                if self.version == 4:
                    fields = {"payload": part, "ident": i, "flags_offset": more << 13 | at // 8}
                else:
                    head = bytes((f.UDP, 0)) + (at | more).to_bytes(2, "big") + i.to_bytes(4, "big")
                    fields = {"payload": head + part, "protocol": 44}
                sends.append(("p0", transit(self.version, source=source, destination=self.to, **fields)))
        self.lab.exchange.member_of = self.member_of
        try:
            out = self.lab.exchange(sends).by(forwarded=len(sends))
        finally:
            self.lab.exchange.member_of = lambda link, frame: None
        number_of = slice(18, 20) if self.version == 4 else slice(58, 62)
        ways = collections.defaultdict(set)
        for link, frame in out.left_millrace:
            ways[frame[number_of]].add((link, frame[:6]))
        return list(ways.values())

    def row(self):
        """millrace's row for the prefix; None when it has none."""
        rows = self.lab.twins.ask("routes", prefix=self.prefix)
        return rows[0] if rows else None

    def hops(self):
        """{(gateway, interface, weight)} as millrace shows them; without those of a link that is down."""
        row = self.row()
        return row and {(via["gateway"], via["interface"], via["weight"]) for via in row["via"]
                        if via["gateway"] and via["usable"]}

    def shown(self, *hops, seconds=5):
        wanted = {(h.gateway(self.version), h.device, h.weight) for h in hops}
        wait_until(lambda: self.hops() == wanted, f"millrace shows {self.prefix} by {sorted(wanted)}, not "
                   f"{self.row()}", seconds)
        return self

    def outcome(self, outcome, seconds=5):
        wait_until(lambda: (self.row() or {}).get("outcome") == outcome,
                   f"millrace shows {outcome} for {self.prefix}, not {self.row()}", seconds)
        return self

    def gone(self, seconds=5):
        wait_until(lambda: self.row() is None, f"millrace no longer shows {self.prefix}", seconds)
        return self

    def member_of(self, link, frame):
        at = slice(30, 34) if self.version == 4 else slice(38, 54)
        kind = b"\x08\x00" if self.version == 4 else b"\x86\xdd"
        if frame[12:14] != kind or ipaddress.ip_address(frame[at]) not in self.net:
            return None
        return self.prefix, frame[12:]

    def spread(self, count=FLOWS, first=0, **options):
        """Flows through both routers; ({source port: (device, host)} of the kernel, the same of millrace, Outcome)."""
        exchange = self.lab.exchange
        before, exchange.member_of = exchange.member_of, self.member_of
        try:
            flows = self.flows(count, first)
            out = exchange([("p0", frame) for frame in flows.values()], **options)
        finally:
            exchange.member_of = before
        return self.members(out.left), self.members(out.left_millrace), out

    def members(self, left):
        """{source port: (device, host)} of the frames to the prefix, by where they left and their destination's MAC."""
        at = 34 if self.version == 4 else 54
        return {int.from_bytes(frame[at:at + 2], "big"): sent_to(link, frame) for link, frame in left
                if self.member_of(link, frame)}

    def goes(self, *hops, by="forwarded", **options):
        """millrace shows these hops; both routers send flows over all of them and nothing else, by this counter."""
        self.shown(*hops)
        return self.goes_on_the_wire(*hops, by=by, **options)

    def goes_on_the_wire(self, *hops, by="forwarded", **options):
        if len(hops) == 1:
            frame = next(iter(self.flows(1).values()))
            out = self.lab.exchange([("p0", frame)], **options)
            out.is_exactly(forwarded(frame, hops[0].device, hops[0].host)).by(**{by: 1})
            return self
        kernel, millrace, out = self.spread(**options)
        wanted = {(h.device, h.host) for h in hops}
        for name, seen in (("kernel", kernel), ("millrace", millrace)):
            expect(len(seen) == FLOWS and set(seen.values()) == wanted,
                   f"{len(seen)} flows left the {name} router to {sorted(set(seen.values()))}, not to {sorted(wanted)}")
        out.by(**{by: FLOWS})
        return self


def sent_to(link, frame):
    """(device, host) that a frame was sent to."""
    device = DEVICES[LINKS.index(link)]
    host = next((h for h in HOSTS if f.mac_bytes(host_mac(device, h)) == frame[:6]), frame[:6].hex())
    return device, host


def carrier(lab, device, on):
    """Plugs the far end in or out, in both routers, and waits until both kernels have acted on it.

    The state of operation follows with the kernel's routes, the flag LOWER_UP up to a second before (linkwatch).
    """
    for twin in lab.twins.twins.values():
        twin.wire_netns.ip("link", "set", LINKS[number(device)], "up" if on else "down")
        wait_until(lambda t=twin: (t.netns.link(device)["operstate"] == "UP") == on,
                   f"the {twin.name} router notices its carrier", 5)


def bring_back(lab, *devices):
    """Makes the devices what they were at the start."""
    for device in devices:
        for twin in lab.twins.twins.values():
            twin.netns.ip("link", "set", device, "up")
        carrier(lab, device, True)
        lab.twins.batch(*set_up_lines(device), force=True)
        for version in (4, 6):
            prefix = f"{behind(device, version, 0)}/{16 if version == 4 else 48}"
            row = wait_until(lambda p=prefix: lab.twins.ask("routes", prefix=p), f"millrace shows {prefix}", 5)
            expect(row, prefix)
            wanted = "forward" if device in PORTS else "punt"
            wait_until(lambda p=prefix: lab.twins.ask("routes", prefix=p)[0]["outcome"] == wanted,
                       f"millrace can forward to {prefix}", 5)
        _forget_late_frames(lab, device)


def _forget_late_frames(lab, device):
    """What a worker sent into a device that had just gone down stays in its socket's ring until the next frame there."""
    if device in PORTS[1:]:
        for twin in lab.twins.twins.values():
            frame = transit(4, out_of=device)
            twin.wire.send("w0", frame)
            wanted, seen = forwarded(frame, device), False
            give_up = time.monotonic() + 2
            while not seen and time.monotonic() < give_up:
                seen = wanted in twin.wire.read(0.01)
            expect(seen, f"nothing comes out of {device} in the {twin.name} router although its link is up")
    lab.exchange([])


# Unless told so, a kernel goes on to choose a path of several that has no carrier, and loses what it sends there;
# millrace never does.
IGNORE_LINKDOWN = {4: {"net__ipv4__conf__all__ignore_routes_with_linkdown": 1},
                   6: {"net__ipv6__conf__all__ignore_routes_with_linkdown": 1}}


def others(*devices):
    """The devices that fences can go through while these are down."""
    return tuple(d for d in DEVICES if d not in devices)


@contextlib.contextmanager
def link_down(lab, device, how):
    """how: "down" (ip link set down) or "carrier" (the far end is unplugged)."""
    try:
        if how == "down":
            lab.twins.both("ip", "link", "set", device, "down")
        else:
            carrier(lab, device, False)
        yield others(device)
    finally:
        bring_back(lab, device)
