# SPDX-License-Identifier: BSD-3-Clause
"""A tenth of a full table, and all that makes the mirror dump again. After each, `millrace verify` finds nothing."""

import contextlib
import random
import re
import signal
import sys
import threading
import time

from lab import full_table
from lab.cases import Cases, build_dir, expect
from lab.netns import wait_until
from lab.table_lab import TableLab, Watch, host_in, link_of, replace

SCALE = 0.1
NEXTHOPS = 64
SEED = int(time.time())
SMALL_BUFFER = 8192  # bytes; about eight notifications
BUFFER = 16 << 20    # holds some 30,000


class Drill:
    def __init__(self, lab, routes):
        self.lab, self.router, self.routes = lab, lab.router, routes
        self.random = random.Random(SEED)

    def row(self):
        return self.router.ask("sync")[0]

    def settled(self, seconds=30):
        """Waits until nothing is left to do; returns the row of `show sync`."""
        def in_sync():
            row = self.row()
            return row if row["state"] == "synced" and row["synced"] else None
        return wait_until(in_sync, "millraced is in sync", seconds, 0.02)

    def verified(self):
        done = self.lab.edge.run(self.router.cli_bin, "--socket", self.router.socket_path, "verify", check=False,
                                 timeout=60)
        expect(done.returncode == 0, f"millrace verify: {(done.stdout + done.stderr).strip()[-300:]}")

    def some(self, count):
        return self.random.sample(self.routes, count)

    @contextlib.contextmanager
    def counted(self, *names, more=True):
        """These counters grow in the body, and in the end the mirror is right."""
        before = self.row()
        yield
        wait_until(lambda: not more or any(self.row()[n] > before[n] for n in names), f"one of {names} counts", 20,
                   0.02)
        after = self.settled()
        self.verified()
        print({n: after[n] - before[n] for n in ("resyncs", "restarts", "overruns", "interrupted", "doubts")},
              flush=True)


def moved(drill, count):
    """Lines that give routes another next hop; the routes as they are then."""
    routes = drill.some(count)
    return [replace(r, (r[3] + 1) % NEXTHOPS) for r in routes], routes


def back(drill, routes):
    drill.lab.batch(replace(r, r[3]) for r in routes)


def small_buffer(drill):
    """Every batch is more than the socket holds; of the first thousand none is read in time, however fast the daemon is."""
    lines, routes = moved(drill, 30_000)
    drill.router.signal(signal.SIGSTOP)
    try:
        drill.lab.batch(lines[:1000])
    finally:
        drill.router.signal(signal.SIGCONT)
    drill.lab.batch(lines[1000:])
    back(drill, routes)


def stopped(drill):
    """The daemon hangs through 100,000 changes: the kernel forwards meanwhile, and then all of it is made up for."""
    lines, routes = moved(drill, 50_000)
    watched = [host_in(r) for r in routes if r[0] == 4][:64]
    drill.router.signal(signal.SIGSTOP)
    try:
        time.sleep(0.3)  # more than the heartbeat's timeout
        with Watch(drill.lab, watched, 1000, 1) as watch:
            _, sent, received = watch.finish()
        drill.lab.batch(lines)
        back(drill, routes)
    finally:
        drill.router.signal(signal.SIGCONT)
    expect(received == sent, f"{sent - received} of {sent} packets lost while the daemon hung")


def changes_during_dumps(drill):
    """Changes go on while dump follows dump."""
    end = time.monotonic() + 3
    links = threading.Thread(target=flap_unused, args=(drill, end))
    links.start()
    while time.monotonic() < end:
        lines, routes = moved(drill, 2_000)
        drill.lab.batch(lines)
        back(drill, routes)
    links.join()


def flap_unused(drill, end):
    """A port without routes of the table goes down and up: each time a dump must follow."""
    while time.monotonic() < end:
        drill.lab.edge.ip("link", "set", "a0", "down")
        drill.lab.edge.ip("link", "set", "a0", "up")


def restore(drill, link):
    """What the kernel dropped with a link comes back, as a routing daemon would bring it."""
    drill.lab.add_nexthops()
    drill.lab.batch(replace(r, r[3]) for r in drill.routes if link_of(r[3]) == link)
    wait_until(lambda: drill.router.count() >= len(drill.routes), "all routes are back", 20, 0.02)


def link_down(drill):
    before = drill.router.count(family="ipv4")
    drill.lab.edge.ip("link", "set", "b0", "down")
    wait_until(lambda: drill.router.count(family="ipv4") < 0.6 * before, "half of the routes have gone", 20, 0.02)
    drill.settled()
    drill.verified()
    drill.lab.edge.ip("link", "set", "b0", "up")


def carrier_lost(drill):
    sink = drill.lab.netns["sink"]
    sink.ip("link", "set", "s1", "down")
    drill.settled()
    drill.verified()
    sink.ip("link", "set", "s1", "up")


def storm(drill):
    """Fifty flaps of a link in two seconds: no more than half of the time goes into dumps."""
    before, begin = drill.row(), time.monotonic()
    for _ in range(50):
        drill.lab.edge.ip("link", "set", "a0", "down")
        drill.lab.edge.ip("link", "set", "a0", "up")
        time.sleep(0.02)
    row = drill.settled()
    took = time.monotonic() - begin
    begun = row["resyncs"] + row["restarts"] - before["resyncs"] - before["restarts"]
    expect(1 <= begun < 50, f"{begun} dumps for 50 flaps")
    print(f"50 flaps in {took:.1f} s: {begun} resyncs", flush=True)


def main():
    cases = Cases("netns.resync")
    print(f"seed {SEED}", flush=True)
    with TableLab(build_dir(), NEXTHOPS) as lab:
        lab.start()
        routes = full_table.Table(SCALE, SEED, NEXTHOPS).routes
        drill = Drill(lab, routes)
        with cases.case("a daemon that starts beside 150,000 routes has them all"):
            lab.load(routes)
            lab.router.write_config(extra=f"\n[sync]\nreceive_buffer = {SMALL_BUFFER}\n")
            lab.start_router()
            drill.settled()
            expect(drill.router.count() >= len(routes), f"{drill.router.count()} prefixes")
            drill.verified()
        with cases.case("a receive buffer that is too small: overruns, and a resync"), drill.counted("overruns"):
            small_buffer(drill)
        lab.router.stop()
        lab.router.write_config(extra=f"\n[sync]\nreceive_buffer = {BUFFER}\n")
        lab.router.start()
        with cases.case("a hung daemon, and 100,000 changes"), drill.counted("overruns"):
            stopped(drill)
        with cases.case("changes and link flaps during dumps"), drill.counted("resyncs"):
            changes_during_dumps(drill)
        with cases.case("link down and up under half of the routes"), drill.counted("resyncs"):
            link_down(drill)
            restore(drill, "b0")
        with cases.case("carrier lost and back under half of the routes"), drill.counted("resyncs"):
            carrier_lost(drill)
            restore(drill, "c0")
        with cases.case("a storm of link flaps"), drill.counted("resyncs"):
            storm(drill)
        with cases.case("show sync says what happened"):
            text = drill.router.cli("show", "sync").stdout
            expect(re.search(r"^state +in sync$", text, re.M), text)
            expect(re.search(r"^last resync +\d", text, re.M), text)
            expect(max(map(len, text.splitlines())) <= 80, f"wider than 80 columns: {text}")
    return cases.finish()


if __name__ == "__main__":
    sys.exit(main())
