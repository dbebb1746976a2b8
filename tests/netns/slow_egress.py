# SPDX-License-Identifier: BSD-3-Clause
"""An egress that is slow, or takes nothing: it loses its own packets, which are counted, and nobody else's."""

import subprocess
import sys
import time

from lab.cases import Cases, build_dir, expect
from lab.netns import wait_until
from lab.slow_link import below_bytes, put_below, set_rate
from lab.star import StarLab, host_address
from lab.traffic import Blast

FAST_PPS = 20000
SLOW_PPS = 40000
SIZE = 200      # bytes of UDP payload
SECONDS = 3
FAST_PATH = 0.9  # of the other flow's packets, at least


def blast(lab, version):
    return Blast(lab.build / "tests" / "netns", lab.netns["a"], lab.netns["b"], host_address("b", version),
                 FAST_PPS, SECONDS).start()


def flood(lab, version, seconds=SECONDS):
    return lab.netns["a"].popen(lab.build / "tests" / "netns" / "udp-blast", host_address("c", version), 9001,
                                SLOW_PPS, seconds, SIZE, stdout=subprocess.DEVNULL)


def both_flows(lab, version):
    """(result of the fast flow, bit/s that the slow link carried)"""
    slow = flood(lab, version, SECONDS + 1)
    fast = None
    try:
        time.sleep(0.5)  # by now all that can wait is full
        before, begin = below_bytes(lab), time.monotonic()
        fast = blast(lab, version)
        result = fast.finish()
        rate = (below_bytes(lab) - before) * 8 / (time.monotonic() - begin)
        slow.wait(SECONDS + 30)
    finally:
        if slow.poll() is None:
            slow.kill()
            slow.wait()
        if fast:
            fast.stop()
    return result, rate


def ports(lab):
    return {row["port"]: row for row in lab.router.show("ports")}


def start(lab, rate):
    """What still waits below c holds the socket that sent it, and with it the queue: it goes first."""
    set_rate(lab, rate)
    lab.router.start()
    lab.resolve("a", "b", "c")
    expect(all(row["state"] == "served" for row in lab.router.show("ports")), f"{lab.router.show('ports')}")


def seen(lab):
    """What became of all packets, for a failure's text."""
    return {k: v for k, v in {**lab.router.counters(), **lab.router.steering()}.items() if v}


def text(result):
    return f"{result['lost']} of {result['sent']} lost"


def of_the_kernel(lab, version):
    """The same two flows while the kernel alone forwards."""
    lab.router.stop()
    result, _ = both_flows(lab, version)
    start(lab, "10mbit")
    return result


def slow(cases, lab, version):
    with cases.case(f"IPv{version}: an egress of 10 Mbit/s loses what it can't send, a flow to another port nothing"):
        set_rate(lab, "10mbit")
        twin = of_the_kernel(lab, version)
        before = ports(lab)
        full = lab.router.counters()["drop_tx_full"]
        result, rate = both_flows(lab, version)
        after = ports(lab)
        dropped = {p: after[p]["tx_dropped"] - before[p]["tx_dropped"] for p in after}
        print(f"    fast flow: {text(result)}; with the kernel alone {text(twin)}; below c {rate / 1e6:.1f} Mbit/s, "
              f"dropped there {dropped['c0']}")
        expect(result["lost"] <= twin["lost"] + 0.002 * result["sent"],
               f"the fast flow: {text(result)}; with the kernel alone: {text(twin)}")
        expect(rate > 5e6, f"the slow link carried {rate / 1e6:.1f} Mbit/s only")
        expect(dropped["c0"] > SLOW_PPS, f"{dropped['c0']} counted as dropped at c0")
        expect(dropped["b0"] == 0, f"{dropped['b0']} counted as dropped at b0")
        expect(lab.router.counters()["drop_tx_full"] > full, "drop_tx_full did not move")


def nothing(cases, lab, version):
    with cases.case(f"IPv{version}: an egress that takes nothing leaves the other ports on the fast path"):
        lab.router.stop()
        start(lab, "8bit")
        before = ports(lab)
        result, _ = both_flows(lab, version)
        sent = ports(lab)["b0"]["tx_packets"] - before["b0"]["tx_packets"]
        print(f"    fast flow: {text(result)}")
        # Where others want the cores the heartbeat may miss its time once; it was stale for good.
        expect(sent >= FAST_PATH * result["sent"], f"{sent} of {result['sent']} took the fast path: {seen(lab)}; {lab.router.log_tail(5)}")
        expect(result["lost"] <= 0.02 * result["sent"], f"the fast flow: {text(result)}")
    with cases.case(f"IPv{version}: SIGTERM ends the daemon within a second all the same"):
        run = flood(lab, version)
        try:
            time.sleep(0.5)
            begin = time.monotonic()
            code = lab.router.stop(15)
            took = time.monotonic() - begin
        finally:
            run.kill()
            run.wait()
        print(f"    ended after {took:.2f} s")
        expect(code == 0, f"exit code {code}: {lab.router.log_tail()}")
        expect(took <= 1.0, f"it took {took:.2f} s")


def comes_back(cases, lab, idle):
    """A worker that sleeps does so in poll(), by which the kernel's copy-mode sockets transmit of their own accord: only
    one that spins has to come back to what it left in the ring."""
    lab.router.stop()
    lab.router.write_config(idle=idle)
    start(lab, "8bit")
    with cases.case(f"an egress that took nothing and is free again has its buffers back, without new frames for it ({idle})"):
        flood(lab, 4, 1).wait(30)
        waiting = below_bytes(lab)
        set_rate(lab, "1gbit")
        # The ring's worth of frames: more than the socket's send buffer holds.
        wanted = waiting + 1500 * (SIZE + 42)
        wait_until(lambda: below_bytes(lab) >= wanted, "what waited in c0's transmit ring is sent", 3)


def main():
    cases = Cases("netns.slow_egress")
    with StarLab(build_dir()) as lab:
        lab.start()
        for spoke in "abc":
            lab.netns[spoke].sysctl(net__ipv6__conf__all__accept_ra=0)
        lab.start_router()
        lab.resolve("a", "b", "c")
        put_below(lab, "10mbit")
        for version in (4, 6):
            slow(cases, lab, version)
        for version in (4, 6):
            nothing(cases, lab, version)
            start(lab, "8bit")
        for idle in ("sleep", "spin"):
            comes_back(cases, lab, idle)
    return cases.finish()


if __name__ == "__main__":
    sys.exit(main())
