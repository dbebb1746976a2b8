# SPDX-License-Identifier: BSD-3-Clause
"""What the kernel decides beyond routes: each cause made to happen, looked at on the wire and in `show steering`.

A packet must go where the kernel sends it while the cause lasts, and by the fast path again when it is gone.
"""

import socket
import struct
import sys

from lab.cases import Cases, Skip, build_dir, expect
from lab.keeping import Bench, family, target
from lab.netns import CommandError, wait_until
from lab.star import Probe, StarLab, edge_address, host_address

V4, V6 = 4, 6
CONFIGURED = "10.100.5.0/24"


def rules(cases, bench):
    for v in (V4, V6):
        prefix, address = target(1, v)
        _, other = target(2, v)
        host = f"{host_address('a', v)}/{32 if v == V4 else 128}"

        def rule(*selector, action=("lookup", 100), at=100, v=v):
            args = ("rule", "{}", "pref", at, *selector, *action)
            return tuple(lambda verb=verb: bench.ip(v, *(verb if a == "{}" else a for a in args))
                         for verb in ("add", "del"))

        with cases.case(f"a rule to a prefix keeps the prefix alone, {family(v)}"):
            with bench.kept(*rule("to", prefix), "rule",
                            (None, prefix, f"policy rule 100: from all to {prefix} lookup 100")):
                bench.by_kernel(address, "c")
                bench.fast(other)
            bench.fast(address)
        with cases.case(f"a rule from and to keeps the longer prefix, {family(v)}"):
            with bench.kept(*rule("from", host, "to", prefix), "rule",
                            (None, host, f"policy rule 100: from {host} to {prefix} lookup 100")):
                bench.by_kernel(address, "c")
                bench.by_kernel(other, "b")
            bench.fast(address)
        with cases.case(f"a rule by ingress keeps the family on that port, {family(v)}"):
            with bench.kept(*rule("iif", "a0"), "rule",
                            ("a0", family(v), "policy rule 100: from all iif a0 lookup 100")):
                bench.by_kernel(address, "c")
                bench.fast(target(1, V4 + V6 - v)[1])
            with bench.kept(*rule("iif", "b0"), "rule",
                            ("b0", family(v), "policy rule 100: from all iif b0 lookup 100")):
                bench.fast(address)
            bench.fast(address)
        with cases.case(f"a rule by anything else keeps the family, {family(v)}"):
            for selector, text, spoke in (
                    (("uidrange", "0-0"), "from all uidrange 0-0 lookup 100", "c"),
                    (("fwmark", "0x1"), "from all fwmark 0x1/0xffffffff lookup 100", "b"),
                    (("not", "iif", "b0"), "not from all iif b0 lookup 100", "c"),
                    ((), "from all lookup 100", "c")):
                with bench.kept(*rule(*selector), "rule", (None, family(v), f"policy rule 100: {text}")):
                    bench.by_kernel(address, spoke)
            with bench.kept(*rule("to", prefix, action=("unreachable",)), "rule",
                            (None, prefix, f"policy rule 100: from all to {prefix} unreachable")):
                where, answer, moved = bench.sent(address)
                expect(where == "icmp" and not moved, f"it came out at {where}: {moved}")
                expect(answer[2] == edge_address("a", v), f"the answer came from {answer[2]}")
            bench.fast(address)
        with cases.case(f"rules that no transit packet meets, or that say the same, keep nothing, {family(v)}"):
            for selector, options in (
                    (("oif", "b0"), {}), (("iif", "lo"), {}), (("iif", "d0"), {}),
                    (("uidrange", "1-5000"), {}), (("to", prefix), {"at": 40000}),
                    (("to", prefix), {"action": ("lookup", "main")})):
                bench.unmoved(*rule(*selector, **options))
            bench.fast(address)
        with cases.case(f"without the rule for main the family is the kernel's, {family(v)}"):
            text = "no policy rule that looks up table local, and then main, for all packets"
            last = [(None, family(v), "policy rule 32767: from all lookup default")] if v == V4 else []
            with bench.kept(lambda v=v: bench.ip(v, "rule", "del", "pref", 32766),
                            lambda v=v: bench.ip(v, "rule", "add", "pref", 32766, "lookup", "main"),
                            "rule", (None, family(v), text), *last):
                where, _, moved = bench.sent(address)
                expect(where in ("icmp", None) and not moved, f"it came out at {where}: {moved}")
            bench.fast(address)
    with cases.case("a rule by egress, with a reverse path filter, keeps IPv4 where the filter is"):
        # The filter looks up the way back as if the packet came in where it goes out.
        _, address = target(1, V4)
        bench.edge.sysctl(net__ipv4__conf__a0__rp_filter=1)
        try:
            text = "policy rule 100: from all iif b0 unreachable"
            with bench.kept(lambda: bench.ip(V4, "rule", "add", "pref", 100, "iif", "b0", "unreachable"),
                            lambda: bench.ip(V4, "rule", "del", "pref", 100), "rule",
                            ("a0", "IPv4", f"{text} (reverse path filter)"), ("b0", "IPv4", text)):
                bench.lost(address)
        finally:
            bench.edge.sysctl(net__ipv4__conf__a0__rp_filter=0)


