# SPDX-License-Identifier: BSD-3-Clause
"""What netfilter and tc decide about transit is decided, as by the kernel alone: rows beside a twin, traffic running."""

import ipaddress
import signal
import sys
import time

from lab import bpf_links
from lab.cases import Cases, Skip, build_dir, expect
from lab.firewall import KERNEL, MILLRACE, firewalls, lanes
from lab.netns import wait_until
from lab.oracle.stream import LANES, Stream
from lab.oracle.twins import HEARTBEAT_MS, Twins, behind

V4, V6 = 4, 6
DROP = "udp dport 9 drop"


def chain(hook="forward", *rules, table="inet filter", kind="filter", priority="0", policy="accept", device=None):
    on = f" device {device}" if device else ""
    lines = (f"type {kind} hook {hook}{on} priority {priority}; policy {policy};", *rules)
    return "\n".join((f"table {table} {{", f"chain {hook} {{", *lines, "}", "}", ""))


def plain(cases, fw):
    with cases.case("row 1: no hooks: everything is fast"):
        fw.comes_back()
    with cases.case("row 2: rules on input and output alone, with conntrack: everything is fast"):
        rules = ("ct state established,related accept", "tcp dport 22 accept", "drop")
        fw.nft(chain("input", *rules) + chain("output", "ct state invalid drop"))
        try:
            fw.comes_back()
            hooks = {(r["family"], r["hook"], r["text"], r["follows"]) for r in fw.router.show("steering")
                     if r["kind"] == "hook"}
            for family in ("ipv4", "ipv6"):
                for row in ((family, "input", "table inet filter, chain input: 3 rules", "nothing"),
                            (family, "prerouting", "connection tracking", "nothing")):
                    expect(row in hooks, f"{row} is not shown: {sorted(hooks)}")
        finally:
            fw.nft("flush ruleset")
        fw.comes_back()
    with cases.case("row 3: an empty chain is fast, its first rule is obeyed by the next packet, its removal undoes it"):
        with fw.ruleset(chain()):
            fw.comes_back()
            for _ in range(3):
                fw.nft(f"add rule inet filter forward {DROP}")
                fw.is_kept(*LANES, drops=LANES)
                fw.shows("chain forward", "1 rule")
                fw.nft("flush chain inet filter forward")
                fw.comes_back()
    with cases.case("row 3: a batch that deletes the rule and fails leaves it in force"):
        # The kernel counts a chain's rules down before it knows whether the batch is good.
        with fw.ruleset(chain("forward", DROP)):
            fw.is_kept(*LANES, drops=LANES)
            for _ in range(40):
                fw.both("nft", "-f", "-", check=False, text="flush chain inet filter forward\n"
                        "add chain inet filter other\nadd rule inet filter other jump nowhere\n")
            fw.is_kept(*LANES, drops=LANES)
    with cases.case("row 4: policy drop without a rule"):
        with fw.ruleset(chain(policy="drop")):
            fw.is_kept(*LANES, drops=LANES)
            fw.shows("policy drop")
            for _ in range(5):
                fw.nft(chain(policy="accept"))
                fw.comes_back()
                fw.nft(chain(policy="drop"))
                fw.is_kept(*LANES, drops=LANES)
    with cases.case("row 5: a counter alone counts as in the twin"):
        with fw.ruleset(chain("forward", "udp dport 9 counter")):
            fw.is_kept(*LANES)
            fw.stream.pause()
            counted = [twin.netns.run("nft", "list", "chain", "inet", "filter", "forward").stdout.split("packets ")[1]
                       .split()[0] for twin in (fw.twins.kernel, fw.twins.millrace)]
            # One had it a moment before the other.
            expect(int(counted[0]) > 100 and abs(int(counted[0]) - int(counted[1])) < 100, f"counted: {counted}")
    for hook, priority in (("prerouting", "raw"), ("prerouting", "mangle"), ("postrouting", "mangle")):
        with cases.case(f"row 6: {hook}, priority {priority}"):
            with fw.ruleset(chain(hook, DROP, priority=priority)):
                fw.is_kept(*LANES, drops=LANES)
            with fw.ruleset(chain(hook, "meta nfproto ipv4 udp dport 9 ip dscp set cs1", priority=priority)):
                fw.is_kept(*LANES)


