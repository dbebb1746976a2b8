# SPDX-License-Identifier: BSD-3-Clause
"""Tables that are full: what there is no room for is forwarded by the kernel, at its rate, and comes back."""

import ipaddress
import sys

from lab.cases import Cases, Stolen, build_dir, expect
from lab.keeping import Bench
from lab.netns import wait_until
from lab.star import Probe, StarLab, host_address
from lab.traffic import Blast

PPS, SECONDS = 60_000, 3  # three times punt.rate
SMALLEST = 16             # groups
FEW = "no room for its next hop; raise [sizes] groups and adjacencies"
FULL = "the IPv{0} FIB is full; raise [sizes] fib{0}_megabytes"
# Where the traffic goes: behind host b, over a nexthop object of its own, which needs a group of its own.
TARGET = {4: ("10.99.9.0/24", "10.99.9.9"), 6: ("2001:db8:99::/48", "2001:db8:99::9")}
# Enough to fill a table of a megabyte, each below a root entry of its own.
FILL = {4: 45_000, 6: 9_000}


def batch(bench, version, verb, lines):
    path = bench.lab.dir / "lines"
    path.write_text("".join(f"{verb} {line}\n" for line in lines))
    bench.edge.run("ip", f"-{version}", "-batch", path, timeout=60)


def gateways(version):
    """Routes that take all groups: each over a gateway of its own."""
    for i in range(2 * SMALLEST):
        prefix, via = ((f"10.98.{i}.0/24", f"10.0.3.{100 + i}") if version == 4 else
                       (f"2001:db8:98:{i:x}::/64", f"2001:db8:0:3::{100 + i:x}"))
        yield f"{prefix} via {via} dev c0"


def fill(version):
    """Host routes over host c, that need as many nodes as a table of a megabyte has."""
    for i in range(FILL[version]):
        address = (ipaddress.ip_address("11.0.0.1") + 256 * i if version == 4 else
                   ipaddress.ip_address("2400::1") + (i << 98))
        yield f"{address} via {host_address('c', version)} dev c0"


def loses_nothing(cases, bench, what, version):
    stolen = Stolen()
    with cases.case(f"{what}: {PPS} packets a second to it, none lost, IPv{version}", stolen):
        address, host = TARGET[version][1], bench.lab.netns["b"]
        blast = Blast(bench.lab.build / "tests" / "netns", bench.lab.netns["a"], host, address, PPS, SECONDS)
        before = bench.router.settled_counters()
        host.ip("addr", "add", address, "dev", "lo")  # only now: to single packets the host is not to answer
        try:
            result = blast.start().finish()
        finally:
            blast.stop()
            host.ip("addr", "del", f"{address}/{32 if version == 4 else 128}", "dev", "lo")
        bench.probe.forget()
        after = bench.router.settled_counters()
        moved = {k: v - before.get(k, 0) for k, v in after.items() if v != before.get(k, 0)}
        expect(result["sent"] > PPS and result["lost"] == 0, f"{result['lost']} of {result['sent']} lost: {moved}")
        expect(not moved, f"the worker had some of them: {moved}")


def rows(bench):
    return {(what, text) for _, what, text in bench.rows("limit")}


def groups(cases, bench, version):
    prefix, address = TARGET[version]
    with cases.case(f"no group is left: the prefix is the kernel's, and says so, IPv{version}"):
        batch(bench, version, "route add", gateways(version))
        # Ids that are still read by a worker are given out a moment later; two are reserved.
        wait_until(lambda: len({g["group"] for g in bench.router.show("nexthops")} - {0, 1}) == SMALLEST - 2,
                   "all groups are in use", 5)
        bench.ip(version, "nexthop", "add", "id", 7, "via", host_address("b", version), "dev", "b0")
        bench.ip(version, "route", "add", prefix, "nhid", 7)
        wait_until(lambda: (prefix, FEW) in rows(bench), f"{prefix} is shown as kept: {rows(bench)}", 5)
        bench.by_kernel(address)
        expect(bench.router.routes()[prefix]["outcome"] == "punt", f"{bench.router.routes()[prefix]}")
    loses_nothing(cases, bench, "no group is left", version)
    with cases.case(f"groups are free again: the prefix is back, without a change of its own, IPv{version}"):
        batch(bench, version, "route del", gateways(version))
        wait_until(lambda: not bench.rows("limit"), "nothing is kept for want of room", 5)
        bench.fast(address)
    bench.ip(version, "route", "del", prefix)
    bench.ip(version, "nexthop", "del", "id", 7)


def fib(cases, bench, version):
    prefix, address = TARGET[version]
    full = FULL.format(version)
    with cases.case(f"the FIB is full: the prefix is the kernel's, and says so, IPv{version}"):
        batch(bench, version, "route add", fill(version))
        wait_until(lambda: any(text == full for _, text in rows(bench)), "the FIB is full", 20)
        # One of many: a host route, so that it needs nodes.
        bench.ip(version, "route", "add", address, "via", host_address("b", version), "dev", "b0")
        covers = ipaddress.ip_network(prefix) if version == 4 else ipaddress.ip_network("2001:db8::/30", strict=False)

        def kept():
            return any(text == full and (what == f"IPv{version}" or covers == ipaddress.ip_network(what))
                       for what, text in rows(bench))
        wait_until(kept, f"{covers} is shown as kept", 5)
        bench.by_kernel(address)
        line = f" left to the kernel: prefixes that 'millrace show steering' lists: {full}"
        logged = [each for each in bench.router.log_path.read_text().splitlines() if line in each]
        expect(len(logged) <= 3, f"{len(logged)} lines about it in the log: {logged}")
    loses_nothing(cases, bench, "the FIB is full", version)
    with cases.case(f"the FIB has room again: the prefix is back, IPv{version}"):
        batch(bench, version, "route del", fill(version))
        wait_until(lambda: not bench.rows("limit"), "nothing is kept for want of room", 20)
        bench.fast(address)
    bench.ip(version, "route", "del", address)


def main():
    cases = Cases("netns.room")
    with StarLab(build_dir()) as lab:
        lab.start()
        lab.router.write_config(extra=f"\n[sizes]\ngroups = {SMALLEST}\nadjacencies = 256\n"
                                      "fib4_megabytes = 1\nfib6_megabytes = 1\n")
        lab.start_router()
        lab.resolve("a", "b", "c")
        # Hosts that come and go would take groups, and give them back, while these are counted.
        for spoke in "abc":
            for version in (4, 6):
                lab.edge.ip("neigh", "replace", host_address(spoke, version), "dev", f"{spoke}0", "lladdr",
                            lab.netns[spoke].mac("eth0"), "nud", "permanent")
        with Probe(lab) as probe:
            bench = Bench(lab, probe)
            for version in (4, 6):
                groups(cases, bench, version)
                fib(cases, bench, version)
    return cases.finish()


if __name__ == "__main__":
    sys.exit(main())
