# SPDX-License-Identifier: BSD-3-Clause
"""Stopped, hung, killed, started again: the kernel forwards whenever the daemon does not."""

import json
import signal
import sys

from lab.cases import Cases, build_dir, expect
from lab.netns import wait_until
from lab.star import StarLab, host_address
from lab.traffic import Blast, ping

PPS = 20000


def fast(lab):
    """Packets of three pings that the worker forwarded: six where all of them took the fast path."""
    before = lab.router.settled_counters()["forwarded"]
    p = ping(lab.netns["a"], host_address("b"), 3)
    expect(p["received"] == 3, f"{p['received']} of 3 pings came back")
    return lab.router.settled_counters()["forwarded"] - before


def blast(lab, seconds):
    return Blast(lab.build / "tests" / "netns", lab.netns["a"], lab.netns["b"], host_address("b"), PPS,
                 seconds).start()


def links(lab):
    return {row["ifname"] for row in lab.edge.ip_json("link", "show")}


def steering(lab):
    """{reason: packets} by the classifiers' own counters: no daemon is asked."""

    total = {}
    for port in json.loads(lab.router.steer("status", "--json").stdout):
        for reason, count in port["counters"].items():
            total[reason] = total.get(reason, 0) + count["packets"]
    return total


def clean_stop(cases, lab):
    r = lab.router
    with cases.case("SIGTERM: ends with 0, the kernel forwards on, nothing is left but the classifier"):
        before = links(lab) | set()
        expect(fast(lab) == 6, "the fast path did not forward before")
        run = blast(lab, 2)
        try:
            code = r.stop()
            expect(code == 0, f"exit code {code}: {r.log_tail()}")
            result = run.finish()
        finally:
            run.stop()
        expect(result["lost"] == 0, f"{result['lost']} of {result['sent']} packets lost")
        expect(not r.socket_path.exists(), "its socket is still there")
        own = {f"{s}0" for s in "abcd"} | {"lo"}
        expect(links(lab) <= own, f"devices left: {sorted(links(lab) - own)} of {sorted(before)}")
        expect(lab.edge.link("a0").get("xdp"), "the classifier is gone from a0")
    with cases.case("started again after SIGTERM: back on the fast path"):
        r.start()
        lab.resolve("a", "b")
        wait_until(lambda: fast(lab) == 6, "the fast path forwards", 5)


def hung(cases, lab):
    r = lab.router
    with cases.case("SIGSTOP: the heartbeat goes stale and the kernel forwards on"):
        before = steering(lab).get("stale_heartbeat", 0)
        run = blast(lab, 3)
        try:
            wait_until(lambda: steering(lab).get("redirect", 0) > 0, "traffic flows", 2)
            r.signal(signal.SIGSTOP)
            wait_until(lambda: steering(lab).get("stale_heartbeat", 0) > before + PPS / 2,
                       "half a second of packets left to the kernel", 5)
            p = ping(lab.netns["a"], host_address("b"), 3)
            expect(p["received"] == 3, f"{p['received']} of 3 pings came back while it hung")
            r.signal(signal.SIGCONT)
            result = run.finish()
        finally:
            r.signal(signal.SIGCONT)
            run.stop()
        # Default timeout 50 ms: what came until then is lost.
        expect(result["largest_gap_ms"] < 1000, f"a gap of {result['largest_gap_ms']} ms")
        expect(result["lost"] <= PPS * 0.5, f"{result['lost']} packets lost")
    with cases.case("SIGCONT: back on the fast path"):
        wait_until(lambda: fast(lab) == 6, "the fast path forwards", 5)


def killed(cases, lab):
    r = lab.router
    with cases.case("kill -9: the kernel forwards on, and the next daemon starts cleanly"):
        run = blast(lab, 3)
        try:
            wait_until(lambda: r.forwarded() > 0, "traffic flows", 2)
            r.kill()
            p = ping(lab.netns["a"], host_address("b"), 3)
            expect(p["received"] == 3, f"{p['received']} of 3 pings came back")
            r.start()
            lab.resolve("a", "b")
            result = run.finish()
        finally:
            run.stop()
        expect(result["lost"] <= PPS * 0.5, f"{result['lost']} packets lost")
        wait_until(lambda: fast(lab) == 6, "the fast path forwards", 5)


def replaced(cases, lab):
    r = lab.router
    with cases.case("a port deleted: routes over it are the kernel's, and the daemon says so; made again, it comes back"):
        lab.edge.ip("link", "del", "b0")

        def lost():
            return next(p for p in r.show("ports") if p["port"] == "b0")["state"] == "kernel"
        wait_until(lost, "show ports says that b0 is left to the kernel", 1)
        expect("port b0: its sockets are dead" in r.log_tail(100000), "not a word about it in the log")
        lab.connect("b")
        for version in (4, 6):
            # A new link has no link-local address for a second or two (RFC 4862 5.4): IPv6 waits for it.
            wait_until(lambda v=version: ping(lab.netns["a"], host_address("b", v), 1)["received"] == 1,
                       f"host-b answers over IPv{version}", 10)
        wait_until(lambda: "the mirror is complete" in r.log_tail(3), "the daemon has started again", 5)
        lab.resolve("a", "b")
        wait_until(lambda: fast(lab) == 6, "the fast path forwards", 5)


def enslaved(cases, lab):
    def enabled():
        return {p["port"]: p["enabled"] for p in json.loads(lab.router.steer("status", "--json").stdout)}

    with cases.case("a port enslaved to a bridge is the kernel's, and comes back"):
        expect(enabled()["c0"], "c0 was not enabled before")
        lab.edge.ip("link", "add", "br0", "type", "bridge")
        lab.edge.ip("link", "set", "c0", "master", "br0")
        wait_until(lambda: not enabled()["c0"], "the classifier of c0 leaves all to the kernel", 5)
        expect(enabled()["a0"], "a0 was disabled with it")
        lab.edge.ip("link", "set", "c0", "nomaster")
        wait_until(lambda: enabled()["c0"], "c0 is enabled again", 5)
        lab.edge.ip("link", "del", "br0")


def detached(cases, lab):
    r = lab.router
    with cases.case("millrace-steer detach: the port is as it was before, traffic goes on"):
        r.stop()
        r.detach()
        for port in r.ports:
            expect(not lab.edge.link(port).get("xdp"), f"{port} still has an XDP program")
            expect(not (r.pin_root / port).exists(), f"pins of {port} are left")
        p = ping(lab.netns["a"], host_address("b"), 3)
        expect(p["received"] == 3, f"{p['received']} of 3 pings came back")


def main():
    cases = Cases("netns.lifecycle")
    with StarLab(build_dir()) as lab:
        lab.start().start_router()
        lab.resolve("a", "b")
        clean_stop(cases, lab)
        hung(cases, lab)
        killed(cases, lab)
        replaced(cases, lab)
        enslaved(cases, lab)
        detached(cases, lab)
    return cases.finish()


if __name__ == "__main__":
    sys.exit(main())
