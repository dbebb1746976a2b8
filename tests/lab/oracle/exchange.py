# SPDX-License-Identifier: BSD-3-Clause
"""Frames into both routers, and what leaves either, compared whole."""

import collections
import contextlib
import ipaddress
import time

from .. import frames as f
from . import decode
from .may_differ import background, comparable, flow_of, own_redirect6
from .twins import DEVICES, KERNEL, MILLRACE, PORTS, address, behind, host_mac, number, router_mac
from .wire import LINKS, resolution_target

FENCE = b"millrace fence"
# What a round of fences moves. In a port's three, one each is forwarded, punted, and left by the classifier.
FENCE_COUNTS = {"forwarded": 1, "punt_unmanaged": 1, "redirect": 2, "ip_options": 1}
NOP = b"\1\1\1\0"  # IPv4 options that do nothing


class Difference(AssertionError):
    """The routers did not do the same. .frames: [(link, frame, missing from which router)]"""

    def __init__(self, text, frames=()):
        super().__init__(text)
        self.frames = list(frames)
        self.trial = None  # to go on waiting with


class Lost(Difference):
    """Fences that came through the kernel's router have not come through the other, whatever its routes are."""


class Exchange:
    """Carries frames through both routers. Made once for a Twins; it owns what has arrived but is not yet compared."""

    def __init__(self, twins, member_of=None, redirects=True, left_out=None, mac_of=router_mac):
        """redirects: IPv6 redirects are compared. left_out(frame): it is not. mac_of(device): the routers' there."""
        self.twins = twins
        self.mac_of = mac_of
        self.left_out = left_out or (lambda frame: False)
        self.redirects = redirects
        # member_of(link, frame): of which ECMP group it was sent to a member, or None.
        self.member_of = member_of or (lambda link, frame: None)
        self._serial = 0

    def __call__(self, sends, seconds=2.0, linger=0.0, fences=DEVICES, until=None):
        """Sends [(device, frame)] into both; returns an Outcome, or raises Difference.

        Both routers are done when the fences, sent behind the frames by every way through a router, have come out, and
        what came out is equal, and until(outcome of the kernel so far), if given, holds; a difference must last for all
        of `seconds`. linger: what may still come is waited for so long, for frames that wait in a router.
        """
        return Outcome(self.twins, sends, self.run(sends, seconds, linger, fences, until))

    def compare(self, sends, seconds, fences, lose_none=False):
        """The same without a look at the counters, which takes longer than all the rest; returns the trial. lose_none: a
        fence that gets lost in millrace's router alone is a difference."""
        trial = _Trial(self)
        for device, frame in sends:
            for twin in self.twins.twins.values():
                twin.wire.send(LINKS[number(device)], frame)
        trial.pass_fences(fences)
        lost = trial.lost()
        if lose_none and len(lost[MILLRACE]) > len(lost[KERNEL]):
            raise Lost(f"transit was lost on its way through; by ingress: {lost}")
        try:
            trial.wait_equal(seconds, 0.0, None)
        except Difference as difference:
            difference.trial = trial
            raise
        return trial

    def run(self, sends, seconds, linger, fences, until):
        before = self.twins.counters()
        trial = _Trial(self)
        for device, frame in sends:
            for twin in self.twins.twins.values():
                twin.wire.send(LINKS[number(device)], frame)
        rounds = trial.pass_fences(fences)
        trial.wait_equal(seconds, linger, until)
        after = self.twins.settled_counters()
        rounds *= len(set(fences) & set(PORTS))
        trial.moved = {k: v - before.get(k, 0) - rounds * FENCE_COUNTS.get(k, 0) for k, v in after.items()}
        return trial

    def key(self, link, frame):
        """What must be equal: the whole frame and its link, but for what may differ."""
        group = self.member_of(link, frame)
        same = comparable(frame, self.twins.own)
        return (group, same[12:]) if group else (link, same)

    def fence_frames(self, fences):
        """{serial: (device, frame)}: each port's fast path, punt path and classifier; the other device's kernel path."""
        out = {}
        for device in fences:
            ways = [(onward(device, fences), b"")]
            if device in PORTS:
                ways += [("u0", b""), ("u0", NOP)]
            for to, options in ways:
                self._serial += 1
                source, destination = address(device, 4, 2), f"198.18.0.{number(to)}"
                packet = f.ipv4(source, destination, f.UDP, f.udp(source, destination, 7, 7, FENCE +
                                                                  self._serial.to_bytes(4, "big")), options=options)
                out[self._serial] = device, f.ethernet(self.mac_of(device), host_mac(device), f.ETH_IP, packet)
        return out


def onward(device, fences):
    """The port that the fence from the device leaves by."""
    ports = [p for p in PORTS if p in fences] or list(PORTS)
    return next((p for p in ports[number(device) + 1:] + ports if p != device), ports[0])


