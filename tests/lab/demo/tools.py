# SPDX-License-Identifier: BSD-3-Clause
"""Step 3: tcpdump, ip, ethtool and ss on the edge's ports."""

import re
import subprocess

from ..netns import wait_until
from ..topology import EDGE, PEER
from ..traffic import ping


def show(lab, step):
    _tcpdump(lab, step)
    for port in lab.router.ports:
        link = lab.edge.link(port)
        rx, tx = (link["stats64"][way]["packets"] for way in ("rx", "tx"))
        step.check(rx > 0 and tx > 0, f"ip -s link show {port}",
                   f"{link['operstate']}, RX {rx}, TX {tx} packets")
        said = lab.edge.run("ethtool", "-i", port).stdout
        driver = re.search(r"^driver: (\S+)", said, re.M)
        step.check(driver and driver[1] == "veth", f"ethtool -i {port}", f"driver {driver and driver[1]}")
    said = lab.edge.run("ss", "-Hnt", "state", "established", "( sport = :179 or dport = :179 )").stdout
    lines = said.splitlines()
    missing = [p for pair in PEER.values() for p in pair if p not in said]
    step.check(len(lines) == 4 and not missing, "ss -nt", f"{len(lines)} established BGP connections")


def _tcpdump(lab, step):
    """ARP, ND and BGP, in and out, as tcpdump on the port sees them while the dataplane runs."""
    path = lab.dir / "tcpdump.txt"
    peer = lab.netns["peer-a"]
    with open(path, "w", encoding="utf-8") as out:
        dump = lab.edge.popen("tcpdump", "-l", "-n", "-i", "a0", "--immediate-mode",
                              "arp or icmp6 or tcp port 179", stdout=out, stderr=subprocess.PIPE, text=True)
    try:
        while "listening on" not in (line := dump.stderr.readline()):
            if not line:
                step.check(False, "tcpdump -i a0", "it ended at once")
        # peer-a forgets the edge: it must ask again.
        peer.ip("neigh", "flush", "dev", "edge")
        for address in EDGE["a"]:
            ping(peer, address)
        wanted = {"an ARP request": r"ARP, Request who-has 10\.0\.1\.1 ",
                  "an ARP reply": r"ARP, Reply 10\.0\.1\.1 ",
                  "a neighbour solicitation": r"neighbor solicitation, who has 2001:db8:0:1::1",
                  "a neighbour advertisement": r"neighbor advertisement, tgt is 2001:db8:0:1::1",
                  "BGP from peer-a": r"IP 10\.0\.1\.2\.\d+ > 10\.0\.1\.1\.\d+: Flags.*BGP",
                  "BGP to peer-a": r"IP 10\.0\.1\.1\.\d+ > 10\.0\.1\.2\.\d+: Flags.*BGP",
                  "BGP over IPv6": r"IP6 2001:db8:0:1::2\.\d+ > 2001:db8:0:1::1\.\d+: Flags.*BGP"}

        def complete():
            text = path.read_text(encoding="utf-8")
            return all(re.search(p, text) for p in wanted.values())
        try:
            wait_until(complete, "tcpdump", 10, 0.1)
        except TimeoutError:
            pass
        text = path.read_text(encoding="utf-8")
        missing = [name for name, p in wanted.items() if not re.search(p, text)]
        step.check(not missing, "tcpdump -i a0",
                   f"no {', '.join(missing)}" if missing else f"sees {', '.join(wanted)}")
    finally:
        dump.terminate()
        dump.wait()
        dump.stderr.close()
