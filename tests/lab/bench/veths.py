# SPDX-License-Identifier: BSD-3-Clause
"""The benchmark's lab: gen [g0] - [a0] edge [b0] - [s0] sink, and what it offers and counts."""

import signal
import subprocess
import time

from ..base import Lab
from ..netns import CommandError, veth, wait_until

GENERATOR_CORE, WORKER_CORE = 0, 1
FLOWS = 64
SOURCE, DESTINATION = "10.1.0.10", "10.2.0.10"
EDGE_A, EDGE_B, SINK = "10.0.1.1", "10.0.2.1", "10.0.2.2"
ROUTE = "10.2.0.0/16"
TTL = 64


class BenchLab(Lab):
    def __init__(self, build):
        super().__init__()
        self.build = build
        self.traffic = build / "tests" / "benchmarks" / "bench-traffic"

    def start(self):
        super().start()
        gen, edge, sink = (self.add_netns(role) for role in ("gen", "edge", "sink"))
        edge.sysctl(net__ipv4__ip_forward=1, net__ipv4__conf__all__rp_filter=0,
                    net__ipv4__conf__default__rp_filter=0)
        for ns in (gen, edge, sink):  # no router solicitations in between
            ns.sysctl(net__ipv6__conf__default__disable_ipv6=1)
        veth(edge, "a0", gen, "g0", "02:00:00:00:0a:01", "02:00:00:00:0a:02")
        veth(edge, "b0", sink, "s0", "02:00:00:00:0b:01", "02:00:00:00:0b:02")
        edge.ip("addr", "add", f"{EDGE_A}/24", "dev", "a0")
        edge.ip("addr", "add", f"{EDGE_B}/24", "dev", "b0")
        edge.ip("neigh", "add", SINK, "lladdr", sink.mac("s0"), "nud", "permanent", "dev", "b0")
        edge.ip("route", "add", ROUTE, "via", SINK)
        return self

    @property
    def edge(self):
        return self.netns["edge"]

    def measure(self, seconds, warm_up, ttl):
        """Offers as much as the port takes; returns packets a second that came out right at the sink."""
        sink = Sink(self, ttl)
        generator = self.netns["gen"].popen(
            "taskset", "-c", GENERATOR_CORE, self.traffic, "generate", "g0", self.netns["gen"].mac("g0"),
            self.edge.mac("a0"), SOURCE, DESTINATION, FLOWS, stderr=subprocess.PIPE, text=True)
        try:
            first = sink.read()
            wait_until(lambda: generator.poll() is not None or sink.read()[0] > first[0],
                       "a first packet at the sink", 5)
            if generator.poll() is not None:
                raise CommandError(f"the generator ended: {generator.stderr.read().strip()}")
            time.sleep(warm_up)
            good, other, begin = sink.read()
            time.sleep(seconds)  # the interval that is measured
            good_after, other_after, end = sink.read()
        finally:
            generator.send_signal(signal.SIGTERM)
            generator.wait(10)
            generator.stderr.close()
            sink.close()
        if other_after != other:
            raise CommandError(f"{other_after - other} packets came out wrong (MAC, TTL or not ours) "
                               f"beside {good_after - good} right ones")
        return (good_after - good) * 1e9 / (end - begin)


class Sink:
    """bench-traffic sink on s0."""

    def __init__(self, lab, ttl):
        ns = lab.netns["sink"]
        self.process = ns.popen(lab.traffic, "sink", "s0", ns.mac("s0"), ttl, stdin=subprocess.PIPE,
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        if self.process.stdout.readline() != "ready\n":
            raise CommandError(f"the sink: {self.process.stderr.read().strip()}")

    def read(self):
        """(right packets, wrong packets, CLOCK_MONOTONIC in ns)"""
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        return tuple(map(int, self.process.stdout.readline().split()))

    def close(self):
        self.process.stdin.close()
        self.process.wait(10)
        self.process.stdout.close()
        self.process.stderr.close()
