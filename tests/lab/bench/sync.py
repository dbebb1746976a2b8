# SPDX-License-Identifier: BSD-3-Clause
"""The whole router under a full table: memory, resync, following the kernel, churn, next hops that change."""

import json
import os
import platform
import random
import re
import statistics
import subprocess
import time

from .. import full_table
from ..frr_scale import FrrLab
from ..netns import CommandError, wait_until
from ..table_lab import IDS, TableLab, Watch, add, delete, gateway, host_in, link_of, nexthop, replace

MB = 1_000_000
MBUF_BYTES = 4096
MBUFS = 16384     # sizes.mbufs, its default
CHURN_SECONDS = 60
WORKER_CORE = 1   # as Router's configuration has it
MESSAGES_SECONDS, MESSAGES_RATE = 600, 50_000
PPS = 20_000      # of the traffic that is watched
WATCHED = 64      # addresses
FLAT = 0.05       # growth of memory that a minute of churn may leave, as a share


class Report:
    """The rows of the table, printed as they come and once more at the end."""

    def __init__(self):
        self.rows = []
        self.figures = {}

    def add(self, what, measured, required, held, conditions):
        self.rows.append((what, measured, required, held))
        print(f"{what}: {measured} (required: {required}{'' if held else '; MISSED'}); {conditions}", flush=True)

    def table(self):
        wide = [max(len(row[n]) for row in self.rows) for n in range(3)]
        print(f"\n{'':{wide[0]}}  {'measured':>{wide[1]}}  {'required':>{wide[2]}}")
        for what, measured, required, held in self.rows:
            print(f"{what:{wide[0]}}  {measured:>{wide[1]}}  {required:>{wide[2]}}  {'ok' if held else 'MISSED'}")


def arguments(parser):
    parser.add_argument("--scale", type=float, default=1.0, metavar="X",
                        help="share of the full table, 0.001 to 1 (default 1)")
    parser.add_argument("--only", action="append", choices=list(ROWS), metavar="ROW", default=[],
                        help=f"of {', '.join(ROWS)}; may be given several times")
    parser.add_argument("--seed", type=int, default=full_table.SEED, metavar="N", help="of the table")
    parser.add_argument("--frr", action="store_true", help="the table by BGP through FRR instead (some minutes)")


def resident(router):
    """Bytes of millraced in memory, hugepages too, without its packet buffers: all of these are touched."""
    text = open(f"/proc/{router.process.pid}/smaps_rollup", encoding="utf-8").read()
    kib = {name: int(value) for name, value in re.findall(r"^(\w+):\s+(\d+) kB", text, re.M)}
    huge = kib.get("Private_Hugetlb", 0) + kib.get("Shared_Hugetlb", 0)
    return 1024 * (kib["Rss"] + huge) - MBUFS * MBUF_BYTES


def sync_row(router):
    return router.ask("sync")[0]


def settled(router, seconds=60):
    def in_sync():
        row = sync_row(router)
        return row if row["state"] == "synced" and row["synced"] else None
    return wait_until(in_sync, "millraced is in sync", seconds, 0.01)


def wait_count(router, wanted, seconds=60):
    """Seconds until the fast path has so many prefixes."""
    begin = time.monotonic()
    wait_until(lambda: router.count() >= wanted, f"the fast path has {wanted} prefixes", seconds, 0.005)
    return time.monotonic() - begin


def verify(router):
    """Seconds that `millrace verify` took; a difference is an error."""
    begin = time.monotonic()
    done = router.netns.run(router.cli_bin, "--socket", router.socket_path, "verify", check=False, timeout=120)
    if done.returncode != 0:
        raise CommandError(f"millrace verify: {(done.stderr or done.stdout).strip()[-400:]}")
    return time.monotonic() - begin


def following(bench):
    """The kernel is loaded as fast as ip can, the daemon follows."""
    lab, router = bench.lab, bench.lab.router
    before, statistics_before = router.count(), sync_row(router)
    took = lab.load(bench.routes)
    late = wait_count(router, before + len(bench.routes))
    now = sync_row(router)
    lost = now["overruns"] - statistics_before["overruns"]
    bench.loaded = True
    bench.report.figures["following"] = {"seconds": late, "kernel_seconds": took, "overruns": lost,
                                         "resyncs": now["resyncs"] - statistics_before["resyncs"]}
    bench.report.add("following: last route in force after the kernel has it", f"{late:.2f} s", "<= 0.5 s",
                     late <= 0.5, f"{len(bench.routes)} routes by ip -batch, {len(bench.routes) / took:,.0f} a second")
    bench.report.add("following: overruns at default sizes", str(lost), "0", lost == 0, "the same load")


