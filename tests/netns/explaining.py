# SPDX-License-Identifier: BSD-3-Clause
"""`millrace explain`: what it says of a packet is what then becomes of that packet, and asking leaves no trace."""

import json
import socket
import sys

from lab import frames as f
from lab.cases import Cases, build_dir, expect
from lab.keeping import Bench, family, target
from lab.netns import wait_until
from lab.star import Probe, StarLab, edge_address, host_address

V4, V6 = 4, 6
FAST, NOT_KNOWN, USAGE, KERNEL, DIFFERS, DROPPED = 0, 1, 2, 3, 4, 5
KEPT = {V4: "10.101.0.0/16", V6: "2001:db8:101::/48"}
KEPT_HOST = {V4: "10.101.0.9", V6: "2001:db8:101::9"}
NO_ROUTE = {V4: "10.250.0.1", V6: "2001:db8:250::1"}
MTU = 1400


class Asked:
    """One answer: its exit code, its parts."""

    def __init__(self, lab, *words):
        self.done = lab.router.cli("explain", "in", "a0", *map(str, words), "--json", check=False)
        self.code = self.done.returncode
        self.answer = json.loads(self.done.stdout) if self.done.stdout else {}
        self.classifier = self.answer.get("classifier", {})
        self.workers = self.answer.get("workers", {})
        self.kernel = self.answer.get("kernel", {})

    def says(self, code, classifier="redirect", worker="forwarded", **kernel):
        seen = self.code, self.classifier.get("reason"), self.workers.get("reason")
        expect(seen == (code, classifier, worker), f"{seen} instead of {(code, classifier, worker)}: {self.answer} "
               f"{self.done.stderr}")
        expect(kernel.items() <= self.kernel.items(), f"the kernel: {self.kernel} instead of {kernel}")
        return self

    def member(self):
        return self.workers["next_hop"]["interface"][0]


def about(lab, to, *words, source=None):
    version = V6 if ":" in to else V4
    return Asked(lab, "from", source or host_address("a", version), "to", to, *words)


def rows(cases, bench, v):
    lab, ip = bench.lab, bench.ip
    prefix, routed = target(1, v)
    with cases.case(f"transit: to a neighbour, and over a gateway, {family(v)}"):
        about(lab, host_address("b", v)).says(FAST, device="b0", gateway=None)
        bench.fast(host_address("b", v))
        asked = about(lab, routed, "tcp", 1024, 179, "length", 1000).says(FAST, device="b0", gateway=host_address("b", v))
        expect(asked.workers["route"]["prefix"] == prefix and asked.workers["next_hop"]["gateway"] == host_address("b", v),
               f"{asked.workers}")
        expect(asked.workers["next_hop"]["mac"] == lab.netns["b"].mac("eth0"), f"{asked.workers}")
        expect(asked.workers["packet"]["length"] == 1000, f"{asked.workers}")
        bench.fast(routed)
    with cases.case(f"to the router itself, {family(v)}"):
        about(lab, edge_address("a", v), "icmp").says(KERNEL, "local", "punt_local", type="local")
    with cases.case(f"to a kept prefix, {family(v)}"):
        about(lab, KEPT_HOST[v]).says(KERNEL, "keep_prefix", device="c0")
        bench.by_kernel(KEPT_HOST[v], "c")
    with cases.case(f"no route, {family(v)}"):
        asked = about(lab, NO_ROUTE[v]).says(KERNEL, worker="punt_no_route")
        expect(asked.kernel["refused"].startswith("unreachable"), f"{asked.kernel}")
        where, _, moved = bench.sent(NO_ROUTE[v])
        expect(where == "icmp" and moved == {"punt_no_route": 1}, f"{where} {moved}")
    with cases.case(f"a blackhole, {family(v)}"):
        black, inside = target(40, v)
        ip(v, "route", "add", "blackhole", black)
        lab.router.wait_route(black, outcome="drop")
        about(lab, inside).says(DROPPED, worker="drop_blackhole")
        bench.lost(inside, "drop_blackhole")
        ip(v, "route", "del", "blackhole", black)
    with cases.case(f"a gateway that is not resolved, a device that is no port, back where it came from, {family(v)}"):
        for n, gateway, spoke, reason in ((41, f"{host_address('b', v)}7", "b", "punt_no_neighbour"),
                                          (42, host_address("d", v), "d", "punt_unmanaged"),
                                          (43, host_address("a", v), "a", "punt_hairpin")):
            other, inside = target(n, v)
            ip(v, "route", "add", other, "via", gateway)
            wait_until(lambda other=other: other in lab.router.routes(), f"{other} is shown")
            try:
                about(lab, inside).says(KERNEL, worker=reason, device=f"{spoke}0", gateway=gateway)
                _, _, moved = bench.sent(inside, seconds=0.3)
                expect(moved == {reason: 1}, f"{moved} instead of {reason}")
            finally:
                ip(v, "route", "del", other)
    with cases.case(f"longer than the MTU of the egress, and as long as it, {family(v)}"):
        lab.edge.ip("link", "set", "c0", "mtu", MTU)
        wait_until(lambda: any(r["port"] == "c0" and r["mtu"] == MTU for r in lab.router.ask("ports")), "the MTU is followed")
        try:
            for length, code, reason in ((MTU, FAST, "forwarded"), (MTU + 1, KERNEL, "punt_too_big")):
                asked = about(lab, host_address("c", v), "udp", 5, 9, "length", length).says(code, worker=reason)
                before = lab.router.settled_counters()
                bench.probe.sender.send(bytes.fromhex(asked.answer["frame"]))  # the very frame
                after = lab.router.settled_counters()
                moved = {k: n - before[k] for k, n in after.items() if n != before[k]}
                expect(moved == {reason: 1}, f"{length} bytes: {moved}")
        finally:
            lab.edge.ip("link", "set", "c0", "mtu", 1500)