def switches(cases, bench):
    def sysctl(name, value):
        return lambda: bench.edge.sysctl(**{name: value})

    for v in (V4, V6):
        _, address = target(1, v)
        name, port = ("net.ipv4.conf.a0.forwarding", "a0") if v == V4 else ("net.ipv6.conf.all.forwarding", None)
        with cases.case(f"forwarding is off in the kernel, {family(v)}"):
            key = name.replace(".", "__")
            with bench.kept(sysctl(key, 0), sysctl(key, 1), "forwarding", (port, family(v), f"{name} = 0")):
                bench.lost(address)
                bench.fast(target(1, V4 + V6 - v)[1])
            bench.fast(address)
    with cases.case("ip_forward switches every port"):
        rows = [(p, "IPv4", f"net.ipv4.conf.{p}.forwarding = 0") for p in bench.lab.ports]
        with bench.kept(sysctl("net__ipv4__ip_forward", 0), sysctl("net__ipv4__ip_forward", 1), "forwarding",
                        *rows):
            bench.lost(target(1, V4)[1])
        bench.fast(target(1, V4)[1])
    with cases.case("IPv6 switched off on a port, which the kernel does not announce"):
        def on_again():
            bench.edge.sysctl(net__ipv6__conf__c0__disable_ipv6=0)
            bench.edge.ip("addr", "add", f"{edge_address('c', 6)}/64", "dev", "c0", "nodad")
        with bench.kept(sysctl("net__ipv6__conf__c0__disable_ipv6", 1), on_again, "forwarding",
                        ("c0", "IPv6", "net.ipv6.conf.c0.disable_ipv6 = 1")):
            pass
        bench.lab.resolve("c")


def devices(cases, bench):
    with cases.case("a port that is a bridge's member"):
        bench.edge.ip("link", "add", "br0", "type", "bridge")
        bench.edge.ip("link", "set", "br0", "up")
        try:
            with bench.kept(lambda: bench.edge.ip("link", "set", "a0", "master", "br0"),
                            lambda: bench.edge.ip("link", "set", "a0", "nomaster"), "master",
                            ("a0", "all", "member of br0 (bridge)")):
                wait_until(lambda: bench.probe.send(target(1, V4)[1])[0] == "b", "the bridge takes it", 5)
                for v in (V4, V6):
                    bench.by_kernel(target(1, v)[1])
        finally:
            bench.edge.ip("link", "del", "br0")
        bench.lab.resolve("a")
        for v in (V4, V6):
            bench.fast(target(1, v)[1])
    with cases.case("a port that is a bond's member"):
        try:
            bench.edge.ip("link", "add", "bond0", "type", "bond")
        except CommandError as error:
            raise Skip("this kernel has no bonding") from error
        bench.edge.ip("link", "set", "c0", "down")
        try:
            with bench.kept(lambda: bench.edge.ip("link", "set", "c0", "master", "bond0"),
                            lambda: bench.edge.ip("link", "set", "c0", "nomaster"), "master",
                            ("c0", "all", "member of bond0 (bond)")):
                pass
        finally:
            bench.edge.ip("link", "del", "bond0")
            bench.edge.ip("link", "set", "c0", "up")
            for version in (V4, V6):
                bench.edge.ip("addr", "replace", f"{edge_address('c', version)}/{24 if version == V4 else 64}",
                              "dev", "c0", *(["nodad"] if version == V6 else []))
            bench.lab.resolve("c")


