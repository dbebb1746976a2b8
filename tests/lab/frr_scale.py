# SPDX-License-Identifier: BSD-3-Clause
"""A table through a real session: BIRD announces it, the edge's FRR puts it into the kernel, millrace follows."""

import collections
import contextlib
import time

from .bgp_peer import ADDRESS, AS, EDGE_AS, BgpPeer
from .frr import Frr
from .netns import CommandError, wait_until
from .table_lab import TableLab, Watch, host_in

# Of zebra: routes of a zebra before this one stay for so long (-K), and stay when it ends (-r).
ZEBRA_KEEPS = 300  # seconds
STALE_SECONDS = 120
# Routes that come with the sessions but are not of the table: to the peer's own addresses.
ON_LINKS = 10

Times = collections.namedtuple("Times", "kernel fast_path")  # seconds


def edge_config():
    lines = [f"router bgp {EDGE_AS}", "bgp router-id 10.64.0.1", "no bgp ebgp-requires-policy",
             "no bgp default ipv4-unicast", "bgp graceful-restart", "bgp graceful-restart preserve-fw-state",
             f"bgp graceful-restart stalepath-time {STALE_SECONDS}",
             f"bgp graceful-restart restart-time {STALE_SECONDS}"]
    for v in (4, 6):
        lines += [f"neighbor {ADDRESS[v]} remote-as {AS}", f"neighbor {ADDRESS[v]} timers connect 1",
                  f"address-family ipv{v} unicast", f"neighbor {ADDRESS[v]} activate", "exit-address-family"]
    return "\n".join(lines)


class FrrLab(TableLab):
    def __init__(self, build, nexthops, routes):
        super().__init__(build, nexthops, objects=False)
        self.routes = routes
        self.frr = self.peer = None

    def start(self):
        super().start()
        self.frr = Frr(self.edge, self.dir, daemons=("zebra", "bgpd"), options={"zebra": ("-K", ZEBRA_KEEPS, "-r")})
        self.peer = BgpPeer(self.netns["sink"], self.dir, self.routes)
        # The kernel's routes go first: see TableLab.unload. Zebra leaves them, being told so.
        self.loaded = self.routes
        self.frr.start()
        self.on_close(self.frr.stop)
        self.on_close(self.peer.kill)
        self.frr.configure(edge_config())
        return self

    def kernel_count(self):
        """Routes of both families in the edge's kernel, without a dump."""
        four = self.edge.run("cat", "/proc/net/fib_triestat").stdout
        six = self.edge.run("cat", "/proc/net/rt6_stats").stdout.split()
        main = four[four.index("Main:"):]
        return int(main[main.index("Prefixes:"):].split()[1]) + int(six[3], 16)

    def start_router(self):
        super().start_router()
        self.before = Times(self.kernel_count(), self.router.count())

    def follow(self, wanted, seconds):
        """Waits until wanted(routes more than before the table) holds for both. Returns when it began to, from now."""
        begin, times = time.monotonic(), [None, None]
        counts = (self.kernel_count, self.router.count)
        while None in times:
            for n, count in enumerate(counts):
                if times[n] is None and wanted(count() - self.before[n]):
                    times[n] = time.monotonic() - begin
            if time.monotonic() - begin > seconds:
                raise TimeoutError(f"kernel {self.kernel_count()}, fast path {self.router.count()} routes after "
                                   f"{seconds} s, {self.before} before the table")
            time.sleep(0.05)
        return Times(*times)

    def sessions_up(self, seconds=60):
        def up():
            return all(s["state"] == "Established" for s in self.frr.sessions().values())
        wait_until(up, "both BGP sessions are Established", seconds, 0.1)

    def load_by_bgp(self, seconds):
        """Starts the peer. Times from the sessions' start on."""
        self.peer.start()
        self.sessions_up()
        return self.follow(lambda more: more >= len(self.routes), seconds)

    def lose_session(self, seconds):
        """Kills the peer. Times until all of its routes have gone. A zebra takes its own out; of a zebra before it, it
        leaves IPv6 routes in the kernel until ZEBRA_KEEPS have passed."""
        self.peer.kill()
        return self.follow(lambda more: more <= ON_LINKS, seconds)

    def restart_bgpd(self, seconds):
        """Graceful restart: bgpd is killed, zebra keeps its routes while it is gone; FRR 8.4.4 takes many out for some
        seconds when the new one appears. Returns when all routes are bgpd's again."""
        self.frr.kill("bgpd")
        time.sleep(1)  # so long packets go by routes that nobody stands for
        self.frr.restart("bgpd", edge_config())
        self.wait_all_received(seconds)

    def restart_all(self, seconds):
        """zebra dies; watchfrr restarts all of FRR then, since bgpd gives nothing to a zebra that is new to it."""
        self.frr.kill("zebra")
        self.frr.kill("bgpd")
        time.sleep(1)
        self.frr.restart("zebra")
        self.frr.restart("bgpd", edge_config())
        self.wait_all_received(seconds)

    def wait_all_received(self, seconds):
        def received():
            return sum(s["prefixes"] for s in self.frr.sessions().values()) >= len(self.routes)
        wait_until(received, "the edge's bgpd has all prefixes", seconds, 0.5)
        self.follow(lambda more: more >= len(self.routes), seconds)

    @contextlib.contextmanager
    def no_packet_lost(self, seconds, pps=1000):
        """A stream over routes of the table while the body runs: whatever the kernel keeps, the fast path keeps."""
        addresses = [host_in(r) for r in self.routes if r[0] == 4][:64]
        before = self.router.counters() | self.router.steering()
        with Watch(self, addresses, pps, seconds) as watch:
            begin = time.monotonic()
            yield
            took = time.monotonic() - begin
            _, sent, received = watch.finish()
        if took > seconds:
            raise CommandError(f"the stream ended after {seconds} s, what it was to watch took {took:.0f} s")
        if received != sent:
            now = self.router.counters() | self.router.steering()
            moved = {reason: n - before.get(reason, 0) for reason, n in now.items() if n != before.get(reason, 0)}
            raise CommandError(f"{sent - received} of {sent} packets lost; counted: {moved}")