def members(cases, bench, v):
    with cases.case(f"the member of a group that it names is the one that has the flow, {family(v)}"):
        prefix, inside = target(50, v)
        bench.ip(v, "route", "add", prefix, *(word for spoke in "bc" for word in ("nexthop", "via", host_address(spoke, v))))
        wait_until(lambda: prefix in bench.router.routes(), "the route is shown")
        try:
            named = {}
            for sport in range(40000, 40012):
                asked = about(bench.lab, inside, "udp", sport, 9).says(FAST)
                named[sport] = asked.member()
                where, _ = bench.probe.send(inside, sport=sport)
                expect(where == named[sport], f"from {sport} it came out at {where}, not {named[sport]}: {asked.workers}")
                again = Asked(bench.lab, "--frame", bench.probe.sent.hex()).says(FAST)
                expect(again.workers["group"] == asked.workers["group"], f"{again.workers} of the frame, {asked.workers}")
            expect(len(set(named.values())) == 2, f"all flows take one member: {named}")
        finally:
            bench.ip(v, "route", "del", prefix)


def others(cases, bench):
    lab = bench.lab
    with cases.case("a source that fails rp_filter"):
        lab.edge.sysctl(net__ipv4__conf__a0__rp_filter=1)
        try:
            source = host_address("b")
            wait_until(lambda: about(lab, host_address("c"), source=source).workers["reverse_path"] == "strict", "it is followed")
            asked = about(lab, host_address("c"), source=source).says(KERNEL, worker="punt_reverse_path")
            expect("rp_filter" in asked.kernel["refused"], f"{asked.kernel}")
            about(lab, host_address("c")).says(FAST)
        finally:
            lab.edge.sysctl(net__ipv4__conf__a0__rp_filter=0)
    with cases.case("no IP packet, half a packet"):
        mac = lab.edge.mac("a0")
        for payload, kind, reason in ((bytes(46), 0x0806, "not_ip"), (bytes(5), 0x0800, "truncated")):
            frame = f.ethernet(mac, lab.netns["a"].mac("eth0"), kind, payload)
            asked = Asked(lab, "--frame", frame.hex())
            expect(asked.code == KERNEL and asked.classifier["reason"] == reason and asked.kernel is None, f"{asked.answer}")
    with cases.case("what the kernel's routes and the fast path say differs: exit status 4"):
        prefix, inside = target(1, V4)
        lab.router.cli("debug", "plant", "mirror-route", prefix)
        asked = about(lab, inside)
        expect(asked.code == DIFFERS and asked.workers["reason"] == "drop_blackhole", f"{asked.code} {asked.answer}")
        expect("discards" in asked.answer["differs"] and "dev b0" in asked.answer["differs"], asked.answer["differs"])
        wait_until(lambda: about(lab, inside).code == FAST, "it is repaired", 30, 0.5)
    with cases.case("asking is not counted"):
        before = lab.router.ask("counters"), redirected(lab), lab.router.ask("ports")
        for _ in range(3):
            about(lab, host_address("b")).says(FAST)
        expect((lab.router.ask("counters"), redirected(lab), lab.router.ask("ports")) == before, "counters moved")
    with cases.case("a port that is drained is the kernel's, and so is one whose daemon stands still"):
        lab.router.do("drain", port="a0")
        about(lab, host_address("b")).says(KERNEL, "disabled")
        lab.router.do("undrain", port="a0")
        about(lab, host_address("b")).says(FAST)
    with cases.case("in words: a line for each step"):
        text = lab.router.cli("explain", "in", "a0", "from", host_address("a"), "to", host_address("b"), "udp", 1024, 53).stdout
        steps = [line.split()[0] for line in text.splitlines()]
        wanted = ["frame", "classifier", "header", "rp_filter", "route", "group", "next", "MTU", "leaves", "kernel", "verdict"]
        expect([s for s in steps if s in wanted] == wanted, text)
        expect("verdict     fast path: forwarded by the fast path" in text, text)
    with cases.case("wrong words, no such port: one line, and the exit status"):
        for code, words in ((USAGE, ("in", "a0")), (USAGE, ("in", "a0", "from", "10.0.0.1", "to", "::1")),
                            (USAGE, ("in", "a0", "from", "10.0.0.1", "to", "10.0.0.2", "udp", "1")),
                            (USAGE, ("in", "a0", "from", "10.0.0.1", "to", "10.0.0.2", "length", "27")),
                            (USAGE, ("in", "a0", "--frame", "0g")),
                            (NOT_KNOWN, ("in", "d0", "from", "10.0.0.1", "to", "10.0.0.2"))):
            done = lab.router.cli("explain", *words, check=False)
            expect(done.returncode == code and done.stderr.count("\n") == 1 and not done.stdout, f"{words}: {done}")