def memory(bench):
    bench.load()
    used = resident(bench.lab.router)
    bench.report.figures["memory"] = {"bytes": used}
    bench.report.add("resident memory", f"{used / MB:.0f} MB", "<= 512 MB", used <= 512 * MB,
                     f"smaps_rollup's Rss and hugetlb, less {MBUFS} packet buffers of {MBUF_BYTES} bytes; "
                     f"{bench.lab.router.count()} prefixes")


def resync(bench):
    """A daemon that starts beside a kernel with the full table."""
    bench.load()
    router = bench.lab.router
    walls, own = [], []
    wanted = router.count()
    for _ in range(3):
        router.stop(30)
        walls.append(router.start(120))
        settled(router)
        if router.count() != wanted:
            raise CommandError(f"{router.count()} prefixes after the start, {wanted} before")
        own.append(sync_row(router)["last_duration_ms"] / 1000)
    took = statistics.median(own)
    bench.report.figures["resync"] = {"seconds": own, "start_seconds": walls}
    bench.report.add("resync from nothing", f"{took:.2f} s", "<= 3 s", took <= 3,
                     f"first dump asked for to last route in force, median of {len(own)}; process start to "
                     f"forwarding {statistics.median(walls):.2f} s")


def verification(bench):
    bench.load()
    took = [verify(bench.lab.router) for _ in range(3)]
    bench.report.figures["verify"] = {"seconds": took}
    bench.report.add("millrace verify", f"{statistics.median(took):.2f} s", "<= 10 s",
                     statistics.median(took) <= 10, f"{bench.lab.router.count()} prefixes, no difference, median of 3")


def clear_addresses(bench, routes, count=WATCHED):
    """[(route, address in it)] where no longer prefix of the table comes before it."""
    found = []
    for route in routes:
        address = host_in(route)
        rows = bench.lab.router.ask("routes", lookup=address)
        if rows and rows[0]["prefix"] == full_table.prefix_text(*route[:3]):
            found.append((route, address))
            if len(found) == count:
                break
    return found


def nexthops(bench):
    """Objects replaced and deleted under many prefixes, with a stream of packets through them.

    With nexthop_compat_mode=1 (the kernel's default) a replace makes the kernel announce each route, and a delete
    makes it walk its table, in either mode: that core runs nothing else meanwhile, the daemon's thread neither.
    """
    bench.load()
    lab, router = bench.lab, bench.lab.router
    four = sorted((r for r in bench.routes if r[0] == 4), key=lambda r: r[2] == 32)  # hosts last
    sizes = [n for n in (1_000_000, 100_000, 1_000) if n <= len(four)] or [len(four)]
    own = next(core for core in os.sched_getaffinity(0) if core != WORKER_CORE)  # the control thread's, with two
    results = {}
    for n, size in enumerate(sizes):
        hop = 2 * n  # behind b0
        moved = [(*r[:3], hop) for r in four[:size]]
        elsewhere = [(*r[:3], 100 + 2 * n) for r in four[size:] if r[3] == hop]
        lab.batch(replace(r, r[3]) for r in moved + elsewhere)
        watched = None
        for core, where in ((WORKER_CORE, "ip on the worker's core"), (own, "ip on the daemon's core")):
            wait_until(lambda h=hop, s=size: router.count(nexthop_id=IDS[4] + h) == s,
                       f"{size} prefixes by one object", 60, 0.05)
            settled(router)
            watched = watched or [address for _, address in clear_addresses(bench, moved)]
            shell = Shell(lab, core)
            for mode in (1, 0):
                lab.edge.sysctl(net__ipv4__nexthop_compat_mode=mode)
                results["replaced", size, f"compat_mode={mode}, {where}"] = times = []
                for turn in range(4):
                    old, new = (hop, hop + 1) if turn % 2 == 0 else (hop + 1, hop)
                    times.append(switch(lab, watched, IDS[4] + hop, old, new, shell))
                    settled(router)
            results["gone", size, where] = [switch(lab, watched, IDS[4] + hop, hop, None, shell)]
            shell.close()
            wait_until(lambda h=hop: router.count(nexthop_id=IDS[4] + h) == 0, "its prefixes have gone", 60, 0.05)
            settled(router)
            lab.batch([nexthop(hop)])
            lab.batch(add(r) for r in moved)
        lab.batch(replace(r, 100 + 2 * n) for r in moved)
        settled(router)
    bench.report.figures["nexthops"] = [dict(zip(("what", "prefixes", "conditions"), key), seconds=times)
                                        for key, times in results.items()]
    for (how, size, conditions), times in sorted(results.items(), key=lambda i: (i[0][0], i[0][2], i[0][1])):
        took = statistics.median(times)
        bench.report.add(f"nexthop {how} under {size:,}: {conditions}", f"{took * 1e3:.1f} ms", "<= 50 ms",
                         took <= 0.05, f"prefixes; last packet over the old one, from the command's writing, median of "
                         f"{len(times)}; {PPS} packets a second")


