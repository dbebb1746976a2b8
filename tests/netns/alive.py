# SPDX-License-Identifier: BSD-3-Clause
"""What stands still for 5 s: the daemon, its worker, its punting thread. The kernel forwards meanwhile, nothing old leaves."""

import os
import pathlib
import subprocess
import sys
import time

from lab.cases import Cases, Skip, Stolen, build_dir, expect
from lab.netns import wait_until
from lab.star import StarLab, host_address
from lab.stopping import stopped, stopped_thread, thread

WORKER_CORE = 1  # as Router.write_config() has it
PPS = 20000      # of each family
STILL = 5        # seconds
MOST_MS = 100    # lost, at the sent rate: the timeout of 50, and what senders and cores are late here
FAR = {4: "198.51.100.9", 6: "2001:db8:100::9"}
PREFIX = {4: "198.51.100.0/24", 6: "2001:db8:100::/48"}

def standing_still(lab, name):
    """The daemon (None), or one thread of it, while the `with` lasts."""
    pid = lab.router.process.pid
    return stopped(pid) if name is None else stopped_thread(pid, thread(pid, name))


def redirected(lab):
    return lab.router.steering()["redirect"]


def ring_drops(lab):
    return sum(row["xsk_rx_ring_full"] + row["xsk_fill_ring_empty"] for row in lab.router.show("ports"))


def silent(lab):
    return [row for row in lab.router.kept() if row["cause"] == "heartbeat"]


def standing(cases, lab, what, name, said, to="b", pps=PPS):
    stolen = Stolen()
    with cases.case(f"{what} stands still for {STILL} s: {MOST_MS} ms lost at most, and said", stolen):
        late_before = lab.router.counters()["drop_late"]
        logged = len(lab.router.log_path.read_text())
        drops = ring_drops(lab)
        with lab.traffic(pps, STILL + 3, to=to) as results:
            time.sleep(1)
            with standing_still(lab, name):
                time.sleep(STILL)
                if name is not None:
                    rows = silent(lab)
                    expect(len(rows) == 3, f"show steering says {rows}")
                    expect(all(said in row["text"] and "since" in row["text"] for row in rows), f"it says {rows}")
            wait_until(lambda: not silent(lab), "all ports have a heartbeat again", 2)
            before = redirected(lab)
            wait_until(lambda: redirected(lab) > before + 100, "packets take the fast path again", 2)
        late = lab.router.counters()["drop_late"] - late_before
        lost = [r["lost"] * 1000 / pps for r in results]
        print(f"    lost IPv4 {lost[0]:.1f} ms, IPv6 {lost[1]:.1f} ms, {late} frames were too late, "
              f"{ring_drops(lab) - drops} found a full ring")
        # What hosts and links of a busy machine lose besides is not the router's: it is in the figures before.
        ours = (late + ring_drops(lab) - drops) * 1000 / (2 * pps)
        if ours > MOST_MS and os.getloadavg()[0] > 4 * os.cpu_count():
            raise Skip(f"load {os.getloadavg()[0]:.0f}: the sender sends in bursts, {ours:.1f} ms' worth of them lost")
        expect(ours <= MOST_MS, f"{ours:.1f} ms lost by the fast path")
        lines = [line for line in lab.router.log_path.read_text()[logged:].splitlines() if said in line]
        expect(1 <= len(lines) <= 3, f"{len(lines)} lines in the log, of three ports: {lines}")


def old_table(cases, lab):
    """Routes move from b to c while the daemon stands still: no packet goes to b after SIGCONT."""
    with cases.case("after SIGCONT no packet goes by the table of before the stop", Stolen()):
        for version in (4, 6):
            lab.edge.ip(f"-{version}", "route", "replace", PREFIX[version], "via", host_address("b", version))
            lab.router.wait_route(PREFIX[version], outcome="forward")
        b = lab.netns["b"]
        for version in (4, 6):
            b.ip(f"-{version}", "route", "replace", "blackhole", PREFIX[version])
        for spoke in "bc":
            lab.netns[spoke].sysctl(net__ipv4__ip_forward=0)
        sender = [lab.netns["a"].popen(lab.build / "tests" / "netns" / "udp-blast", FAR[version], 9009, PPS, STILL + 4, 18,
                                       stdout=subprocess.DEVNULL) for version in (4, 6)]

        def arrived(spoke):
            return lab.netns[spoke].link("eth0")["stats64"]["rx"]["packets"]
        try:
            time.sleep(1)
            with standing_still(lab, None):
                time.sleep(1)
                for version in (4, 6):
                    lab.edge.ip(f"-{version}", "route", "replace", PREFIX[version], "via", host_address("c", version))
                time.sleep(STILL - 1)
                at_b, at_c = arrived("b"), arrived("c")
            time.sleep(1.5)
            to_b, to_c = arrived("b") - at_b, arrived("c") - at_c
        finally:
            for process in sender:
                process.kill()
                process.wait()
        print(f"    after SIGCONT {to_b} frames came to b, {to_c} to c")
        expect(to_c > PPS, f"only {to_c} frames came to c")
        expect(to_b < 20, f"{to_b} frames came to b")


def unbound_cores():
    """Where the kernel's unbound work may run, as a mask of cores."""
    return int(pathlib.Path("/sys/devices/virtual/workqueue/cpumask").read_text(encoding="ascii").replace(",", ""), 16)


def unbound_work(cases, lab, before):
    worker = 1 << WORKER_CORE
    with cases.case("the kernel's unbound work keeps off the worker's core while the daemon runs"):
        if not before & worker or before == worker:
            raise Skip(f"it has the cores {before:x}")
        expect(unbound_cores() == before & ~worker, f"it may run on {unbound_cores():x}")
        lab.router.stop()
        expect(unbound_cores() == before, f"it may run on {unbound_cores():x} now, on {before:x} before")


def main():
    cases = Cases("netns.alive")
    before = unbound_cores()
    with StarLab(build_dir()) as lab:
        lab.start().start_router()
        lab.resolve("a", "b", "c")
        standing(cases, lab, "the daemon", None, "millraced stood still")
        standing(cases, lab, "the worker", "rte-worker-1", "worker 0 on core 1 stands still")
        # d0 is no port: what goes there is punted, for the kernel to carry on.
        standing(cases, lab, "the punting thread", "millrace-punt", "the punting thread stands still", "d", 4000)
        old_table(cases, lab)
        unbound_work(cases, lab, before)
    return cases.finish()


if __name__ == "__main__":
    sys.exit(main())
