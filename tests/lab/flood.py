# SPDX-License-Identifier: BSD-3-Clause
"""A flood of packets that the router can only answer, and what is to go on beside it."""

import contextlib
import signal
import subprocess
import time

from .netns import CommandError

# Many sources: the kernel limits ICMP errors for each destination, and all of them together.
SOURCES = 4096
GENERATOR_CORE = 0


class Flood:
    """bench-traffic from peer-a's end of the link to the edge: PPS a second of the shortest UDP frames."""

    def __init__(self, lab, source, destination, destinations, pps):
        self.lab = lab
        peer = lab.netns["peer-a"]
        self.argv = ["taskset", "-c", GENERATOR_CORE, lab.build / "tests" / "benchmarks" / "bench-traffic",
                     "generate", "edge", peer.mac("edge"), lab.edge.mac("a0"), source, destination, 64,
                     SOURCES, destinations, pps]

    @contextlib.contextmanager
    def running(self):
        process = self.lab.netns["peer-a"].popen(*self.argv, stderr=subprocess.PIPE, text=True)
        try:
            yield
            if process.poll() is not None:
                raise CommandError(f"the generator ended: {process.stderr.read().strip()}")
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
            process.wait(10)
            process.stderr.close()


class PortMeter:
    """What the edge's classifier and worker counted on one port since this was made."""

    def __init__(self, router, port):
        self.router, self.port = router, port
        self.begin = self._now()
        self.at = time.monotonic()

    def _now(self):
        found = {}
        for what in ("steering", "counters"):
            for row in self.router.show(what):
                if row["port"] == self.port and "packets" in row:
                    found[row["reason"]] = row["packets"]
        ports = {p["port"]: p for p in self.router.show("ports")}
        found["ring_full"] = sum(ports[self.port][k] for k in ("xsk_rx_ring_full", "xsk_rx_dropped",
                                                              "xsk_fill_ring_empty"))
        return found

    def moved(self):
        now = self._now()
        return {k: v - self.begin.get(k, 0) for k, v in now.items() if v != self.begin.get(k, 0)}

    def seconds(self):
        return time.monotonic() - self.at


def icmp_errors(netns):
    """(IPv4, IPv6) Destination Unreachable messages that the namespace has sent."""
    rows = [line.split()[1:] for line in netns.run("cat", "/proc/thread-self/net/snmp").stdout.splitlines()
            if line.startswith("Icmp:")]
    v4 = dict(zip(rows[0], map(int, rows[1])))
    v6 = dict(line.split() for line in netns.run("cat", "/proc/thread-self/net/snmp6").stdout.splitlines())
    return v4["OutDestUnreachs"], int(v6["Icmp6OutDestUnreachs"])
