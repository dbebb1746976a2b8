# SPDX-License-Identifier: BSD-3-Clause
"""Is a port of the star on the fast path? What the daemon, the classifier and the hosts say of it."""

import json
import socket

from .cases import expect
from .netns import CommandError
from .star import Probe, edge_address, host_address
from .traffic import Blast, ping

PPS = 2000


def row(lab, port="c0"):
    return next(r for r in lab.router.ask("ports") if r["port"] == port)


def served(lab, port="c0"):
    return told(lab, port).get("state") == "served"


def told(lab, port="c0"):
    """The row, or an empty one while millraced is just starting again."""
    try:
        return row(lab, port)
    except (OSError, CommandError, ValueError):
        return {}


def redirected(lab, port="c0"):
    """By the classifier's own counters: no daemon is asked."""
    status = json.loads(lab.router.steer("status", port, "--json").stdout)
    return status[0]["counters"].get("redirect", {"packets": 0})["packets"]


def forwarded(lab, port):
    return sum(r["packets"] for r in lab.router.ask("counters")
               if r["port"] == port and r["reason"] == "forwarded")


def on_fast_path(lab):
    """Three pings between a and c: each is redirected, forwarded and counted on both ports."""
    before = redirected(lab), forwarded(lab, "c0"), forwarded(lab, "a0")
    if ping(lab.netns["a"], host_address("c"), 3, wait=1)["received"] != 3:
        return False
    lab.router.settled_counters()
    grown = redirected(lab) - before[0], forwarded(lab, "c0") - before[1], forwarded(lab, "a0") - before[2]
    return all(n >= 3 for n in grown)


def exact(lab):
    """What is counted as forwarded has left, as it should."""
    with lab.netns["c"].socket(socket.AF_INET6) as heard, Probe(lab) as probe:
        heard.bind(("::", 9))  # so that the host answers nothing
        for version in (4, 6):
            spoke, frame = probe.send(host_address("c", version))
            expect(spoke == "c" and not probe.wrong("c", frame), f"IPv{version} to c came out at {spoke}")
    before = forwarded(lab, "a0")
    run = blast(lab, "c", 1)
    try:
        result = run.finish()
    finally:
        run.stop()
    counted = lab.router.settled_counters() and forwarded(lab, "a0") - before
    expect(result["lost"] == 0, f"{result['lost']} of {result['sent']} packets to c lost")
    # Where the heartbeat was late, some took the kernel's way.
    expect(result["received"] / 2 < counted <= result["received"],
           f"{counted} counted as forwarded, {result['received']} arrived")


def punts(lab):
    """The way back into the kernel of c0."""
    p = ping(lab.netns["c"], "2001:db8:250::1", 1)
    expect("No route" in p["text"] and edge_address("c", 6) in p["text"], f"no answer of the edge: {p['text']}")


def blast(lab, spoke, seconds):
    return Blast(lab.build / "tests" / "netns", lab.netns["a"], lab.netns[spoke], host_address(spoke), PPS, seconds,
                 port=9000 + ord(spoke)).start()