class Shell:
    """An `ip -batch` that waits for lines: a process for each command would take longer than what is measured."""

    def __init__(self, lab, core):
        self.process = lab.edge.popen("taskset", "-c", core, "ip", "-batch", "-", stdin=subprocess.PIPE)

    def run(self, line):
        """Returns CLOCK_REALTIME in ns just before."""
        at = time.time_ns()
        self.process.stdin.write(line.encode() + b"\n")
        self.process.stdin.flush()
        return at

    def close(self):
        self.process.stdin.close()
        self.process.wait(60)


def switch(lab, addresses, object_id, old, new, shell):
    """Seconds from the command to the last packet over the old next hop. new: None = the object is deleted."""
    with Watch(lab, addresses, PPS, 1.5) as watch:
        time.sleep(0.7)  # so that packets run before, and after
        if new is None:
            at = shell.run(f"nexthop del id {object_id}")
        else:
            at = shell.run(f"nexthop replace id {object_id} via {gateway(new)} dev {link_of(new)}")
        seen, sent, received = watch.finish()
    hops = {hop for of in seen.values() for hop in of}
    if old not in hops or (new is not None and hops != {old, new}):
        raise CommandError(f"packets left by {hops}, not by {old} and then {new} ({received} of {sent})")
    last = max(of[old].last for of in seen.values() if old in of)
    return max(0, last - at) / 1e9


