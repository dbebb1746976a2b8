# SPDX-License-Identifier: BSD-3-Clause
"""A router with 100,000 addresses of its own: they are followed, and none is a source or a target of the fast path."""

import ipaddress
import random
import sys
import time

from lab import frames as f
from lab.cases import Cases, build_dir, expect
from lab.netns import wait_until
from lab.star import Probe, StarLab, host_address

V4, V6 = 4, 6
MANY = 100_000
PREFIX = {V4: ("10.100.1.0/24", "10.100.1.9"), V6: ("2001:db8:101::/48", "2001:db8:101::9")}
FIRST = {V4: ipaddress.ip_address("172.16.0.0"), V6: ipaddress.ip_address("2001:db8:200::")}


def own(version, n):
    """Own address n; MANY and beyond are nobody's, and host a's to use."""
    return str(FIRST[version] + n)


def add_own(lab, version):
    """Host routes of the local table, which make an address the router's own; a tenth are addresses."""
    bits = 32 if version == V4 else 128
    lines = [f"route add local {own(version, n)}/{bits} dev lo table local\n" for n in range(MANY) if n % 100]
    lines += [f"addr add {own(version, n)}/{bits} dev lo\n" for n in range(0, MANY, 100)]
    path = lab.dir / "own"
    path.write_text("".join(lines))
    begin = time.monotonic()
    lab.edge.run("ip", "-batch", path, timeout=120)
    return time.monotonic() - begin


def sent(lab, probe, version, source, destination, seconds=0.3):
    """Where the packet came out."""
    probe.ident += 1
    mark = (0xA5000000 + probe.ident).to_bytes(4, "big")
    kind, packet = f.packet(source, destination, f.UDP, f.udp(source, destination, 40000, 9, mark * 4))
    probe.sender.send(f.ethernet(probe.in_mac, probe.a_mac, kind, packet))
    return probe._outcome(mark, seconds)[0]


def main():
    cases = Cases("netns.own_addresses")
    chosen = random.Random(10).sample(range(MANY), 60) + [0, MANY - 1]
    with StarLab(build_dir()) as lab:
        lab.start()
        lab.start_router()
        lab.resolve("a", "b")
        for v in (V4, V6):
            lab.edge.ip(f"-{v}", "route", "add", PREFIX[v][0], "via", host_address("b", v))
            lab.router.wait_route(PREFIX[v][0], outcome="forward")
        with Probe(lab) as probe:
            for v in (V4, V6):
                with cases.case(f"100,000 own addresses are followed, IPv{v}"):
                    took = add_own(lab, v)
                    begin = time.monotonic()

                    def local(v=v):
                        before = lab.router.steering().get("local", 0)
                        sent(lab, probe, v, host_address("a", v), own(v, MANY - 1), 0.05)
                        return lab.router.steering().get("local", 0) > before
                    wait_until(local, "the last one is the router's own", 60, 0.05)
                    print(f"IPv{v}: the kernel took {took:.1f} s, millrace {time.monotonic() - begin:.2f} s longer")
                    expect(not [row for row in lab.router.kept() if row["cause"] == "limit"], "a limit is reached")
                with cases.case(f"a packet to an own address is the kernel's, each of {len(chosen)}, IPv{v}"):
                    before = lab.router.steering()
                    for n in chosen:
                        sent(lab, probe, v, host_address("a", v), own(v, n), 0.02)
                    after = lab.router.steering()
                    moved = {r: after[r] - before[r] for r in ("local", "redirect")}
                    expect(moved["redirect"] == 0 and moved["local"] >= len(chosen), f"{moved}")
                if v == V4:  # IPv6 doesn't look at the source
                    with cases.case("a packet from an own address is not forwarded, each of them"):
                        out = [n for n in chosen if sent(lab, probe, v, own(v, n), PREFIX[v][1], 0.05)]
                        expect(not out, f"forwarded: from {[own(v, n) for n in out]}")
                with cases.case(f"all else is the fast path's, IPv{v}"):
                    before = lab.router.settled_counters().get("forwarded", 0)
                    for n in range(20):
                        where = sent(lab, probe, v, own(v, MANY + 10 + n), PREFIX[v][1])
                        expect(where == "b", f"it came out at {where}")
                    forwarded = lab.router.settled_counters().get("forwarded", 0) - before
                    expect(forwarded == 20, f"{forwarded} of 20 by the fast path")
    return cases.finish()


if __name__ == "__main__":
    sys.exit(main())
