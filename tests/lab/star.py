# SPDX-License-Identifier: BSD-3-Clause
"""A small lab without FRR: hosts a, b, c, d around one edge. a0, b0 and c0 are ports, d0 is not."""

import contextlib
import errno
import ipaddress
import select
import struct
import time

from . import frames as f
from .base import Lab
from .netns import veth, wait_until
from .router import Router
from .traffic import Blast

SPOKES = {"a": 1, "b": 2, "c": 3, "d": 4}
PORTS = ("a0", "b0", "c0")
UNMANAGED = "d0"


def edge_address(spoke, version=4):
    n = SPOKES[spoke]
    return f"10.0.{n}.1" if version == 4 else f"2001:db8:0:{n}::1"


def host_address(spoke, version=4):
    n = SPOKES[spoke]
    return f"10.0.{n}.2" if version == 4 else f"2001:db8:0:{n}::2"


class Spokes:
    """Hosts that are linked with the edge: for a lab that has self.netns and self.edge."""

    def connect(self, spoke, **link):
        """The link between the edge and a host, with addresses and the host's default routes."""
        n, edge, host = SPOKES[spoke], self.edge, self.netns[spoke]
        veth(edge, f"{spoke}0", host, "eth0", f"02:00:00:00:{n:02x}:01", f"02:00:00:00:{n:02x}:02", **link)
        self.address_edge(spoke)
        host.ip("addr", "add", f"{host_address(spoke)}/24", "dev", "eth0")
        host.ip("addr", "add", f"{host_address(spoke, 6)}/64", "dev", "eth0", "nodad")
        host.ip("route", "add", "default", "via", edge_address(spoke))
        host.ip("-6", "route", "add", "default", "via", edge_address(spoke, 6))

    def address_edge(self, spoke):
        """The edge's addresses on a link."""
        for version, length in ((4, 24), (6, 64)):
            self.edge.ip("addr", "add", f"{edge_address(spoke, version)}/{length}", "dev", f"{spoke}0",
                         *(("nodad",) if version == 6 else ()))


class StarLab(Spokes, Lab):
    def __init__(self, build, ports=PORTS):
        super().__init__()
        self.build = build
        self.ports = ports
        self.router = None

    def start(self):
        super().start()
        edge = self.add_netns("edge")
        edge.sysctl(net__ipv4__ip_forward=1, net__ipv6__conf__all__forwarding=1,
                    net__ipv6__conf__default__forwarding=1, net__ipv4__conf__all__rp_filter=0,
                    net__ipv4__conf__default__rp_filter=0)
        # The kernel's answers are what the tests look at; its limit of one a second is not.
        edge.sysctl(net__ipv4__icmp_ratelimit=0, net__ipv6__icmp__ratelimit=0)
        for spoke in SPOKES:
            self.add_netns(spoke)
            self.connect(spoke)
        self.router = Router(edge, self.dir, self.build, self.ports)
        self.router.write_config()
        self.on_close(self.router.stop)
        return self

    @property
    def edge(self):
        return self.netns["edge"]

    def start_router(self):
        self.router.attach()
        self.router.start()
        return self

    @contextlib.contextmanager
    def traffic(self, pps, seconds, versions=(4, 6), to="b"):
        """From host a, in each family at this rate. Gives a list that has their figures once the `with` has ended."""
        runs, results = [], []
        try:
            for version in versions:
                runs.append(Blast(self.build / "tests" / "netns", self.netns["a"], self.netns[to], host_address(to, version), pps,
                                  seconds, port=9000 + version).start())
            yield results
            results.extend(run.finish() for run in runs)
        finally:
            for run in runs:
                run.stop()

    def resolve(self, *spokes):
        """The edge's neighbour entries of these hosts are there, and millrace knows them."""
        for spoke in spokes:
            for version in (4, 6):
                self.edge.run("ping", f"-{version}", "-n", "-c", 1, "-W", 2, host_address(spoke, version))
        wanted = {host_address(s, v) for s in spokes for v in (4, 6)}

        def known():
            seen = {n["address"] for n in self.router.show("neighbors") if n.get("usable", True)}
            return wanted <= seen
        wait_until(known, f"millrace knows the neighbours {sorted(wanted)}", 5)


class Probe:
    """Single UDP packets from host a, and where each of them, or the edge's answer, comes out."""

    def __init__(self, lab):
        self.lab = lab
        self.sender = f.Sender(lab.netns["a"], "eth0")
        self.captures = {s: f.Capture(lab.netns[s], "eth0") for s in SPOKES}
        self.a_mac = lab.netns["a"].mac("eth0")
        self.in_mac = lab.edge.mac("a0")
        self.ident = 100

    def send(self, destination, seconds=1.0, sport=40000, **fields):
        """Returns (spoke, frame) of the packet, ("icmp", (type, code, source, frame)), or (None, None)."""
        version = ipaddress.ip_address(destination).version
        self.ident += 1
        # The number is in the payload: it says which packet it is, also where an ICMP error quotes it.
        mark = struct.pack("!I", 0xA5000000 + self.ident)
        source = host_address("a", version)
        kind, packet = f.packet(source, destination, f.UDP, f.udp(source, destination, sport, 9, mark * 4),
                                **fields)
        frame = f.ethernet(self.in_mac, self.a_mac, kind, packet)
        self.sent = frame
        self.sender.send(frame)
        return self._outcome(mark, seconds)

    def forget(self):
        """Drops what the captures hold: after many frames they are full, and would miss the next one."""
        for capture in self.captures.values():
            while capture.read() is not None:
                pass

    def _outcome(self, mark, seconds):
        for spoke, frame in self._arrivals(seconds):
            if mark not in frame:
                continue
            if spoke == "a" and frame[12:14] == b"\x08\x00" and frame[23] == f.ICMP:
                return "icmp", (frame[34], frame[35], str(ipaddress.ip_address(frame[26:30])), frame)
            if spoke == "a" and frame[12:14] == b"\x86\xdd" and frame[20] == f.ICMP6:
                return "icmp", (frame[54], frame[55], str(ipaddress.ip_address(frame[22:38])), frame)
            return spoke, frame
        return None, None

    def _arrivals(self, seconds):
        spokes = {c.socket: (s, c) for s, c in self.captures.items()}
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            for sock in select.select(list(spokes), [], [], left)[0]:
                spoke, capture = spokes[sock]
                try:
                    data = capture.read()
                except OSError as error:
                    if error.errno != errno.ENETDOWN:  # said once, when the device went down
                        raise
                    continue
                if data is not None:
                    yield spoke, data

    def wrong(self, spoke, frame):
        """'' when the frame that came out at the spoke is the sent one, rightly forwarded."""
        host, edge = self.lab.netns[spoke], self.lab.edge
        return f.difference(f.forwarded(self.sent, host.mac("eth0"), edge.mac(f"{spoke}0")), frame)

    def close(self):
        self.sender.close()
        for capture in self.captures.values():
            capture.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