def nat(cases, fw):
    def translated(text, *kept):
        # The kernel translates no flow that it has tracked before; the fast path's it has not.
        fw.stream.pause()
        fw.nft(text)
        try:
            fw.stream.new_flows()
            sent = fw.is_kept(*kept)
            whole = [frame for n in sent for _, frame in fw.stream.arrived[KERNEL][n]]
            expect(any(behind("p0", lane.version) not in addresses(frame) for lane in kept for frame in whole),
                   "nothing was translated")
        finally:
            fw.nft("flush ruleset")
        fw.stream.new_flows()
        fw.since = None
        fw.comes_back()

    for version, table, address in ((V4, "ip", "10.0.1.77"), (V6, "ip6", "2001:db8:0:1::77")):
        with cases.case(f"row 7: source NAT of IPv{version}: the other family stays fast"):
            translated(chain("postrouting", f"oifname p1 snat to {address}", kind="nat", priority="srcnat",
                             table=f"{table} nat"), *lanes(version))
    with cases.case("row 7: masquerade and destination NAT"):
        translated(chain("postrouting", "oifname p1 masquerade", kind="nat", priority="srcnat")
                   + chain("prerouting", "udp dport 9 ip daddr 10.11.0.1 dnat ip to 10.11.0.2", kind="nat",
                           priority="dstnat"), *LANES)


def addresses(frame):
    at = slice(26, 34) if frame[12:14] == b"\x08\x00" else slice(22, 54)
    half = (at.stop - at.start) // 2
    return {str(ipaddress.ip_address(a)) for a in (frame[at][:half], frame[at][half:])}


def devices(cases, fw):
    with cases.case("row 8: an ingress chain of one port of two: the other stays fast"):
        with fw.ruleset(chain("ingress", DROP, table="netdev edge", device="p0")):
            kept = lanes(into="p0")
            fw.is_kept(*kept, drops=kept)
            fw.shows("p0 all", "ingress")
    with cases.case("row 8: an empty ingress chain, its first rule, its removal"):
        with fw.ruleset(chain("ingress", table="netdev edge", device="p0")):
            fw.comes_back()
            fw.nft("add rule netdev edge ingress " + DROP)
            fw.is_kept(*lanes(into="p0"), drops=lanes(into="p0"))
            fw.nft("flush chain netdev edge ingress")
            fw.comes_back()
    with cases.case("row 8: an egress chain: what would leave over the port is the kernel's"):
        with fw.ruleset(chain("egress", DROP, table="netdev edge", device="p1")):
            sent, _ = fw.phase()
            passed = fw.stream.passed(KERNEL, sent)
            expect(not any(passed[lane] for lane in lanes(out_of="p1")), f"passed: {passed}")
            expect(all(passed[lane] for lane in lanes(out_of="p0")), f"passed: {passed}")
            wait_until(lambda: not fw.hands(fw.phase()[1], (), 25), "other ports are fast", 2)
            fw.shows("p1 egress")
    with cases.case("row 13: a tcx program on a port's ingress"):
        kept = lanes(into="p0")
        for drop in (True, False):
            with bpf_links.tcx(fw.twins.kernel.netns, "p0", bpf_links.TCX_INGRESS, drop), \
                    bpf_links.tcx(fw.twins.millrace.netns, "p0", bpf_links.TCX_INGRESS, drop):
                fw.since = fw.stream.mark()
                fw.is_kept(*kept, drops=kept if drop else None)
                fw.shows("p0 all", "tcx")
            fw.since = None
            fw.comes_back()
    with cases.case("row 13: a tcx program on a port's egress, within 0.2 s"):
        both = [bpf_links.tcx(t.netns, "p1", bpf_links.TCX_EGRESS, True) for t in fw.twins.twins.values()]
        with both[0], both[1]:
            fw.since = None
            wait_until(lambda: any("egress" in row[1] for row in fw.rows()), "it is shown", 2)
            sent, _ = fw.phase()
            expect(not any(fw.stream.passed(MILLRACE, sent)[lane] for lane in lanes(out_of="p1")), "it passes")
        fw.since = None
        fw.comes_back()
    with cases.case("row 13: a BPF netfilter link, of one family"):
        for version in (V4, V6):
            for accept in (False, True):
                both = [bpf_links.netfilter(t.netns, version, bpf_links.FORWARD, accept)
                        for t in fw.twins.twins.values()]
                with both[0], both[1]:
                    fw.since = fw.stream.mark()
                    fw.is_kept(*lanes(version), drops=None if accept else lanes(version))
                    fw.shows("BPF")
                fw.since = None
                fw.comes_back()


