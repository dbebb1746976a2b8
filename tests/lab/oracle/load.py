# SPDX-License-Identifier: BSD-3-Clause
"""A port saturated with transit, from p0 to p2, and questions asked of the router meanwhile."""

import contextlib
import os
import signal
import subprocess
import time

from .. import frames as f
from ..netns import wait_until
from .twins import behind, router_mac, host_mac

FLOWS = 64
PACE = 0.01  # seconds between two questions
ASKING = 1.0
LOADED = 2000  # packets a second, at least, on whatever machine: else it was no load
NOBODYS = 0x88B5  # an ethertype that nothing here has (0 would leave the socket as it is)
PATIENCE = 1.0


class Load:
    """Within the `with`, ask() saturates the link of one router after the other."""

    def __init__(self, twins):
        self.twins = twins
        self.program = twins.build / "tests" / "benchmarks" / "bench-traffic"
        self.packets = {}  # by router: what came out of p2 under load

    def __enter__(self):
        # Not where the generator keeps the soft interrupts busy: each send would do its work.
        self.cores = os.sched_getaffinity(0)
        os.sched_setaffinity(0, self.cores - {0} or self.cores)
        for twin in self.twins.twins.values():
            # A veth takes the generator's frames only with NAPI, which GRO or an XDP program switches on.
            twin.netns.run("ethtool", "-K", "p0", "gro", "on")
            # What comes out by the million is counted by the device, not captured.
            twin.wire.captures["w2"].socket.bind(("w2", NOBODYS))
        return self

    def __exit__(self, *_):
        os.sched_setaffinity(0, self.cores)
        for twin in self.twins.twins.values():
            twin.netns.run("ethtool", "-K", "p0", "gro", "off")
            twin.wire.read(0.05)
            twin.wire.captures["w2"].socket.bind(("w2", f.ETH_P_ALL))

    @contextlib.contextmanager
    def on(self, twin):
        before = _received(twin)
        generator = twin.wire_netns.popen(
            "taskset", "-c", 0, self.program, "generate", "w0", host_mac("p0"), router_mac("p0"), behind("p0", 4), behind("p2", 4), FLOWS,
            stderr=subprocess.PIPE, text=True)
        try:
            wait_until(lambda: generator.poll() is not None or _received(twin) > before + 1000, "the load", 10)
            if generator.poll() is not None:
                raise RuntimeError(f"the generator ended: {generator.stderr.read().strip()}")
            yield
        finally:
            generator.send_signal(signal.SIGTERM)
            generator.wait(10)
            generator.stderr.close()
            self.packets[twin.name] = _received(twin) - before

    def ask(self, link, frames, answers, names=("kernel", "millrace")):
        """Sends the frames in turn, PACE apart, under load, for ASKING seconds and all of them at least once.

        Returns {router: (how many were sent, how many frames came for which answers(link, frame) holds)}.
        """
        counts = {}
        for name in names:
            twin = self.twins.twins[name]
            twin.wire.read(0)
            sent = seen = 0
            with self.on(twin):
                end = time.monotonic() + ASKING
                while sent < len(frames) or time.monotonic() < end:
                    twin.wire.send(link, frames[sent % len(frames)])
                    sent += 1
                    seen += _until(twin, time.monotonic() + PACE, answers)
                deadline = time.monotonic() + PATIENCE
                while seen < sent and time.monotonic() < deadline:
                    seen += _until(twin, time.monotonic() + PACE, answers)
            counts[name] = sent, seen
        return counts


def _until(twin, deadline, answers):
    seen = 0
    while (left := deadline - time.monotonic()) > 0:
        seen += sum(answers(link, frame) for link, frame in twin.wire.read(left))
    return seen


def _received(twin):
    return twin.wire_netns.link("w2")["stats64"]["rx"]["packets"]
