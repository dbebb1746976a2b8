# SPDX-License-Identifier: BSD-3-Clause
"""What is punted in bulk is left in the kernel from the classifier on, and comes back when its route does."""

import ipaddress
import sys

from lab.cases import Cases, Stolen, build_dir, expect
from lab.keeping import Bench
from lab.netns import wait_until
from lab.star import Probe, StarLab, host_address
from lab.traffic import Blast

PPS, SECONDS = 200_000, 4
MOST_LOST = 0.01  # beyond what the kernel alone loses, which is measured beside it
# Behind host d, whose link is no port: what the worker gets for it is the kernel's to carry on.
ONE = {4: ("10.99.9.0/24", "10.99.9.9"), 6: ("2001:db8:99::/48", "2001:db8:99::9")}
MANY = {4: ("10.98.0.0/16", "10.98.0.0/16"), 6: ("2001:db8:98::/48", "2001:db8:98::/48")}
BLOCKS = {4: ("10.99.9.0/24", "10.98.0.0/16"), 6: ("2001:db8:99::/64", "2001:db8:98::/64")}


def blast(bench, address):
    run = Blast(bench.lab.build / "tests" / "netns", bench.lab.netns["a"], bench.lab.netns["d"], address, PPS, SECONDS)
    try:
        result = run.start().finish()
    finally:
        run.stop()
    bench.probe.forget()
    return result


def kept(bench):
    return {what for _, what, _ in bench.rows("punts")}


def in_bulk(cases, bench, version, what, target, block, by_kernel):
    prefix, address = target
    with cases.case(f"{what}: {PPS} packets a second over a device that is no port, IPv{version}", Stolen()):
        before = bench.router.settled_counters()
        result = blast(bench, address)
        shown = bench.rows("punts")
        after = bench.router.settled_counters()
        moved = {k: v - before.get(k, 0) for k, v in after.items() if v != before.get(k, 0)}
        lost, kernels = result["lost"] / result["sent"], by_kernel["lost"] / by_kernel["sent"]
        print(f"    {lost:.2%} of {result['sent']} lost, by the kernel alone {kernels:.2%}; the worker had {moved}")
        expect(result["sent"] > PPS, f"the sender made only {result['sent']}")
        expect(lost <= kernels + MOST_LOST, f"{lost:.1%} lost, by the kernel alone {kernels:.1%}: {moved}")
        expect(("a0", block) in [row[:2] for row in shown], f"shown as kept: {shown}, not {block}")
        wide = ipaddress.ip_network(prefix)
        expect(all(ipaddress.ip_network(what).subnet_of(wide) for _, what, _ in shown), f"more than {wide}: {shown}")
        expect(moved["punt_unmanaged"] < result["sent"] / 4, f"the worker had most of it: {moved}")
    with cases.case(f"{what}: the route leads over a port now: fast again at once, IPv{version}"):
        via = host_address("b", version)
        bench.ip(version, "route", "replace", prefix, "via", via, "dev", "b0")
        wait_until(lambda: not kept(bench), "nothing is kept any more", 1)
        bench.fast(str(ipaddress.ip_network(prefix)[9]))
    bench.ip(version, "route", "del", prefix)


def main():
    cases = Cases("netns.bulk_punts")
    with StarLab(build_dir()) as lab:
        lab.start()
        targets = [(version, what, target, block)
                   for version in (4, 6)
                   for what, target, block in (("one block", ONE[version], BLOCKS[version][0]),
                                               ("many destinations", MANY[version], BLOCKS[version][1]))]

        def to_d(version, target):
            lab.edge.ip(f"-{version}", "route", "add", target[0], "via", host_address("d", version), "dev", "d0")

        for version, _, target, _ in targets:  # host d takes all of it
            lab.netns["d"].ip(f"-{version}", "route", "add", "local", target[0], "dev", "lo")
        lab.start_router()
        lab.resolve("a", "b", "c", "d")
        with Probe(lab) as probe:
            bench = Bench(lab, probe)
            by_kernel = {}
            lab.router.stop()
            for version, what, target, _ in targets:
                to_d(version, target)
                by_kernel[version, what] = blast(bench, target[1])
                lab.edge.ip(f"-{version}", "route", "del", target[0])
            lab.start_router()
            lab.resolve("a", "b", "c", "d")
            for version, what, target, block in targets:
                to_d(version, target)
                in_bulk(cases, bench, version, what, target, block, by_kernel[version, what])
    return cases.finish()


if __name__ == "__main__":
    sys.exit(main())
