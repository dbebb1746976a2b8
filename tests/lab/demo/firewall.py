# SPDX-License-Identifier: BSD-3-Clause
"""Step 6: a firewall rule comes and goes under traffic. While it is there, it is obeyed."""

import time

from ..netns import wait_until
from ..topology import HOST
from ..traffic import Blast

PPS = 20_000
PORT = 9000
RULESET = """table inet demo {
    chain forward {
        type filter hook forward priority filter; policy accept;
        udp dport %d counter drop
    }
}
""" % PORT


def _received(lab):
    return lab.netns["host-b"].link("eth0")["stats64"]["rx"]["packets"]


def rule(lab, step):
    r, edge = lab.router, lab.edge
    for address in HOST["b"]:
        blast = Blast(lab.tools, lab.netns["host-a"], lab.netns["host-b"], address, PPS, 5, port=PORT)
        try:
            blast.start()
            before = r.forwarded()
            wait_until(lambda b=before: r.forwarded() > b + 1000, "the worker forwards", 5)
            edge.run("nft", "-f", "-", stdin=None, input=RULESET)
            time.sleep(0.02)  # what was on its way is there
            before = _received(lab)
            time.sleep(0.5)
            passed = _received(lab) - before
            counted = int(edge.run("nft", "list", "table", "inet", "demo").stdout.split("packets ")[1].split()[0])
            step.check(passed == 0 and counted > PPS * 0.2, f"a rule that drops UDP to port {PORT}, {address}",
                       f"{passed} packets come through, the rule counts {counted:,}")
            shown = [row["text"] for row in r.kept() if row["cause"] == "netfilter"]
            step.check(any("forward" in text for text in shown), "'millrace show steering' says why",
                       shown[0] if shown else "nothing")
            edge.run("nft", "delete", "table", "inet", "demo")
            begin, before = time.monotonic(), r.forwarded()
            wait_until(lambda b=before: r.forwarded() > b + 1000, "the worker forwards again", 2)
            step.check(time.monotonic() - begin < 1.5, "the rule is deleted; the fast path forwards",
                       f"1,000 packets within {time.monotonic() - begin:.2f} s")
        finally:
            blast.stop()
            edge.run("nft", "delete", "table", "inet", "demo", check=False)