def generations(cases, fw):
    with cases.case("row 10: a dormant table is fast, at once obeyed when it wakes"):
        with fw.ruleset(chain("forward", DROP)):
            fw.is_kept(*LANES, drops=LANES)
            for _ in range(3):
                fw.nft("table inet filter { flags dormant\n }")
                fw.comes_back()
                fw.nft("add table inet filter")
                fw.is_kept(*LANES, drops=LANES)
    many = "".join(f"ip saddr 198.18.{i // 250}.{i % 250} counter drop\n" for i in range(10_000))
    big = chain("forward", many, DROP)
    with cases.case("row 11: an atomic reload of 10,000 rules under traffic: not a packet passes"):
        with fw.ruleset(big):
            fw.is_kept(*LANES, drops=LANES)
            before = fw.since
            for _ in range(2):
                fw.nft("flush ruleset\n" + big)
            # Before and behind each reload the rule is there, so at no time did one pass.
            fw.since = before
            fw.is_kept(*LANES, drops=LANES)
    with cases.case("row 12: notifications are lost: what is in force is found out all the same"):
        fw.nft(chain("forward", DROP))
        fw.is_kept(*LANES, drops=LANES)
        fw.stream.pause()
        fw.router.signal(signal.SIGSTOP)
        try:
            for _ in range(4):
                for text in (f"flush ruleset\n{big}", "flush ruleset\n" + chain()):
                    fw.twins.millrace.netns.run("nft", "-f", "-", stdin=None, input=text)
            fw.twins.kernel.netns.run("nft", "-f", "-", stdin=None, input="flush ruleset\n" + chain())
        finally:
            fw.router.signal(signal.SIGCONT)
        fw.since = None
        fw.comes_back(seconds=2)
        log = fw.router.log_path.read_text()
        expect("netfilter: notifications were lost" in log, f"nothing was lost: {fw.router.log_tail()}")
        fw.nft(f"add rule inet filter forward {DROP}")
        fw.is_kept(*LANES, drops=LANES)
        fw.nft("flush ruleset")
        fw.comes_back()


def stopped(cases, fw):
    with cases.case("row 14: a rule added while the daemon is stopped is obeyed by the next packet"):
        for first in ("", chain()):
            if first:
                fw.nft(first)
                fw.comes_back()
            fw.stream.pause()
            fw.router.signal(signal.SIGSTOP)
            try:
                for twin in fw.twins.twins.values():
                    twin.netns.run("nft", "-f", "-", stdin=None, input=chain("forward", DROP))
                begin = time.monotonic()
                # Well before the heartbeat is stale; the daemon can't be asked for its counters.
                sent = fw.stream.send(25)
                expect(time.monotonic() - begin < 3, "it took too long: the heartbeat may be stale")
            finally:
                fw.router.signal(signal.SIGCONT)
            time.sleep(0.2)  # what it had in its sockets would come out now
            fw.stream.pause()
            for name in (KERNEL, MILLRACE):
                passed = fw.stream.passed(name, sent)
                expect(not any(passed.values()), f"{name}: passed {passed}")
            fw.is_kept(*LANES, drops=LANES)
            fw.nft("flush ruleset")
            fw.comes_back()
    with cases.case("row 14: a daemon that is killed, a rule, and a new daemon: the rule holds throughout"):
        fw.nft(chain())
        fw.comes_back()
        fw.router.kill()
        fw.nft(f"add rule inet filter forward {DROP}")
        begin = fw.since
        fw.router.start()
        fw.since = begin
        fw.is_kept(*LANES, drops=LANES)
        fw.nft("flush ruleset")
        fw.comes_back()