class _Trial:
    """What has left the two routers since the frames were sent."""

    def __init__(self, exchange):
        self.exchange = exchange
        self.twins = exchange.twins
        self.left = {name: [] for name in self.twins.twins}     # [(link, frame)] as it was
        self.asked = {name: set() for name in self.twins.twins}  # (link, address) of ARP requests and solicitations
        self.balance = collections.Counter()  # (link, comparable frame) -> how often more from the kernel alone
        self.fences = {name: set() for name in self.twins.twins}
        self.sent = {}  # fences: {serial: ingress}
        self.rounds = 0
        self.moved = {}

    def read(self, seconds):
        got = False
        for i, twin in enumerate(self.twins.twins.values()):
            for link, frame in twin.wire.read(seconds if i == 0 and not got else 0):
                got = True
                self.take(twin.name, link, frame)
        return got

    def take(self, name, link, frame):
        at = frame.find(FENCE, 42, 64)
        if at > 0:
            self.fences[name].add(int.from_bytes(frame[at + len(FENCE):at + len(FENCE) + 4], "big"))
        elif self.exchange.left_out(frame) or not self.exchange.redirects and own_redirect6(frame):
            pass
        elif background(frame):
            target = resolution_target(frame)
            if target:
                self.asked[name].add((link, str(ipaddress.ip_address(target))))
        else:
            self.left[name].append((link, frame))
            key = self.exchange.key(link, frame)
            self.balance[key] += 1 if name == "kernel" else -1
            if not self.balance[key]:
                del self.balance[key]

    def pass_fences(self, devices):
        """Sends fences until a round has come through both routers; returns how many rounds were sent."""
        give_up = time.monotonic() + 10
        while True:
            self.rounds += 1
            frames = self.exchange.fence_frames(devices)
            self.sent.update({serial: device for serial, (device, _) in frames.items()})
            for device, frame in frames.values():
                for twin in self.twins.twins.values():
                    twin.wire.send(LINKS[number(device)], frame)
            again = time.monotonic() + 2
            while time.monotonic() < again:
                if all(set(frames) <= seen for seen in self.fences.values()):
                    return self.rounds
                self.read(0.002)
            if time.monotonic() > give_up:
                raise TimeoutError(f"transit that must come through both routers does not; lost, by ingress: {self.lost()}")

    def lost(self):
        """{router: [ingress of each fence that has not come out until now]}"""
        return {name: [device for serial, device in self.sent.items() if serial not in seen]
                for name, seen in self.fences.items()}

    def wait_equal(self, seconds, linger, until):
        begin = time.monotonic()
        while self.read(0):
            pass
        while (waited := time.monotonic() - begin) < seconds:
            if not self.balance and waited >= linger and (until is None or until(self)):
                break
            self.read(0.005)
        if self.balance:
            raise self.difference()
        self.compare_order()

    def difference(self):
        more = [(link, frame, name) for name in self.left for link, frame in self.unmatched(name)]
        return Difference(decode.difference(more), more)

    def unmatched(self, name):
        """The frames of this router that the other has not sent, as they were."""
        sign = 1 if name == "kernel" else -1
        left = {key: sign * n for key, n in self.balance.items() if sign * n > 0}
        for link, frame in self.left[name]:
            key = self.exchange.key(link, frame)
            if left.get(key, 0) > 0:
                left[key] -= 1
                yield link, frame

    def compare_order(self):
        order = {name: collections.defaultdict(list) for name in self.left}
        for name, left in self.left.items():
            for link, frame in left:
                flow = flow_of(frame)
                if flow and not self.exchange.member_of(link, frame):
                    order[name][link, flow].append(comparable(frame, self.twins.own))
        for key, kernel in order["kernel"].items():
            millrace = order["millrace"][key]
            for a, b in zip(kernel, millrace):
                if a != b:
                    raise Difference("the order within a flow is another:\n" + decode.difference(
                        [(key[0], a, "kernel"), (key[0], b, "millrace")]), [(key[0], b, "millrace")])


class Outcome:
    """What both routers did alike. Each expectation below must hold, and must account for every frame that left."""

    def __init__(self, twins, sends, trial):
        self.twins, self.sends = twins, sends
        self.left = trial.left["kernel"]      # [(link, frame)], ECMP members and IP IDs as the kernel chose them
        self.left_millrace = trial.left["millrace"]
        self.asked = trial.asked
        self.moved = {k: v for k, v in trial.moved.items() if v}

    def is_exactly(self, *wanted):
        """Each of wanted matches one frame that left, in any order, and no frame is left over.

        wanted: forwarded(...), icmp_error(...), or (link, frame).
        """
        rest = list(self.left)
        for want in wanted:
            test = want if callable(want) else _same(*want)
            found = next((i for i, (link, frame) in enumerate(rest) if test(link, frame)), None)
            if found is None:
                raise AssertionError(f"both routers agree, but neither sent {_name(want)}; what else left them:\n"
                                     f"{decode.some(rest)}")
            rest.pop(found)
        if rest:
            raise AssertionError(f"both routers agree, and both sent what they must not:\n{decode.some(rest)}")
        return self

    def is_nothing(self):
        return self.is_exactly()

    def by(self, **wanted):
        """Who did it: the counters of the worker (forwarded, drop_*, punt_*) and of the classifier (the others) moved by
        just this. What was redirected follows: it is all that the worker counted."""
        wanted["redirect"] = sum(n for k, n in wanted.items() if k.startswith(("forwarded", "drop_", "punt_")))
        wanted = {k: n for k, n in wanted.items() if n}
        if wanted != self.moved:
            keys = sorted(set(wanted) | set(self.moved))
            said = ", ".join(f"{k} {self.moved.get(k, 0)} instead of {wanted.get(k, 0)}" for k in keys
                             if self.moved.get(k, 0) != wanted.get(k, 0))
            raise AssertionError(f"right on the wire, but by another hand: {said}")
        return self