def tc(bench, *args, **options):
    return bench.edge.run("tc", *args, **options)


def queues(cases, bench):
    shaper = ("tbf", "rate", "100mbit", "burst", "100k", "latency", "50ms")

    def packets():
        text = tc(bench, "-s", "qdisc", "show", "dev", "b0").stdout
        return int(text.split(" pkt ")[0].split()[-1])
    with cases.case("a shaper on the egress port sees every packet"):
        with bench.kept(lambda: tc(bench, "qdisc", "add", "dev", "b0", "root", "handle", "8:", *shaper),
                        lambda: tc(bench, "qdisc", "del", "dev", "b0", "root"), "qdisc",
                        ("b0", "egress", "qdisc tbf 8:")):
            for v in (V4, V6):
                before = packets()
                for _ in range(5):  # the kernel's own talk with neighbours goes through it, too
                    bench.by_kernel(target(1, v)[1], punt="punt_qdisc")
                expect(packets() >= before + 5, f"the shaper counted {packets() - before} packets")
        for v in (V4, V6):
            bench.fast(target(1, v)[1])
    with cases.case("a shaper on the ingress port changes nothing for what comes in"):
        with bench.kept(lambda: tc(bench, "qdisc", "add", "dev", "a0", "root", "handle", "8:", *shaper),
                        lambda: tc(bench, "qdisc", "del", "dev", "a0", "root"), "qdisc",
                        ("a0", "egress", "qdisc tbf 8:")):
            bench.fast(target(1, V4)[1])
    with cases.case("a plain queue and an empty clsact keep nothing"):
        bench.unmoved(lambda: tc(bench, "qdisc", "add", "dev", "b0", "root", "pfifo"),
                      lambda: tc(bench, "qdisc", "del", "dev", "b0", "root"))
        bench.unmoved(lambda: tc(bench, "qdisc", "add", "dev", "b0", "clsact"),
                      lambda: tc(bench, "qdisc", "del", "dev", "b0", "clsact"))
    drop = ("protocol", "all", "bpf", "bytecode", "1,6 0 0 2,", "da")  # return TC_ACT_SHOT
    for hook, port, row, punt in (("ingress", "a0", ("a0", "all", "tc filter at ingress"), None),
                                  ("egress", "b0", ("b0", "egress", "tc filter at egress"), "punt_qdisc")):
        with cases.case(f"a filter at {hook} that drops"):
            tc(bench, "qdisc", "add", "dev", port, "clsact")
            try:
                with bench.kept(lambda port=port, hook=hook: tc(bench, "filter", "add", "dev", port, hook, *drop),
                                lambda port=port, hook=hook: tc(bench, "filter", "del", "dev", port, hook),
                                "filter", row):
                    for v in (V4, V6):
                        bench.lost(target(1, v)[1], punt=punt)
            finally:
                tc(bench, "qdisc", "del", "dev", port, "clsact")
            # The firewall's watch sees programs at egress, too, and has no notification of them.
            wait_until(lambda: not bench.rows("netfilter"), "nothing is kept by a hook", 2)
            for v in (V4, V6):
                bench.fast(target(1, v)[1])
    with cases.case("a filter of the old ingress qdisc"):
        tc(bench, "qdisc", "add", "dev", "a0", "ingress")
        try:
            with bench.kept(lambda: tc(bench, "filter", "add", "dev", "a0", "parent", "ffff:", *drop),
                            lambda: tc(bench, "filter", "del", "dev", "a0", "parent", "ffff:"),
                            "filter", ("a0", "all", "tc filter at ingress")):
                bench.lost(target(1, V4)[1])
        finally:
            tc(bench, "qdisc", "del", "dev", "a0", "ingress")
        bench.fast(target(1, V4)[1])


