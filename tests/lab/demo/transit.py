# SPDX-License-Identifier: BSD-3-Clause
"""Step 2: transit traffic in steady state, and single frames compared to the byte."""

from .. import exactness
from ..frames import Capture, Sender
from ..netns import wait_until
from ..topology import HOST, SINK
from ..traffic import Blast, Iperf3, ip_packets, ping

UDP_PPS, UDP_SECONDS = 20000, 2
TCP_ARGS = ("--bitrate", "200M", "--window", "256K")


def steady(lab, step):
    r, a, b = lab.router, lab.netns["host-a"], lab.netns["host-b"]
    wait_until(lambda: _warm(lab), "pings of both families go through the worker both ways", 15)
    outcomes = {prefix: row["outcome"] for prefix, row in r.routes().items()
                if row["protocol"] in ("bgp", "static")}
    step.check(outcomes and set(outcomes.values()) == {"forward"},
               "routes of BGP and staticd that the fast path forwards by",
               f"{sum(o == 'forward' for o in outcomes.values())} of {len(outcomes)}")
    before = r.settled_counters()
    start = [ip_packets(h) for h in (a, b)]

    for address in HOST["b"]:
        p = ping(a, address, 100, interval=0.005)
        step.check(p["received"] == p["sent"], f"ping host-a to {address}",
                   f"{p['received']} of {p['sent']} answered")
    for sender, receiver, side in ((a, b, "b"), (b, a, "a")):
        for address in HOST[side]:
            blast = Blast(lab.tools, sender, receiver, address, UDP_PPS, UDP_SECONDS)
            try:
                u = blast.start().finish()
            finally:
                blast.stop()
            step.check(u["lost"] == 0 and u["reordered"] == 0 and u["duplicated"] == 0, f"UDP to {address}",
                       f"{u['received']} of {u['sent']} received, {u['reordered']} out of order, "
                       f"{u['duplicated']} twice")
    with Iperf3(b) as server:
        for address in HOST["b"]:
            end = server.run(a, address, *TCP_ARGS)
            got = end["sum_received"]["bits_per_second"] / 1e6
            step.check(got > 0, f"TCP (iperf3) to {address}",
                       f"{got:.0f} Mbit/s of 200 asked for, {end['sum_sent']['retransmits']} retransmits")

    after = r.settled_counters()
    moved = {k: v - before.get(k, 0) for k, v in after.items()}
    (a0, a1), (b0, b1) = start
    (a2, a3), (b2, b3) = (ip_packets(h) for h in (a, b))
    sent, received = a2 - a0 + b2 - b0, a3 - a1 + b3 - b1
    forwarded = moved["forwarded"]
    step.figure("transit_packets", sent)
    step.figure("transit_lost", sent - received)
    step.figure("worker_forwarded", forwarded)
    share = step.figure("worker_share_percent", round(100.0 * forwarded / sent, 3))
    step.check(sent == received, "packets lost between the hosts",
               f"{sent - received} of {sent}, by their own IP counters")
    drops = {k: v for k, v in moved.items() if k.startswith("drop_") and v}
    step.check(not drops, "packets dropped by the worker", drops or 0)
    step.check(share >= 99.0, "share of transit that went through the worker", f"{share:.2f} % ({forwarded})")


def _warm(lab):
    a = lab.netns["host-a"]
    before = lab.router.settled_counters()["forwarded"]
    done = [ping(a, address, 5) for address in HOST["b"]]
    return all(p["received"] == 5 for p in done) and \
        lab.router.settled_counters()["forwarded"] - before >= 20


def exact(lab, step):
    r = lab.router
    for from_side, to_side in (("a", "b"), ("b", "a")):
        from_mac, in_mac, out_mac, to_mac = lab.way(from_side, to_side)
        with Sender(lab.netns[f"peer-{from_side}"], "edge") as sender, \
                Capture(lab.netns[f"peer-{to_side}"], "edge") as capture:
            way = (sender, capture, from_mac, in_mac, out_mac, to_mac)
            before = r.settled_counters()["forwarded"]
            names = []
            for source, sink in zip(HOST[from_side], SINK[to_side]):
                for case in exactness.cases(source, sink):
                    wrong = exactness.check(way, case)
                    names.append(case.name)
                    if wrong:
                        step.check(False, f"{case.name} from {source} to {sink}", wrong)
            counted = r.settled_counters()["forwarded"] - before
        step.check(counted == len(names), f"frames from {from_side}0 to {to_side}0 right to the byte "
                   "(MACs, TTL, checksum, all the rest)", f"{len(names)}; the worker forwarded {counted}")
        step.figure(f"frames_compared_{from_side}_to_{to_side}", len(names))
