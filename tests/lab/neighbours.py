# SPDX-License-Identifier: BSD-3-Clause
"""The edge's neighbour entries, as its kernel has them and as millrace shows them."""

import time

from . import frames as f
from .netns import wait_until

KEPT_BY_US = 109  # NDA_PROTOCOL of the entries that millrace has the kernel keep


def entry(edge, address, device):
    """{"state", "flags", "lladdr", "protocol"} by the kernel, or None."""
    for row in edge.ip_json("-d", "neigh", "show", address, "dev", device):
        flags = {name for name in ("managed", "extern_learn", "router") if name in row}
        return {"state": row.get("state", ["NONE"])[0], "flags": flags, "lladdr": row.get("lladdr"),
                "protocol": row.get("protocol")}
    return None


def managed(edge, address, device):
    row = entry(edge, address, device)
    return row is not None and {"managed", "extern_learn"} <= row["flags"]


def all_managed(edge):
    """Addresses of all entries that are managed or still have our number."""
    return [row["dst"] for row in edge.ip_json("-d", "neigh", "show")
            if "managed" in row or str(row.get("protocol")) == str(KEPT_BY_US)]


def care(router, address):
    """What `show neighbors` says under CARE; None where it says nothing, or has no such entry."""
    return next((row["care"] for row in router.show("neighbors") if row["address"] == address), None)


def wait_care(router, address, wanted, seconds=5):
    wait_until(lambda: care(router, address) == wanted, f"care of {address} is {wanted}", seconds)


def follows(probe, address, spoke, mac, seconds=1.0):
    """Sends packets to the address until one leaves for the MAC, right to the byte; returns the seconds.

    All of them must leave by the spoke, if at all; what left before for another MAC is no error.
    """
    begin = time.monotonic()
    edge_mac = probe.lab.edge.mac(f"{spoke}0")
    wrong = "nothing came out"
    while time.monotonic() - begin < seconds:
        where, frame = probe.send(address, 0.1)
        if where is None or where == "icmp":
            continue
        if where != spoke:
            raise AssertionError(f"a packet to {address} came out at {where}")
        wrong = f.difference(f.forwarded(probe.sent, mac, edge_mac), frame)
        if not wrong:
            return time.monotonic() - begin
    raise AssertionError(f"a packet to {address} is not right after {seconds:g} s: {wrong}")