def tables(cases, fw):
    def iptables(*args, command="iptables-nft"):
        fw.both(command, *args)

    for version, command in ((V4, "iptables-nft"), (V6, "ip6tables-nft")):
        with cases.case(f"row 9: {command}: the other family stays fast"):
            rule = ("FORWARD", "-p", "udp", "--dport", "9", "-j", "DROP")
            iptables("-A", *rule, command=command)
            try:
                fw.is_kept(*lanes(version), drops=lanes(version))
                fw.shows("FORWARD")
                iptables("-D", *rule, command=command)
                fw.comes_back()
                iptables("-P", "FORWARD", "DROP", command=command)
                fw.is_kept(*lanes(version), drops=lanes(version))
            finally:
                fw.nft("flush ruleset")
            fw.comes_back()
    # The kernel keeps a table's hooks once one was there, so these come last.
    for version, command in ((V6, "ip6tables-legacy"), (V4, "iptables-legacy")):
        with cases.case(f"row 9: {command}: a rule is obeyed at once, and the table is shown"):
            kept = lanes(version) if version == V6 else LANES
            rule = ("FORWARD", "-p", "udp", "--dport", "9", "-j", "DROP")
            for verb in ("-A", "-D") * 2:
                iptables(verb, *rule, command=command)
                fw.is_kept(*kept, drops=lanes(version) if verb == "-A" else None)
            fw.shows("tables-legacy")


def containers(cases, fw):
    """What container engines make: rules of one family, a bridge, and namespaces with rulesets of their own."""
    docker = """table ip nat {
        chain POSTROUTING {
            type nat hook postrouting priority srcnat;
            ip saddr 172.17.0.0/16 oifname != "docker0" masquerade
        }
        chain DOCKER {
            iifname "docker0" return
        }
        chain PREROUTING {
            type nat hook prerouting priority dstnat;
            fib daddr type local jump DOCKER
        }
    }
    table ip filter {
        chain DOCKER {
        }
        chain FORWARD {
            type filter hook forward priority filter; policy drop;
            oifname "docker0" ct state established,related accept
            oifname "docker0" jump DOCKER
            iifname "docker0" accept
        }
    }"""
    with cases.case("containers: their NAT and forward rules keep IPv4, whose policy is drop; IPv6 stays fast"):
        with fw.ruleset(docker):
            fw.is_kept(*lanes(V4), drops=lanes(V4))
    with cases.case("containers: rulesets in namespaces of their own change nothing"):
        box = fw.twins.add_netns("box")
        box.run("nft", "-f", "-", stdin=None, input=chain(policy="drop"))
        fw.comes_back()
    with cases.case("containers: a bridge, and br_netfilter"):
        for twin in fw.twins.twins.values():
            twin.netns.ip("link", "add", "docker0", "type", "bridge")
            twin.netns.ip("link", "set", "docker0", "up")
        fw.since = None
        try:
            if "= 1" not in fw.twins.millrace.netns.run("sysctl", "net.bridge.bridge-nf-call-iptables",
                                                        check=False).stdout:
                fw.comes_back()
                raise Skip("a bridge is fast; this kernel has no br_netfilter")
            fw.comes_back()
        finally:
            for twin in fw.twins.twins.values():
                twin.netns.ip("link", "del", "docker0")
            fw.since = None
            fw.comes_back()


