# SPDX-License-Identifier: BSD-3-Clause
"""What the kernel learns by ICMP about hosts: left to it while it lasts, by the fast path again when it is forgotten."""

import sys

from lab import frames as f
from lab.cases import Cases, build_dir, expect
from lab.keeping import Bench, family, target
from lab.netns import wait_until
from lab.star import Probe, StarLab, edge_address, host_address

V4, V6 = 4, 6


def learned(cases, bench):
    """A path MTU that the kernel has believed, and one that it has not."""
    for v in (V4, V6):
        prefix, host = target(2, v)
        host_prefix = f"{host}/{32 if v == V4 else 128}"
        key = "net.ipv4.route.mtu_expires" if v == V4 else "net.ipv6.route.mtu_expires"

        def packet_too_big(answered, v=v, host=host):
            """From host b, about an echo reply of the edge to the host, or about its echo request."""
            own, sender = edge_address("b", v), host_address("b", v)
            if v == V4:
                quoted = f.ipv4(own, host, f.ICMP, f.icmp4(bytes((0 if answered else 8,)) + bytes(11)))
                kind, protocol, message = f.ETH_IP, f.ICMP, f.icmp4(bytes((3, 4, 0, 0, 0, 0, 1, 244)) + quoted)
            else:
                quoted = f.ipv6(own, host, f.ICMP6 if answered else f.TCP, bytes((129,)) + bytes(19))
                kind, protocol = f.ETH_IP6, f.ICMP6
                message = f.icmp6(sender, own, bytes((2, 0, 0, 0, 0, 0, 5, 20)) + quoted)
            frame = f.ethernet(bench.edge.mac("b0"), bench.lab.netns["b"].mac("eth0"),
                               *f.packet(sender, own, protocol, message))
            with f.Sender(bench.lab.netns["b"], "eth0") as host_b:
                host_b.send(frame)
        with cases.case(f"a path MTU that the kernel has learned is heeded, and ends when it does, {family(v)}"):
            bench.fast(host)
            before = bench.edge.run("sysctl", "-n", key).stdout.strip()
            bench.edge.run("sysctl", "-qw", f"{key}=4")
            try:
                text = "path MTU 552, learned by ICMP" if v == V4 else "path MTU 1300, learned by ICMP"
                packet_too_big(True)
                wait_until(lambda: bench.rows("learned") == [(None, host_prefix, text)],
                           f"kept: {host_prefix}: {text}; shown: {bench.rows('learned')}", 10)
                bench.by_kernel(host)
                bench.fast(target(1, v)[1])
                wait_until(lambda: not bench.rows("learned"), "it has expired", 15)
                bench.fast(host)
            finally:
                bench.edge.run("sysctl", "-qw", f"{key}={before}")
        with cases.case(f"ICMP that the kernel does not believe keeps a host for a moment only, {family(v)}"):
            packet_too_big(False)
            wait_until(lambda: [what for _, what, _ in bench.rows("learned")] == [host_prefix], "it is kept at first", 2)
            wait_until(lambda: not bench.rows("learned"), "it is no longer kept", 10)
            bench.fast(host)


def flooded(cases, bench):
    """Anybody can send ICMP about hosts that the kernel has never heard of."""
    for v in (V4, V6):
        with cases.case(f"ICMP about 6,000 hosts slows that family down for a moment, and nothing else, {family(v)}"):
            own, sender = edge_address("b", v), host_address("b", v)
            head = bench.edge.mac("b0"), bench.lab.netns["b"].mac("eth0")
            log = bench.router.log_path.stat().st_size
            with f.Sender(bench.lab.netns["b"], "eth0") as host_b:
                for i in range(6000):
                    if v == V4:
                        quoted = f.ipv4(own, f"100.64.{i >> 8}.{i & 255}", f.UDP, bytes(8))
                        body, protocol = f.icmp4(bytes((3, 4, 0, 0, 0, 0, 1, 244)) + quoted), f.ICMP
                    else:
                        quoted = f.ipv6(own, f"2001:db8:ff::{i:x}", f.UDP, bytes(8))
                        body = f.icmp6(sender, own, bytes((2, 0, 0, 0, 0, 0, 5, 20)) + quoted)
                        protocol = f.ICMP6
                    host_b.send(f.ethernet(*head, *f.packet(sender, own, protocol, body)))
            wait_until(lambda: bench.rows("learned") or bench.rows("limit"), "it is noticed", 3)
            bench.probe.forget()
            bench.fast(target(1, V4 + V6 - v)[1])
            wait_until(lambda: not bench.rows("learned") and not bench.rows("limit"), "it is over", 20)
            bench.fast(target(1, v)[1])
            with open(bench.router.log_path, "rb") as lines:
                lines.seek(log)
                said = lines.read().decode().splitlines()
            expect(len(said) < 40, f"{len(said)} lines in the log; the last: {said[-3:]}")


def main():
    cases = Cases("netns.learned")
    with StarLab(build_dir()) as lab:
        lab.start()
        for v in (V4, V6):
            for n in (1, 2):
                lab.edge.ip(f"-{v}", "route", "add", target(n, v)[0], "via", host_address("b", v))
        lab.start_router()
        lab.resolve("a", "b", "c")
        with Probe(lab) as probe:
            bench = Bench(lab, probe)
            learned(cases, bench)
            flooded(cases, bench)
    return cases.finish()


if __name__ == "__main__":
    sys.exit(main())
