# SPDX-License-Identifier: BSD-3-Clause
"""Step 4: what the fast path hands to the kernel, and the kernel's answers."""

import contextlib

from ..netns import wait_until
from ..topology import EDGE, HOST, NO_ROUTE, SILENT
from ..traffic import ping, traceroute

SMALL_MTU = 1400


def _line(text, part):
    return next((l.strip() for l in text.splitlines() if part in l), "no answer")


def hops(lab, step):
    for address, edge in zip(HOST["b"], EDGE["a"]):
        seen = traceroute(lab.netns["host-a"], address)
        step.check(len(seen) == 4 and seen[1] == edge and seen[3] == address,
                   f"traceroute to {address} has the edge as its second hop", " ".join(seen))


@contextlib.contextmanager
def _small_mtu(lab):
    """The link between the edge and peer-b carries SMALL_MTU bytes for as long as this lasts."""
    ends = ((lab.netns["peer-b"], "edge"), (lab.edge, "b0"))

    def set_mtu(mtu):
        for ns, device in ends:
            ns.ip("link", "set", device, "mtu", mtu)

        def mirrored():
            return any(p["port"] == "b0" and p["mtu"] == mtu for p in lab.router.show("ports"))
        wait_until(mirrored, f"millrace shows b0 with MTU {mtu}", 5)
    set_mtu(SMALL_MTU)
    try:
        yield
    finally:
        set_mtu(1500)
        for host in ("host-a", "host-b"):  # what they learnt of the path holds no longer
            lab.netns[host].ip("route", "flush", "cache")
            lab.netns[host].ip("-6", "route", "flush", "cache")


def too_big(lab, step):
    host = lab.netns["host-a"]
    with _small_mtu(lab):
        for address, edge, header in zip(HOST["b"], EDGE["a"], (20, 40)):
            before = lab.router.settled_counters().get("punt_too_big", 0)
            size = SMALL_MTU - header - 8
            big = ping(host, address, size=size + 1, extra=("-M", "do"))
            said = _line(big["text"], "From ").replace("mtu=", "mtu = ")
            counted = lab.router.settled_counters().get("punt_too_big", 0) - before
            step.check(said.startswith(f"From {edge} ") and f"mtu = {SMALL_MTU}" in said,
                       f"{SMALL_MTU + 1} bytes to {address}", said)
            step.check(counted >= 1, "handed to the kernel as punt_too_big", counted)
            fits = ping(host, address, size=size, extra=("-M", "do"))
            step.check(fits["received"] == 1, f"{SMALL_MTU} bytes to {address} fit", "answered")
        cut = ping(host, HOST["b"][0], size=1472, extra=("-M", "dont"))
        step.check(cut["received"] == 1, "1500 bytes over IPv4 that may be fragmented", "answered")


def no_route(lab, step):
    for address, edge in zip(NO_ROUTE, EDGE["a"]):
        before = lab.router.settled_counters().get("punt_no_route", 0)
        p = ping(lab.netns["host-a"], address)
        counted = lab.router.settled_counters().get("punt_no_route", 0) - before
        said = _line(p["text"], "From ")
        wanted = "Destination unreachable: No route" if ":" in address else "Destination Net Unreachable"
        step.check(said.startswith(f"From {edge} ") and wanted in said,
                   f"{address}, which has no route", said)
        step.check(counted >= 1, "handed to the kernel as punt_no_route", counted)


def first_packet(lab, step):
    """One single packet to a host on peer-b's link that the edge has never talked to."""
    for address in SILENT:
        fam = "-6" if ":" in address else "-4"
        rows = lab.edge.ip_json(fam, "neigh", "show", "to", address, "dev", "b0")
        step.check(not rows, f"{address}: the edge's neighbour entry before", "none")
        before = lab.router.settled_counters()
        p = ping(lab.netns["host-a"], address)
        after = lab.router.settled_counters()
        counted = after.get("punt_glean", 0) - before.get("punt_glean", 0)
        rows = lab.edge.ip_json(fam, "neigh", "show", "to", address, "dev", "b0")
        mac = rows[0].get("lladdr") if rows else None
        step.check(p["received"] == 1 and mac == lab.netns["peer-b"].mac("edge"),
                   "the first packet is answered, and the kernel has resolved", f"{mac}")
        step.check(counted >= 1, "handed to the kernel as punt_glean", counted)

        _fast(lab, step, address)


def _fast(lab, step, address):
    def counted():
        before = lab.router.settled_counters()["forwarded"]
        done = ping(lab.netns["host-a"], address, 3)
        after = lab.router.settled_counters()["forwarded"]
        return after - before if done["received"] == 3 and after - before >= 6 else 0
    n = wait_until(counted, f"{address} on the fast path", 5)
    step.check(n >= 6, "the next three take the fast path, both ways", f"worker forwarded {n}")