def configured(cases, fw):
    def restart(text):
        fw.stream.pause()
        fw.router.stop()
        fw.router.write_config(heartbeat_ms=HEARTBEAT_MS, extra=text)
        fw.router.start()
        fw.since = None
        fw.run()

    with cases.case("ignore: a table that the operator knows to be harmless is fast, others are obeyed"):
        restart('[firewall]\nignore = ["inet accounting"]\n')
        fw.nft(chain("forward", "counter", table="inet accounting"))
        fw.comes_back()
        fw.nft(chain("forward", DROP))
        fw.is_kept(*LANES, drops=LANES)
        fw.nft("flush ruleset")
        fw.comes_back()
    with cases.case("bypass of a family and port: there the rules are not obeyed, and it says so"):
        restart('[firewall]\nmode = "bypass"\nports = ["p0"]\nfamilies = ["ipv4"]\n')
        log = fw.router.log_path.read_text()
        expect("bypass" in log, fw.router.log_tail(20))
        fw.nft(chain("forward", DROP))
        fw.since = None
        bypassed = lanes(V4, "p0")

        def differs():
            fw.stream.pause()
            sent = fw.stream.send(10)
            fw.since = None
            return {lane for lane, n in fw.stream.passed(MILLRACE, sent).items() if n}
        wait_until(lambda: differs() == set(bypassed), "only what is bypassed passes", 2)
        expect(any("bypass" in row[2] for row in fw.rows("bypass")), f"shown: {fw.router.kept()}")
        fw.nft("flush ruleset")
        restart("")
        fw.comes_back()


ROUNDS = 150  # of two generations each


def passed_under_drop(twin, stream):
    """Frames sent while the rule was there that came through all the same; and how many were sent then."""
    passed = sent = 0
    twin.netns.run("nft", "-f", "-", stdin=None, input=chain())
    for batch in range(0, ROUNDS, 25):
        stream.run()
        dropped = []
        for _ in range(25):
            twin.netns.run("nft", "add", "rule", "inet", "filter", "forward", *DROP.split())
            begin = stream.mark()
            time.sleep(0.03)
            dropped.append(range(begin, stream.mark()))
            twin.netns.run("nft", "flush", "chain", "inet", "filter", "forward")
            again = stream.mark()
            wait_until(lambda a=again: any(n >= a for n in list(stream.arrived[twin.name])[-50:]), "traffic is back", 1)
        stream.pause()
        passed += sum(len(stream.arrived[twin.name].get(n, ())) for numbers in dropped for n in numbers)
        sent += sum(len(numbers) for numbers in dropped)
        stream.forget()
    twin.netns.run("nft", "flush", "ruleset")
    return passed, sent


def flood(cases, twins):
    with cases.case(f"{2 * ROUNDS} generations under a flood of 64 flows: not a packet more than the twin's"):
        passed = {}
        for name, twin in twins.twins.items():
            with Stream(twins, lanes(into="p0"), flows=32, tick=0.0001, only=name) as stream:
                passed[name], sent = passed_under_drop(twin, stream)
            print(f"   {name}: {passed[name]} of {sent} frames sent under the rule came through", flush=True)
            expect(sent > 10_000, f"no flood: {sent} frames")
        expect(passed[MILLRACE] <= passed[KERNEL], f"came through: {passed}")


def main():
    cases = Cases("netns.firewall")
    with Twins(build_dir()) as twins:
        twins.start()
        with firewalls(twins) as fw:
            for rows in (plain, nat, devices, generations, stopped, containers, configured):
                rows(cases, fw)
        flood(cases, twins)
        with firewalls(twins) as fw:
            tables(cases, fw)
        with cases.case("row 15: Debian's own kernels: AppArmor, ipvs"):
            raise Skip("it waits for the virtual machines")
    return cases.finish()


if __name__ == "__main__":
    sys.exit(main())
