# SPDX-License-Identifier: BSD-3-Clause
"""Steps 1 and 5: BGP sessions and routes, from vtysh through the kernel to the fast path."""

import time

from ..netns import wait_until
from ..topology import ANNOUNCED, ANNOUNCED_B_HOST, EDGE, LAN, PEER, SIDES, STATIC
from ..traffic import ping


def come_up(lab, step):
    r = lab.router
    r.attach()
    took = r.start()
    step.figure("daemon_ready_seconds", round(took, 3))
    ports = r.show("ports")
    step.check(all(p["usable"] for p in ports) and [p["port"] for p in ports] == r.ports,
               f"classifier attached, millraced ready after {took:.2f} s", "; ".join(
                   f"{p['port']}: XDP {p['xdp_mode']}, AF_XDP {p['xsk_mode']}" for p in ports))

    begin = time.monotonic()
    lab.start_frr()
    seen = lab.wait_sessions()
    step.figure("bgp_up_seconds", round(time.monotonic() - begin, 3))
    for side in SIDES:
        for address in PEER[side]:
            s = seen[address]
            step.check(s["state"] == "Established", f"peer-{side} {address} AS {s['as']}",
                       f"{s['state']}, {s['prefixes']} prefixes")
    step.note(f"{time.monotonic() - begin:.1f} s after zebra's start")

    prefixes = [p for side in SIDES for p in (*LAN[side], *ANNOUNCED[side])]
    for prefix in prefixes:
        _in_both(lab, step, prefix, "bgp")
    lab.frr["edge"].configure("\n".join(
        f"{'ipv6' if ':' in prefix else 'ip'} route {prefix} {gateway}"
        for prefix, gateway in zip(STATIC, PEER["b"])))
    for prefix in STATIC:
        _in_both(lab, step, prefix, "static")
    step.figure("routes", len(prefixes) + len(STATIC))


def _in_both(lab, step, prefix, protocol):
    kernel = wait_until(lambda: lab.kernel_route(prefix), f"the kernel has {prefix}")
    row = lab.router.wait_route(prefix, protocol=protocol)
    via = ", ".join(f"{v['gateway']} {v['interface']}" for v in row["via"])
    # A gateway that nobody has talked to yet is resolved by the kernel with the first packet.
    known = row["outcome"] == "forward" or row["reason"] == "punt_no_neighbour"
    step.check(known and kernel.get("protocol") == protocol and via == f"{kernel['gateway']} {kernel['dev']}",
               prefix, f"kernel: {kernel.get('protocol')}, metric {kernel.get('metric', 0)}, "
               f"via {kernel['gateway']}; millrace: {row['outcome']}"
               f"{'' if row['outcome'] == 'forward' else ' (gateway not resolved yet)'} via {via}")


def withdraw(lab, step):
    r, peer_b, host = lab.router, lab.frr["b"], lab.netns["host-a"]
    for prefix, address, edge, fam in zip(ANNOUNCED["b"], ANNOUNCED_B_HOST, EDGE["a"], ("ipv4", "ipv6")):
        enter = ["router bgp 65002", f"address-family {fam} unicast"]
        before = ping(host, address, 3)
        step.check(before["received"] == 3, f"{address} answers", f"{before['received']} of 3")

        begin = time.monotonic()
        peer_b.configure("\n".join([*enter, f"no network {prefix}"]))
        r.wait_no_route(prefix)
        took = time.monotonic() - begin
        step.check(lab.kernel_route(prefix) is None, f"{prefix} withdrawn",
                   f"gone from the kernel and from millrace after {took * 1000:.0f} ms")
        gone = ping(host, address)
        step.check(gone["received"] == 0 and f"From {edge}" in gone["text"], f"{address} is unreachable",
                   _line(gone["text"], "From"))

        begin = time.monotonic()
        peer_b.configure("\n".join([*enter, f"network {prefix}"]))
        row = r.wait_route(prefix, outcome="forward")
        took = time.monotonic() - begin
        step.check(row["via"], f"{prefix} announced again",
                   f"millrace forwards to {row['via'][0]['gateway']} after {took * 1000:.0f} ms")
        step.figure(f"announce_{fam}_ms", round(took * 1000))
        _on_fast_path(lab, step, host, address)


def _on_fast_path(lab, step, host, address):
    # The first packets may wait for a neighbour entry; then each echo and each answer is counted.
    ping(host, address, 2)
    before = lab.router.settled_counters()["forwarded"]
    done = ping(host, address, 5)
    counted = lab.router.settled_counters()["forwarded"] - before
    step.check(done["received"] == 5 and counted >= 10, f"{address} answers over the fast path",
               f"{done['received']} of 5, worker forwarded {counted} packets")


def _line(text, start):
    return next((l.strip() for l in text.splitlines() if l.startswith(start)), "no answer")
