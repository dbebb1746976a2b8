# SPDX-License-Identifier: BSD-3-Clause
"""Three minutes of steady traffic while the kernel's neighbour timers run at a multiple of their speed.

One-way traffic: the edge's own kernel has no use for the entries, and would collect each within seconds. One
host, apart from the others, changes its MAC without a word.
"""

import os
import sys
import time

from lab.cases import Cases, build_dir, expect
from lab.neighbours import entry, follows, managed
from lab.netns import wait_until
from lab.star import Probe, StarLab, edge_address, host_address
from lab.traffic import Blast

V4, V6 = 4, 6
SECONDS = max(20, int(os.environ.get("MILLRACE_SOAK_SECONDS", "180")))
PPS = 250  # of each of the eight flows
TIMERS = {"gc_stale_time": 1, "base_reachable_time_ms": 2000, "delay_first_probe_time": 1}
BEHIND = {V4: "10.100.0.9", V6: "2001:db8:100::9"}  # by way of c
IDLE_ADDRESS = {V4: "10.0.2.66", V6: "2001:db8:0:2::66"}  # on b's link; nobody sends to it
MOVER = {V4: "10.0.2.77", V6: "2001:db8:0:2::77"}  # in a namespace of its own on b's link
FIRST_MAC, SECOND_MAC = "02:00:00:00:77:01", "02:00:00:00:77:02"


def neigh_sysctl(lab, device, **values):
    for version in (V4, V6):
        lab.edge.run("sysctl", "-qw",
                     *(f"net.ipv{version}.neigh.{device}.{k}={v}" for k, v in values.items()))


def set_up(lab):
    """Quick timers, enough entries that the kernel collects at all, and hosts that the star lacks."""
    edge = lab.edge
    for device in ("a0", "b0", "c0"):
        neigh_sysctl(lab, device, **TIMERS)
    # The kernel collects from gc_thresh1 (128) entries on. That is a limit of the whole machine, so instead
    # of turning it down, there are so many.
    commands = "".join(f"neigh add 10.0.4.{i} lladdr 02:00:00:00:99:01 dev d0 nud permanent\n"
                       f"neigh add 2001:db8:0:4::{i} lladdr 02:00:00:00:99:01 dev d0 nud permanent\n"
                       for i in range(50, 200))
    edge.run("ip", "-batch", "-", stdin=None, input=commands)
    for version in (V4, V6):
        length = 24 if version == V4 else 64
        nodad = ["nodad"] if version == V6 else []
        lab.netns["b"].ip("addr", "add", f"{IDLE_ADDRESS[version]}/{length}", "dev", "eth0", *nodad)
        own = f"{BEHIND[version]}/{32 if version == V4 else 128}"
        lab.netns["c"].ip("addr", "add", own, "dev", "lo")
        edge.ip(f"-{version}", "route", "add", own, "via", host_address("c", version))
    # The one that moves: a macvlan on b's wire, so that its MAC is its own.
    mover = lab.add_netns("mover")
    lab.netns["b"].ip("link", "add", "mv0", "link", "eth0", "address", FIRST_MAC, "type", "macvlan", "mode",
                      "bridge")
    lab.netns["b"].ip("link", "set", "mv0", "netns", mover.name, "name", "eth0")
    mover.ip("link", "set", "eth0", "up")
    for version in (V4, V6):
        mover.ip("addr", "add", f"{MOVER[version]}/{24 if version == V4 else 64}", "dev", "eth0",
                 *(["nodad"] if version == V6 else []))
        mover.ip(f"-{version}", "route", "add", "default", "via", edge_address("b", version))
    return mover


def resolve(lab, address):
    lab.edge.run("ping", "-n", "-c", 1, "-W", 2, address)


def flows(lab):
    """Flows from a to b and c, by way of c, and from b to a: what each is, and its sender and counter."""
    tools, n = lab.build / "tests" / "netns", lab.netns
    made = []
    for version in (V4, V6):
        for what, sender, receiver, address in (
                ("to host b", "a", "b", host_address("b", version)),
                ("to host c", "a", "c", host_address("c", version)),
                ("by way of c", "a", "c", BEHIND[version]),
                ("to host a", "b", "a", host_address("a", version))):
            made.append((f"IPv{version} {what}", Blast(tools, n[sender], n[receiver], address, PPS, SECONDS,
                                                      port=9200 + len(made))))
    return made


def counters(router):
    """The worker's and the classifiers' counters that tell who forwarded."""
    now = router.counters()
    now["stale_heartbeat"] = router.steering().get("stale_heartbeat", 0)
    return now


def ring_full(router):
    """Frames that a port's socket had no room for."""
    return sum(row["xsk_rx_ring_full"] + row["xsk_rx_dropped"] for row in router.show("ports"))


