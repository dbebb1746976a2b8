# SPDX-License-Identifier: BSD-3-Clause
"""A BGP peer that announces a table of both families: BIRD, with a session for each of them."""

import subprocess

from .full_table import prefix_text
from .netns import CommandError, run
from .table_lab import gateway

AS, EDGE_AS = 65002, 65001
ADDRESS = {4: "10.64.0.2", 6: "2001:db8:64::2"}  # on the link of b0
EDGE = {4: "10.64.0.1", 6: "2001:db8:64::1"}

HEAD = """router id {id};
log "{log}" all;
protocol device {{ }}
ipv4 table master4;
ipv6 table master6;
"""
# The next hop is the route's own: an address on a link that the edge is connected to.
FAMILY = """protocol static table{v} {{
ipv{v};
include "{routes}";
}}
protocol bgp edge{v} {{
    local {own} as {local_as};
    neighbor {edge} as {edge_as};
    hold time 90;
    connect delay time 1;
    connect retry time 1;
    error wait time 1, 2;
    graceful restart aware;
    ipv{v} {{ next hop keep; import none; export where source = RTS_STATIC; }};
}}
"""


class BgpPeer:
    def __init__(self, netns, folder, routes):
        self.netns, self.dir = netns, folder
        self.config, self.socket = folder / "bird.conf", folder / "bird.ctl"
        self.process = None
        text = HEAD.format(id=ADDRESS[4], log=folder / "bird.log")
        for v in (4, 6):
            path = folder / f"bird-routes{v}.conf"
            with open(path, "w", encoding="utf-8") as out:
                for family, address, length, hop in routes:
                    if family == v:
                        out.write(f"route {prefix_text(family, address, length)} blackhole "
                                  f"{{ bgp_next_hop = {gateway(hop, v)}; }};\n")
            text += FAMILY.format(v=v, routes=path, own=ADDRESS[v], local_as=AS, edge=EDGE[v], edge_as=EDGE_AS)
        self.config.write_text(text, encoding="utf-8")

    def start(self):
        for v in (4, 6):
            self.netns.ip("addr", "replace", f"{ADDRESS[v]}/{16 if v == 4 else 64}", "dev", "s0",
                          *(["nodad"] if v == 6 else []))
        done = run(["bird", "-p", "-c", self.config], check=False, timeout=120)
        if done.returncode != 0:
            raise CommandError(f"bird: {done.stderr.strip()[:300]}")
        self.process = self.netns.popen("bird", "-f", "-c", self.config, "-s", self.socket,
                                        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        return self

    def kill(self):
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()
