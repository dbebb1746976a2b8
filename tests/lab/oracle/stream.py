# SPDX-License-Identifier: BSD-3-Clause
"""Numbered frames into both routers all the time, and which of them came out of each, whole."""

import collections
import dataclasses
import struct
import threading
import time

from .. import frames as f
from ..cases import expect
from .exchange import transit
from .twins import behind, number
from .wire import LINKS

MAGIC = b"millrace stream "
PORT = 9
SPARE = 8  # flows for new_flows()
TICK = 0.002  # seconds; a frame of each lane into each router


@dataclasses.dataclass(frozen=True)
class Lane:
    into: str
    out_of: str
    version: int

    def __str__(self):
        return f"IPv{self.version} {self.into} to {self.out_of}"


LANES = tuple(Lane(into, out_of, v) for into, out_of in (("p0", "p1"), ("p2", "p0")) for v in (4, 6))


class _Flow:
    """Frames in which the number changes no checksum: its complement is beside it."""

    def __init__(self, lane, sport):
        self.link = LINKS[number(lane.into)]
        source, destination = behind(lane.into, lane.version), behind(lane.out_of, lane.version)
        payload = f.udp(source, destination, sport, PORT, MAGIC + struct.pack("!II", 0, 0xffffffff))
        self.head = transit(lane.version, lane.into, lane.out_of, payload=payload)[:-8]

    def frame(self, n):
        return self.head + struct.pack("!II", n, n ^ 0xffffffff)


class Stream:
    """The number of a frame says its lane and that it was sent after all smaller ones."""

    def __init__(self, twins, lanes=LANES, flows=1, tick=TICK, only=None):
        """only: the one router that it is sent into."""
        self.twins, self.lanes, self.flows, self.tick = twins, lanes, flows, tick
        self._flows = [[_Flow(lane, 40000 + i) for lane in lanes] for i in range(flows + SPARE)]
        self._wires = {name: ({link: f.Sender(twin.wire_netns, link) for link in LINKS[:3]},
                              {link: f.Capture(twin.wire_netns, link) for link in LINKS[:3]})
                       for name, twin in twins.twins.items() if only in (None, name)}
        self.arrived = {name: collections.defaultdict(list) for name in twins.twins}  # number -> [(link, frame)]
        self._next = self._first_flow = 0
        self._lock = threading.Lock()
        self._running = threading.Event()
        self._ending = False
        self._error = None
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._ending = True
        self._running.set()
        self._thread.join()
        for senders, captures in self._wires.values():
            for end in (*senders.values(), *captures.values()):
                end.close()

    def lane(self, n):
        return self.lanes[n % len(self.lanes)]

    def _tick(self):
        for flow in self._flows[self._flow()]:
            frame = flow.frame(self._next)
            for senders, _ in self._wires.values():
                try:
                    senders[flow.link].send(frame)
                except OSError:  # a full queue, as on a wire: the receiver tells
                    pass
            self._next += 1

    def _flow(self):
        return (self._next // len(self.lanes) % self.flows + self._first_flow) % len(self._flows)

    def new_flows(self):
        """What is sent from now on is of flows that no router has seen."""
        with self._lock:
            self._first_flow += self.flows
            expect(self._first_flow + self.flows <= len(self._flows), "there are no more flows")

    def _read(self):
        for name, (_, captures) in self._wires.items():
            for link, capture in captures.items():
                while (frame := capture.read()) is not None:
                    at = frame.find(MAGIC)
                    if at > 0 and len(frame) >= at + len(MAGIC) + 8:
                        n = int.from_bytes(frame[at + len(MAGIC):at + len(MAGIC) + 4], "big")
                        self.arrived[name][n].append((link, frame))

    def _run(self):
        due = time.monotonic()
        while True:
            if not self._running.is_set():
                self._running.wait()
                due = time.monotonic()
            if self._ending:
                return
            try:
                with self._lock:
                    if self._running.is_set():
                        self._tick()
                        self._read()
            except OSError as error:
                self._error = error
                return
            due = max(due + self.tick, time.monotonic() - 0.02)
            time.sleep(max(0.0, due - time.monotonic()))  # at least lets others have the lock

    def run(self):
        self._running.set()

    def pause(self):
        """Nothing is sent from here on, and all that was has arrived, or never will."""
        self._running.clear()
        with self._lock:
            if self._error:
                raise self._error
            quiet = time.monotonic()
            while time.monotonic() < quiet + 0.1:
                before = self._count()
                self._read()
                quiet = quiet if self._count() == before else time.monotonic()
                time.sleep(0.005)

    def _count(self):
        return sum(len(a) for a in self.arrived.values())

    def mark(self):
        """The next frame's number: it and all that follow are sent after this call."""
        with self._lock:
            return self._next

    def send(self, ticks):
        """So many frames of each lane, while it is paused; all that may has arrived when it returns."""
        with self._lock:
            begin = self._next
            for _ in range(ticks):
                self._tick()
                self._read()
                time.sleep(self.tick / 4)
        self.pause()
        return range(begin, self._next)

    def passed(self, name, numbers):
        """{lane: how many came through}"""
        out = dict.fromkeys(self.lanes, 0)
        for n in numbers:
            out[self.lane(n)] += len(self.arrived[name].get(n, ()))
        return out

    def differences(self, numbers):
        """What the routers did not do alike, in words."""
        kernel, millrace = (self.arrived[t] for t in ("kernel", "millrace"))
        said = []
        for n in numbers:
            one, two = kernel.get(n, []), millrace.get(n, [])
            if one != two:
                what = ("dropped by the kernel, passed by millrace" if not one else
                        "passed by the kernel, dropped by millrace" if not two else
                        f"another frame: {one[0][1].hex()} from the kernel, {two[0][1].hex()} from millrace")
                said.append(f"frame {n}, {self.lane(n)}: {what}")
        return said

    def forget(self):
        for arrived in self.arrived.values():
            arrived.clear()