def redirected(lab):
    return [r["packets"] for r in lab.router.ask("steering") if r["kind"] == "verdict" and r["reason"] == "redirect"]


def main():
    cases = Cases("netns.explaining")
    with StarLab(build_dir()) as lab:
        lab.start()
        kept = ", ".join(f'"{p}"' for p in KEPT.values())
        lab.router.write_config(heartbeat_ms=1000, extra=f"\n[keep]\nprefixes = [{kept}]\n")
        lab.router.daemon_flags = ["--debug-hooks"]
        for v in (V4, V6):
            lab.edge.ip(f"-{v}", "route", "add", target(1, v)[0], "via", host_address("b", v))
            lab.edge.ip(f"-{v}", "route", "add", KEPT[v], "via", host_address("c", v))
        lab.start_router()
        lab.resolve("a", "b", "c")
        # So that the hosts answer nothing.
        with lab.netns["b"].socket(socket.AF_INET6) as b, lab.netns["c"].socket(socket.AF_INET6) as c, Probe(lab) as probe:
            for heard in (b, c):
                heard.bind(("::", 9))
            bench = Bench(lab, probe)
            for v in (V4, V6):
                rows(cases, bench, v)
                members(cases, bench, v)
            others(cases, bench)
    return cases.finish()


if __name__ == "__main__":
    sys.exit(main())
