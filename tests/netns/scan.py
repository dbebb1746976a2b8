# SPDX-License-Identifier: BSD-3-Clause
"""A scan of an empty /16 and /64 by way of the fast path: nothing is used up, nobody in use is hurt."""

import subprocess
import sys
import time

from lab.cases import Cases, build_dir, expect
from lab.neighbours import entry, managed
from lab.netns import wait_until
from lab.star import StarLab, host_address
from lab.traffic import Blast, ping

V4, V6 = 4, 6
PPS, SECONDS = 20000, 4
PPS_IN_USE = 500
SPARED = 11  # seconds until both hosts are STALE for more than 5: the kernel spares all others, even when its
             # table is full (neigh_forced_gc)
SCANNED = {V4: ("10.9.0.1/16", "10.9.0.0/16", "10.9.200.200/16"),
           V6: ("2001:db8:9::1/64", "2001:db8:9::/64", "2001:db8:9::c8c8/64")}
BEHIND = {V4: "10.100.0.9", V6: "2001:db8:100::9"}
GREW_BY = 16 << 10  # kB that the daemon may grow by
OWN_LIMIT = 2 * 1024 + 256  # the kernel's gc_thresh3 of both families, and some that are exempt from it


class Scan:
    """Packets from host b to one address after the other of the prefix, on host c's link; nobody is there."""

    def __init__(self, lab, prefix):
        tools = lab.build / "tests" / "netns"
        self.process = lab.netns["b"].popen(tools / "udp-blast", prefix, 9, PPS, SECONDS, 18,
                                              stdout=subprocess.DEVNULL)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()


def rss(router):
    """kB"""
    for line in open(f"/proc/{router.process.pid}/status", encoding="ascii"):
        if line.startswith("VmRSS:"):
            return int(line.split()[1])
    raise AssertionError("no VmRSS")


def table_overflows(version):
    """How often the kernel had no room for an entry. Its table is the whole machine's, not a namespace's."""
    try:
        with open(f"/proc/net/stat/{'arp' if version == V4 else 'ndisc'}_cache", encoding="ascii") as file:
            names, *rows = (line.split() for line in file)
    except FileNotFoundError:
        return 0  # shown in the machine's first namespace only
    return sum(int(row[names.index("table_fulls")], 16) for row in rows)


def steady(lab, version):
    """Traffic from a to the connected host c, and by way of it."""
    tools = lab.build / "tests" / "netns"
    return [Blast(tools, lab.netns["a"], lab.netns["c"], address, PPS_IN_USE, SPARED + SECONDS + 3,
                  port=9100 + i).start()
            for i, address in enumerate((host_address("c", version), BEHIND[version]))]


def lost_in_ports(router):
    """Frames that a port's socket had no room for: the machine was too slow, whatever the neighbours do."""
    return sum(row["xsk_rx_dropped"] + row["xsk_rx_ring_full"] + row["xsk_fill_ring_empty"]
               for row in router.show("ports") if row["port"] == "a0")


def unresolved(router):
    """Packets of host a that the worker handed to the kernel for want of a neighbour."""
    return sum(row["packets"] for row in router.show("counters")
               if row["port"] == "a0" and row["reason"] in ("punt_glean", "punt_no_neighbour"))


def scan(cases, lab, version):
    edge, router, c = lab.edge, lab.router, lab.netns["c"]
    _, prefix, newcomer = SCANNED[version]
    before, memory = router.show("sync")[0], rss(router)
    overflows, machine = table_overflows(version), lost_in_ports(router)
    punts = router.counters().get("punt_glean", 0)
    lab.resolve("d")  # nobody sends to it
    traffic = steady(lab, version)
    try:
        wait_until(lambda: managed(edge, host_address("c", version), "c0"), "the host in use is managed", 5)
        time.sleep(SPARED)
        punted_for_a = unresolved(router)
        with Scan(lab, prefix) as running:
            running.process.wait(SECONDS + 30)
            during = router.show("sync")[0]
        results = [t.finish() for t in traffic]
    finally:
        for t in traffic:
            t.stop()
    punts = router.counters()["punt_glean"] - punts
    overflows = table_overflows(version) - overflows
    print(f"  {prefix}: {punts} packets punted, the kernel's table overflowed {overflows} times; "
          f"millrace: {rss(router) - memory:+} kB, {during['neighbors']} neighbours, "
          f"{during['messages'] - before['messages']} messages", flush=True)
    with cases.case(f"scan of {prefix}: control: the kernel threw out a host that nobody used"):
        expect(punts > 2 * 1024, f"only {punts} packets were punted")
        row = entry(edge, host_address("d", version), "d0")
        expect(row is None, f"it is still there: {row}")
    with cases.case(f"scan of {prefix}: a connected host and a gateway in use stay, nothing is lost"):
        machine = lost_in_ports(router) - machine
        lost = [r["lost"] for r in results]
        expect(sum(lost) <= machine, f"{lost} of {[r['sent'] for r in results]} packets lost, {machine} of "
               "them by a machine that was too busy")
        punted_for_a = unresolved(router) - punted_for_a
        expect(punted_for_a == 0, f"{punted_for_a} packets found their host or gateway unresolved")
    with cases.case(f"scan of {prefix}: it costs no adjacency, no FIB entry and no memory to speak of"):
        for what in ("adjacencies", "prefixes", "groups"):
            expect(during[what] <= before[what] + 8, f"{what}: {before[what]} before, {during[what]} during")
        expect(during["neighbors"] < OWN_LIMIT, f"{during['neighbors']} neighbours")
        expect(rss(router) - memory < GREW_BY, f"{rss(router) - memory} kB more than before")
        expect(during["overruns"] == before["overruns"], "the kernel's messages ran over")
    with cases.case(f"scan of {prefix}: a host that appears then is resolved"):
        c.ip("addr", "add", newcomer, "dev", "eth0", *(["nodad"] if version == V6 else []))
        address = newcomer.split("/")[0]
        begin = time.monotonic()
        wait_until(lambda: ping(lab.netns["a"], address, 1, wait=1)["received"] == 1, "it answers", 10)
        print(f"  {address} answers after {time.monotonic() - begin:.2f} s", flush=True)
        router.wait_route(f"{address}/{32 if version == V4 else 128}", outcome="forward")


def main():
    cases = Cases("netns.scan")
    with StarLab(build_dir()) as lab:
        lab.start().start_router()
        edge = lab.edge
        for version in (V4, V6):
            edge.ip("addr", "add", SCANNED[version][0], "dev", "c0", *(["nodad"] if version == V6 else []))
            own = f"{BEHIND[version]}/{32 if version == V4 else 128}"
            lab.netns["c"].ip("addr", "add", own, "dev", "lo")
            edge.ip(f"-{version}", "route", "add", own, "via", host_address("c", version))
            for device in ("c0", "d0"):
                # STALE soon: one in any other state is spared anyway.
                neigh = f"net.ipv{version}.neigh.{device}"
                edge.run("sysctl", "-qw", f"{neigh}.base_reachable_time_ms=2000",
                         f"{neigh}.delay_first_probe_time=1")
        lab.resolve("a", "b", "c", "d")
        for version in (V4, V6):
            scan(cases, lab, version)
    return cases.finish()


if __name__ == "__main__":
    sys.exit(main())