def xfrm(cases, bench):
    try:
        bench.edge.ip("xfrm", "policy", "show")
    except CommandError:
        with cases.case("XFRM policies"):
            raise Skip("this kernel has no XFRM")
        return
    for v in (V4, V6):
        prefix, address = target(1, v)
        everything = "0.0.0.0/0" if v == V4 else "::/0"

        def policy(direction, *more, prefix=prefix, everything=everything):
            selector = ("src", everything, "dst", prefix, "dir", direction, *more)
            return (lambda: bench.edge.ip("xfrm", "policy", "add", *selector, "action", "block"),
                    lambda: bench.edge.ip("xfrm", "policy", "del", *selector))
        for direction in ("fwd", "out"):
            with cases.case(f"an XFRM policy that blocks, {direction}, {family(v)}"):
                text = f"XFRM policy src {everything} dst {prefix} dir {direction} action block"
                with bench.kept(*policy(direction), "xfrm", (None, prefix, text)):
                    bench.lost(address)
                    bench.fast(target(2, v)[1])
                bench.fast(address)
        with cases.case(f"XFRM policies that transit over ports never meets, {family(v)}"):
            bench.unmoved(*policy("in"))
            bench.unmoved(*policy("fwd", "if_id", 7))
    with cases.case("the default XFRM policy is block"):
        try:
            bench.edge.ip("xfrm", "policy", "getdefault")
        except CommandError as error:
            raise Skip("this kernel has no default XFRM policy") from error
        with bench.kept(lambda: bench.edge.ip("xfrm", "policy", "setdefault", "fwd", "block"),
                        lambda: bench.edge.ip("xfrm", "policy", "setdefault", "fwd", "accept"),
                        "xfrm", (None, "all", "the default XFRM policy is block")):
            for v in (V4, V6):
                bench.lost(target(1, v)[1])
        for v in (V4, V6):
            bench.fast(target(1, v)[1])


def routes(cases, bench):
    for v in (V4, V6):
        prefix, address = target(3, v)
        with cases.case(f"an encapsulation keeps its prefix, {family(v)}"):
            route = (prefix, "encap", "seg6", "mode", "encap", "segs", target(2, V6)[1], "dev", "b0")
            try:
                bench.ip(v, "route", "add", *route)
            except CommandError as error:
                raise Skip("this kernel has no seg6 tunnels") from error
            try:
                bench.router.wait_route(prefix, outcome="punt", reason="punt_encapsulation")
                text = "1 prefix, punt_encapsulation; see 'millrace show routes'"
                expect(bench.rows("routes") == [(None, "routes", text)], f"{bench.rows('routes')}")
                where, frame, moved = bench.sent(address)
                expect(where == "b", f"it came out at {where}: {moved}")
                expect(frame[12:14] == b"\x86\xdd" and frame[38:54] == socket.inet_pton(
                    socket.AF_INET6, target(2, V6)[1]), f"not encapsulated: {frame.hex()}")
                bench.not_fast(moved, "punt_encapsulation")
            finally:
                bench.ip(v, "route", "del", prefix)
            bench.router.wait_no_route(prefix)
            wait_until(lambda: not bench.rows("routes"), "the row goes", 2)


def multicast(cases, bench):
    """A multicast router: a socket that makes one virtual interface of a0."""
    index = bench.edge.link("a0")["ifindex"]
    for v, kind, level, vif, prefix in (
            (V4, (socket.AF_INET, socket.SOCK_RAW, 2), 0,
             struct.pack("HBBI4s4s", 0, 8, 1, 0, struct.pack("I", index), bytes(4)), "224.0.0.0/4"),
            (V6, (socket.AF_INET6, socket.SOCK_RAW, 58), 41,
             struct.pack("HBBHI", 0, 0, 1, index, 0), "ff00::/8")):
        with cases.case(f"multicast routing is the kernel's anyway, and shown, {family(v)}"):
            router = bench.edge.socket(*kind)

            def begin(router=router, level=level, vif=vif):
                router.setsockopt(level, 200, 1)    # MRT_INIT
                router.setsockopt(level, 202, vif)  # MRT_ADD_VIF
            try:
                with bench.kept(begin, router.close, "multicast", ("a0", prefix, "multicast routing")):
                    bench.fast(target(1, v)[1])
            except OSError as error:
                raise Skip(f"this kernel has no multicast routing for {family(v)}") from error
            finally:
                router.close()


def locals_(cases, bench):
    for v in (V4, V6):
        prefix = "10.0.1.2/31" if v == V4 else "2001:db8:0:1::2/127"  # host a is in it
        _, address = target(1, v)
        with cases.case(f"a prefix of the router itself is nobody's source, {family(v)}"):
            route = ("local", prefix, "dev", "lo", "table", "local")
            with bench.kept(lambda v=v, r=route: bench.ip(v, "route", "add", *r),
                            lambda v=v, r=route: bench.ip(v, "route", "del", *r), "local",
                            (None, prefix, "prefix of the router itself")):
                if v == V4:
                    bench.lost(address)
                else:  # the kernel's IPv6 does not look at sources
                    bench.by_kernel(address)
            bench.fast(address)