class Churn:
    """Changes as lines for ip: half of them of routes longer than /24 (/48), and which next hops are right meanwhile.

    A parent's next hop changes between two; a child comes, changes and goes. Whatever the order, a packet goes by the
    parent or the child, by one of their next hops.
    """

    def __init__(self, bench, seed):
        self.random = random.Random(seed)
        self.hops = bench.nexthops
        routes = [r for r in bench.routes if r[2] in (24, 48)]
        self.random.shuffle(routes)
        count = max(100, len(routes) // 20)
        self.parents, self.changed = routes[:count], routes[count:2 * count]
        # State: the next hop that it has, None = it is not there.
        self.children = {self._child(r): None for r in self.parents}
        self.now = {r: r[3] for r in self.changed}
        self.keys = {True: list(self.children), False: list(self.now)}

    def _child(self, parent):
        family, address, length, hop = parent
        return family, address, length + self.random.choice((1, 2, 4) if family == 4 else (8, 12)), hop

    def other(self, route):
        return (route[3] + 7) % self.hops  # the other parity: the other link

    def allowed(self, route):
        """Next hops that are right for an address of this parent or changed route."""
        return {route[3], self.other(route)}

    def line(self):
        child = self.random.random() < 0.5
        route = self.random.choice(self.keys[child])
        state = self.children if child else self.now
        hop = state[route]
        if hop is None:
            state[route] = self.other(route)
            return add((*route[:3], self.other(route)))
        if child and self.random.random() < 0.5:
            state[route] = None
            return delete(route)
        state[route] = self.other(route) if hop == route[3] else route[3]
        return replace(route, state[route])

    def undo(self):
        for route, hop in self.children.items():
            if hop is not None:
                yield delete(route)
        for route, hop in self.now.items():
            if hop != route[3]:
                yield replace(route, route[3])


def churn(bench):
    """The kernel's own fastest changes, with traffic."""
    bench.load()
    lab, router = bench.lab, bench.lab.router
    seconds = max(5, CHURN_SECONDS * bench.scale)
    changes = Churn(bench, bench.seed)
    touched = {*changes.parents, *changes.changed}
    untouched = [r for r in bench.routes if r not in touched][:2000]
    right = {}
    for routes, allowed in ((changes.parents, changes.allowed), (changes.changed, changes.allowed),
                            (untouched, lambda r: {r[3]})):
        for route, address in clear_addresses(bench, routes, 200):
            if route[0] == 4:
                right[address] = allowed(route)
    used, before = None, sync_row(router)
    with Watch(lab, list(right), PPS, seconds) as watch:
        shell = lab.edge.popen("ip", "-batch", "-", stdin=subprocess.PIPE)
        count, begin = 0, time.monotonic()
        while time.monotonic() < begin + seconds:
            if used is None and time.monotonic() > begin + seconds / 4:
                used = resident(router)  # as many come as go by now
            shell.stdin.write("".join(changes.line() + "\n" for _ in range(500)).encode())
            count += 500
        shell.stdin.close()
        code = shell.wait(120)
        took = time.monotonic() - begin
        seen, sent, received = watch.finish()
    if code != 0:
        raise CommandError("ip -batch could not make the changes")
    late = time.monotonic()
    now = settled(router)
    late = time.monotonic() - late
    wrong = {a: (set(hops) - right[a]) for a, hops in seen.items() if set(hops) - right[a]}
    packets = sum(seen[a][h].packets for a, hops in wrong.items() for h in hops)
    found = {"changes": count, "seconds": took, "sent": sent, "received": received, "wrong": packets,
             "overruns": now["overruns"] - before["overruns"], "resyncs": now["resyncs"] - before["resyncs"],
             "memory_before": used, "memory_after": resident(router)}
    bench.report.figures["churn"] = found
    conditions = (f"{count / took:,.0f} changes a second for {took:.0f} s, half of them longer than /24 (/48); {sent} "
                  f"packets, {sent - received} lost; {found['overruns']} overruns, {found['resyncs']} resyncs, in sync "
                  f"{late:.1f} s after")
    bench.report.add("kernel's churn: packets to a wrong nexthop", str(packets), "0", packets == 0, conditions)
    growth = found["memory_after"] / used - 1
    bench.report.add("kernel's churn: growth of memory", f"{growth:+.1%}", f"<= {FLAT:.0%}", growth <= FLAT,
                     f"from {used / MB:.0f} MB after a quarter of the time")
    took = verify(router)
    bench.report.add("kernel's churn: verify after it", "no difference", "no difference", True, f"{took:.1f} s")
    lab.batch(changes.undo())


def messages(bench):
    """Changes given to mirror and tables as messages, faster than a kernel makes them, with a thread of lookups."""
    seconds = max(10, round(MESSAGES_SECONDS * bench.scale))
    command = [bench.build / "tests" / "benchmarks" / "bench-churn", "--seconds", seconds, "--rate", MESSAGES_RATE,
               "--seed", bench.seed]
    for version in (4, 6):
        command += [f"--prefixes{version}", sum(1 for r in bench.routes if r[0] == version)]
    done = subprocess.run(list(map(str, command)), stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode != 0:
        raise CommandError(f"bench-churn failed ({done.returncode})")
    found = json.loads(done.stdout)
    bench.report.figures["messages"] = found
    rate = found["updates"] / found["seconds"]
    conditions = (f"{rate:,.0f} updates a second for {found['seconds']:.0f} s, half longer than /24 (/48), at most "
                  f"{found['late_ms']:.0f} ms late; {found['packets']:,} lookups")
    bench.report.add("churn by messages: updates a second", f"{rate:,.0f}", f">= {MESSAGES_RATE:,}",
                     rate >= 0.99 * MESSAGES_RATE, conditions)
    bench.report.add("churn by messages: packets to a wrong nexthop, or punted", f"{found['wrong']}, {found['punted']}",
                     "0, 0", found["wrong"] + found["punted"] == 0, conditions)
    refused = found["punting4"] + found["punting6"] + found["doubts"]
    bench.report.add("churn by messages: false failures", str(refused), "0", refused == 0 and found["in_sync"],
                     "places in the FIB that punt for want of room, changes that the mirror doubts")
    first, last = found["resident_mb"][1], found["resident_mb"][-1]
    bench.report.add("churn by messages: growth of memory", f"{last / first - 1:+.1%}", f"<= {FLAT:.0%}",
                     last <= first * (1 + FLAT), f"from {first:.0f} MB after a fifth of the time; mirror and FIB alone")


# In this order: the first one loads the table, the last but one moves much of it to other next hops.
ROWS = {"following": following, "memory": memory, "resync": resync, "verify": verification, "churn": churn,
        "nexthops": nexthops, "messages": messages}


BEHIND = 0.5  # seconds that the fast path may have what the kernel has not, or the other way round


def by_frr(lab, report):
    """The table comes through a BGP session, which is lost, and comes again; FRR's daemons restart."""
    def compare(what, times, conditions):
        report.figures[what] = times._asdict()
        late = times.fast_path - times.kernel
        report.add(f"{what}: fast path behind the kernel", f"{late:+.2f} s", f"<= {BEHIND} s", late <= BEHIND,
                   f"kernel {times.kernel:.1f} s, fast path {times.fast_path:.1f} s {conditions}")
        report.add(f"{what}: verify", "no difference", "no difference", True, f"{verify(lab.router):.1f} s")

    compare("BGP brings the table", lab.load_by_bgp(1200), f"after the sessions' start, {len(lab.routes)} prefixes")
    compare("BGP session lost", lab.lose_session(1200), "after the peer's end")
    compare("BGP brings it again", lab.load_by_bgp(1200), "after the sessions' start")
    lab.restart_bgpd(1200)
    report.add("bgpd restarted: verify", "no difference", "no difference", True, f"{verify(lab.router):.1f} s")
    with lab.no_packet_lost(240):
        lab.restart_all(235)
    report.add("FRR restarted, kernel's routes kept: packets lost", "0", "0", True, f"{verify(lab.router):.1f} s to verify")


class Bench:
    def __init__(self, lab, args, routes, report):
        self.lab, self.report, self.build = lab, report, lab.build
        self.scale, self.seed = args.scale, args.seed
        self.nexthops = full_table.NEXTHOPS
        self.routes = routes
        self.loaded = False

    def load(self):
        """The table is in the kernel and in the fast path."""
        if not self.loaded:
            before = self.lab.router.count()
            self.lab.load(self.routes)
            wait_count(self.lab.router, before + len(self.routes))
            self.loaded = True
        settled(self.lab.router)


def run(args):
    if not 0.001 <= args.scale <= 1:
        raise CommandError("--scale must be from 0.001 to 1")
    report = Report()
    cpu = re.search(r"model name\s*: (.*)", open("/proc/cpuinfo", encoding="utf-8").read())
    print(f"{cpu[1] if cpu else platform.machine()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}; "
          f"Linux {platform.release()}")
    routes = full_table.Table(args.scale, args.seed, full_table.NEXTHOPS).routes
    four = sum(1 for r in routes if r[0] == 4)
    print(f"{four} IPv4 and {len(routes) - four} IPv6 prefixes (seed {args.seed}), {full_table.NEXTHOPS} next hops of each "
          "family; veth, one worker", flush=True)
    build = args.build_dir.resolve()
    if args.frr:
        with FrrLab(build, full_table.NEXTHOPS, routes) as lab:
            lab.start()
            lab.start_router()
            by_frr(lab, report)
    else:
        with TableLab(build, full_table.NEXTHOPS) as lab:
            lab.start()
            lab.start_router()
            bench = Bench(lab, args, routes, report)
            for name, row in ROWS.items():
                if not args.only or name in args.only:
                    row(bench)
    report.table()
    if args.json:
        with open(args.json, "w", encoding="utf-8") as out:
            json.dump({"scale": args.scale, "seed": args.seed, "prefixes": len(routes), "figures": report.figures,
                       "rows": report.rows}, out, indent=2)
            out.write("\n")
    return 0 if all(row[3] for row in report.rows) else 1