class Mover:
    """The host that changes its MAC silently at half time, and how soon traffic follows."""

    def __init__(self, lab, netns, probe):
        self.lab, self.netns, self.probe = lab, netns, probe
        self.noticed, self.took = {}, {}
        self.at, self.before = None, None

    def move(self):
        """The old MAC is dead from here on. arp_notify and ndisc_notify are off: it says nothing."""
        self.netns.ip("link", "set", "eth0", "address", SECOND_MAC)
        self.at = time.monotonic()

    def look(self):
        """Called as often as can be: when does the kernel know, and when does the fast path?"""
        for version in (V4, V6):
            if version not in self.noticed:
                row = entry(self.lab.edge, MOVER[version], "b0")
                if row and row["lladdr"] == SECOND_MAC:
                    self.noticed[version] = time.monotonic()
                    self.took[version] = follows(self.probe, MOVER[version], "b", SECOND_MAC)


def keep_mover_in_use(probe):
    for version in (V4, V6):
        probe.send(MOVER[version], 0.05)


def watch(lab, mover, probe, first):
    """Until the flows end: a line every 30 s, and the move at half time."""
    router, begin, moved = lab.router, time.monotonic(), False
    line = begin + 30
    collected = set()
    while (elapsed := time.monotonic() - begin) < SECONDS:
        keep_mover_in_use(probe)
        for version in (V4, V6):
            if entry(lab.edge, IDLE_ADDRESS[version], "b0") is None:
                collected.add(version)
        if not moved and elapsed > SECONDS / 2:
            mover.before = counters(router)
            mover.move()
            moved = True
        if moved:
            mover.look()
        if time.monotonic() > line:
            line += 30
            now = counters(router)
            delta = {k: now[k] - first[k]
                     for k in ("forwarded", "stale_heartbeat", "punt_glean", "punt_no_neighbour")}
            requests = router.show("sync")[0]["neighbor_requests"]
            print(f"  {elapsed:.0f} s: {delta}, {requests} requests", flush=True)
        time.sleep(0.2)
    return collected


def main():
    cases = Cases("netns.soak")
    with StarLab(build_dir()) as lab:
        lab.start()
        netns = set_up(lab)
        # Beside it, others put full tables into the kernel and take them out: where it is not preemptible, that holds a core,
        # the worker's too, for most of a second. What waits for longer than the timeout is discarded.
        lab.router.write_config(heartbeat_ms=1000)
        lab.start_router()
        router, edge = lab.router, lab.edge
        lab.resolve("a", "b", "c")
        running = flows(lab)
        with Probe(lab) as probe:
            for version in (V4, V6):
                resolve(lab, MOVER[version])
                follows(probe, MOVER[version], "b", FIRST_MAC, 5)
            for version in (V4, V6):
                resolve(lab, IDLE_ADDRESS[version])
            for _, blast in running:
                blast.start()
            used = [(host_address(s, v), f"{s}0") for s in "abc" for v in (V4, V6)]
            wait_until(lambda: all(managed(edge, *u) for u in used), "what is in use is managed", 10)
            first, mover = counters(router), Mover(lab, netns, probe)
            machine = ring_full(router)
            collected = watch(lab, mover, probe, first)
            results = [(what, blast.finish()) for what, blast in running]
            last = {k: v - first[k] for k, v in counters(router).items()}
            machine = ring_full(router) - machine
        with cases.case("control: the kernel collects an entry that nobody uses"):
            expect(collected == {V4, V6}, f"collected for IPv{sorted(collected)} only")
        for what, result in results:
            with cases.case(f"{SECONDS} s, {what}: nothing lost"):
                expect(result["lost"] == 0, f"{result['lost']} of {result['sent']} lost; {machine} frames "
                       f"found a port's ring full; {last}")
        sent = sum(r["sent"] for _, r in results)
        with cases.case("the fast path forwarded it"):
            fast = last["forwarded"] + last["stale_heartbeat"]
            expect(fast > 0.95 * sent, f"{fast} of {sent}: {last}")
        with cases.case("nothing but the host that moved was ever unresolved"):
            expect(last["punt_no_neighbour"] == 0, f"{last['punt_no_neighbour']} for want of a gateway")
            glean = mover.before["punt_glean"] - first["punt_glean"]
            expect(glean == 0, f"{glean} for want of a host, before one moved")
            # Two packets in each round of the watch, while the kernel resolves its new MAC.
            expect(last["punt_glean"] <= 100, f"{last['punt_glean']} for want of a host")
        for version in (V4, V6):
            with cases.case(f"a host that changed its MAC silently is followed, IPv{version}"):
                expect(version in mover.noticed, "the kernel did not notice")
                print(f"  the kernel knew after {mover.noticed[version] - mover.at:.1f} s, the fast path "
                      f"{mover.took[version] * 1000:.0f} ms later", flush=True)
        with cases.case("few requests: the kernel does the work"):
            row = router.show("sync")[0]
            expect(row["neighbor_requests"] < 60 and row["neighbor_requests_refused"] == 0, f"{row}")
    return cases.finish()


if __name__ == "__main__":
    sys.exit(main())