def _name(want):
    return want.__doc__ if callable(want) else "\n" + decode.text(*want)


def _same(link, wanted):
    return lambda seen_link, frame: seen_link == link and frame == wanted


def forwarded(frame, device, host=2):
    """(link, the frame as it must leave at the device for a host there), without padding: Linux takes it off."""
    return LINKS[number(device)], f.forwarded(frame[:f.ip_length(frame)], host_mac(device, host), router_mac(device))


def icmp_error(frame, device, kind, code, mtu=None, source=None, pointer=None, late=False):
    """An ICMP or ICMPv6 error about the frame, sent out of the device to its source, with as much of it as may be.

    source: the router's address that it comes from; by default the one on that link. late: the kernel found out after
    it had decremented the TTL, and quotes the packet so.
    """
    if late:
        frame = f.forwarded(frame, host_mac(device), router_mac(device))
    six = frame[12:14] == b"\x86\xdd"
    version, head = (6, 40) if six else (4, 20)
    source = ipaddress.ip_address(source or address(device, version)).packed
    quoted = frame[14:f.ip_length(frame)]
    # RFC 1812 4.3.2.3: up to 576 bytes; RFC 4443 2.4(c): up to the minimum MTU.
    quoted = quoted[:1280 - 48] if six else quoted[:576 - 28]
    asked_about = frame[22:38] if six else frame[26:30]

    def matches(link, seen):
        body = seen[14 + head:]
        addresses = (seen[22:38], seen[38:54]) if six else (seen[26:30], seen[30:34])
        rest = int.from_bytes(body[4:8], "big")
        if mtu is not None:
            right = rest == mtu
        elif pointer is not None:
            right = rest == pointer << (0 if six else 24)
        else:
            right = rest == 0
        return (link == LINKS[number(device)] and seen[12:14] == frame[12:14] and seen[6:12] == f.mac_bytes(router_mac(device))
                and seen[20 if six else 23] == (f.ICMP6 if six else f.ICMP) and body[:2] == bytes((kind, code))
                and addresses == (source, asked_about) and right and body[8:8 + len(quoted)] == quoted
                and len(body) == 8 + len(quoted))
    extra = f" MTU {mtu}" if mtu is not None else ""
    matches.__doc__ = f"an ICMPv{version} error {kind}/{code}{extra} from {ipaddress.ip_address(source)} out of {device}"
    return matches


def own_answer(frame, device, kind, to_host=2):
    """An ICMP(v6) message of this type that the router sends from the frame's destination to its source."""
    six = frame[12:14] == b"\x86\xdd"
    head, addresses = (40, slice(22, 54)) if six else (20, slice(26, 34))
    half = (addresses.stop - addresses.start) // 2
    swapped = frame[addresses][half:] + frame[addresses][:half]

    def matches(link, seen):
        return (link == LINKS[number(device)] and seen[:14] == f.mac_bytes(host_mac(device, to_host)) +
                f.mac_bytes(router_mac(device)) + frame[12:14] and seen[addresses] == swapped
                and seen[14 + head] == kind)
    matches.__doc__ = f"an ICMP message of type {kind} that answers\n" + decode.text(device, frame)
    return matches


def ether(device, kind, packet, host=2, to=None, padding=b""):
    """A frame from a host of the link to the router (or another MAC)."""
    return f.ethernet(to or router_mac(device), host_mac(device, host), kind, packet) + padding


def transit(version, into="p0", out_of="p1", size=18, protocol=f.UDP, payload=None, **fields):
    """A UDP packet (or `protocol` with the payload) from behind one device to behind another."""
    source = fields.pop("source", behind(into, version))
    destination = fields.pop("destination", behind(out_of, version))
    options = {k: fields.pop(k) for k in ("to", "padding", "host") if k in fields}
    if payload is None:
        payload = f.udp(source, destination, 40000, 9, bytes(i & 255 for i in range(size)))
    return ether(into, *f.packet(source, destination, protocol, payload, **fields), **options)


@contextlib.contextmanager
def kernel_sees(twins, device, taps=None):
    """Captures of what the kernels' stacks get on a device; a frame that the fast path takes is not among it."""
    taps = {name: f.Capture(twin.netns, device) for name, twin in twins.twins.items()}
    try:
        yield taps
    finally:
        for tap in taps.values():
            tap.close()