def limits(cases, bench):
    with cases.case("more prefixes than there is room for keep the family"):
        def batch(verb, tail=""):
            lines = "".join(f"rule {verb} pref {1000 + i} to 10.{200 + i // 256}.{i % 256}.0/24{tail}\n"
                            for i in range(4097))
            path = bench.lab.dir / "rules"
            path.write_text(lines)
            return lambda: bench.edge.run("ip", "-batch", path)
        rows = [(p, "IPv4", "more than 4096 kept prefixes") for p in bench.lab.ports]
        with bench.kept(batch("add", " lookup 100"), lambda: batch("del")(), "limit", *rows, seconds=10):
            bench.by_kernel(target(1, V4)[1])
            bench.fast(target(1, V6)[1])
        wait_until(lambda: not bench.rows("rule"), "the rules are gone", 10)
        bench.fast(target(1, V4)[1])


def said(cases, bench):
    with cases.case("a configured prefix stays kept when a rule for it goes"):
        address = "10.100.5.9"
        bench.by_kernel(address)
        with bench.kept(lambda: bench.ip(V4, "rule", "add", "pref", 100, "to", CONFIGURED, "lookup", 100),
                        lambda: bench.ip(V4, "rule", "del", "pref", 100), "rule",
                        (None, CONFIGURED, f"policy rule 100: from all to {CONFIGURED} lookup 100")):
            bench.by_kernel(address, "c")
        bench.by_kernel(address)
    with cases.case("show steering says the configuration, too"):
        rows = bench.rows("configuration")
        expect(rows == [(None, CONFIGURED, "[keep] prefixes"), (None, "protocol 50", "[keep] protocols"),
                        (None, "udp/500", "[keep] l4_ports")], f"{rows}")
    with cases.case("show steering for people: what is kept first, in 100 columns"):
        bench.ip(V4, "rule", "add", "pref", 100, "fwmark", "0x1", "lookup", 100)
        try:
            wait_until(lambda: bench.rows("rule"), "the rule is shown", 2)
            text = bench.router.cli("show", "steering").stdout
        finally:
            bench.ip(V4, "rule", "del", "pref", 100)
        lines = text.splitlines()
        print(text)
        expect(lines[0].split()[:5] == ["PORT", "KEPT", "IN", "THE", "KERNEL"], lines[0])
        expect(any("policy rule 100: from all fwmark 0x1" in line for line in lines), text)
        expect(lines.index("") < next(i for i, s in enumerate(lines) if s.startswith("PORT") and "REASON" in s),
               text)
        expect(max(map(len, lines)) <= 100, f"{max(map(len, lines))} columns")
    with cases.case("the log says when it begins and when it ends"):
        log = bench.router.log_path.read_text()
        line = "left to the kernel: port a0: all: tc filter at ingress"
        expect(log.count(f" {line}") == log.count(f"no longer {line}") * 2, "not as often begun as ended")
        expect(f"no longer {line}" in log, "it does not")


def main():
    cases = Cases("netns.keeps")
    with StarLab(build_dir()) as lab:
        lab.start()
        lab.router.write_config(extra=f'\n[keep]\nprefixes = ["{CONFIGURED}"]\nprotocols = ["esp"]\n'
                                      'l4_ports = ["udp/500"]\n')
        for v in (V4, V6):
            for n in (1, 2):
                lab.edge.ip(f"-{v}", "route", "add", target(n, v)[0], "via", host_address("b", v))
            for prefix in (target(1, v)[0], target(2, v)[0]):
                lab.edge.ip(f"-{v}", "route", "add", prefix, "via", host_address("c", v), "table", 100)
        lab.edge.ip("route", "add", CONFIGURED, "via", host_address("b"))
        lab.edge.ip("route", "add", CONFIGURED, "via", host_address("c"), "table", 100)
        lab.start_router()
        lab.resolve("a", "b", "c")
        with Probe(lab) as probe:
            bench = Bench(lab, probe)
            for group in (rules, switches, devices, queues, xfrm, routes, multicast, locals_, limits, said):
                group(cases, bench)
    return cases.finish()


if __name__ == "__main__":
    sys.exit(main())
