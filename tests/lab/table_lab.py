# SPDX-License-Identifier: BSD-3-Clause
"""A lab for large tables: gen [g0] - [a0] edge, whose next hops are behind b0 and c0, thousands of them.

The next hops are MAC addresses that nobody has, so that one watcher on each link sees by whom a packet would have
been taken. Their neighbour entries are permanent: a table of the kernel that is full is another test.
"""

import collections
import signal
import subprocess
import time

from .base import Lab
from .full_table import address_text, prefix_text
from .netns import CommandError, veth
from .router import Router

UDP_PORT = 9000
PORTS = ("a0", "b0", "c0")
LINKS = ("b0", "c0")
IDS = {4: 1, 6: 100_001}  # of the first next hop's object
EDGE_A, GEN = {4: "10.0.1.1", 6: "2001:db8:0:1::1"}, {4: "10.0.1.2", 6: "2001:db8:0:1::2"}

Seen = collections.namedtuple("Seen", "packets first last")  # times: CLOCK_REALTIME, ns


def gateway(n, version=4):
    """Address of next hop n; even ones are behind b0, odd ones behind c0."""
    return f"10.{64 + n % 2}.{16 + (n >> 8)}.{n & 255}" if version == 4 else f"2001:db8:{64 + n % 2}::1:{n:x}"


def mac_of(n):
    return f"02:ee:00:00:{n >> 8:02x}:{n & 255:02x}"


def link_of(n):
    return LINKS[n % 2]


class TableLab(Lab):
    def __init__(self, build, nexthops, objects=True):
        """objects: nexthop objects of the lab's own; False leaves them to FRR."""
        super().__init__()
        self.objects = objects
        self.build = build
        self.tools = build / "tests" / "netns"
        self.nexthops = nexthops
        self.loaded = []
        self.router = None

    def start(self):
        super().start()
        edge, gen, sink = (self.add_netns(role) for role in ("edge", "gen", "sink"))
        # Before any device is there, so that each one starts with these.
        edge.sysctl(net__ipv4__ip_forward=1, net__ipv6__conf__all__forwarding=1,
                    net__ipv6__conf__default__forwarding=1, net__ipv4__conf__all__rp_filter=0,
                    net__ipv4__conf__default__rp_filter=0, net__ipv6__route__max_size=2**30,
                    net__ipv6__conf__default__keep_addr_on_down=1)
        for ns in (gen, sink):  # no router solicitations, no reports in between
            ns.sysctl(net__ipv6__conf__default__router_solicitations=0, net__ipv4__ip_forward=0)
        veth(edge, "a0", gen, "g0", "02:00:00:00:0a:01", "02:00:00:00:0a:02")
        for n, link in enumerate(LINKS):
            veth(edge, link, sink, f"s{n}", f"02:00:00:00:0b:{n:02x}", f"02:00:00:00:0c:{n:02x}")
        self.address()
        self.router = Router(edge, self.dir, self.build, PORTS)
        self.router.write_config()
        self.on_close(self.unload)
        self.on_close(self.router.stop)
        return self

    def unload(self):
        """Takes the routes out. A nexthop object that goes makes the kernel walk the whole table: with thousands of
        them the end of the namespace would hold the machine's RTNL lock for minutes (nexthop_net_exit_rtnl)."""
        self.batch(map(delete, self.loaded), force=True)
        self.loaded = []

    def load(self, routes):
        """Returns the seconds that the kernel took. What else is added later, whoever adds it deletes again."""
        self.loaded = routes
        return self.batch(map(add, routes))

    def address(self):
        """All that the edge knows beside the table."""
        edge, gen = self.edge, self.netns["gen"]
        for version, ns, device, own, length in ((4, edge, "a0", EDGE_A[4], 24), (6, edge, "a0", EDGE_A[6], 64),
                                                 (4, gen, "g0", GEN[4], 24), (6, gen, "g0", GEN[6], 64)):
            ns.ip("addr", "add", f"{own}/{length}", "dev", device, *(["nodad"] if version == 6 else []))
        for version in (4, 6):
            gen.ip("neigh", "add", EDGE_A[version], "lladdr", edge.mac("a0"), "nud", "permanent", "dev", "g0")
            edge.ip("neigh", "add", GEN[version], "lladdr", gen.mac("g0"), "nud", "permanent", "dev", "a0")
            gen.ip(f"-{version}", "route", "add", "default", "via", EDGE_A[version])
        for n, link in enumerate(LINKS):
            edge.ip("addr", "add", f"10.{64 + n}.0.1/16", "dev", link)
            edge.ip("addr", "add", f"2001:db8:{64 + n}::1/64", "dev", link, "nodad")
        self.add_nexthops()

    def add_nexthops(self):
        """Neighbours and objects; both go with the link."""
        self.batch(f"neigh replace {gateway(n, v)} lladdr {mac_of(n)} nud permanent dev {link_of(n)}"
                   for v in (4, 6) for n in range(self.nexthops))
        if not self.objects:
            return
        self.batch(nexthop(n, v) for v in (4, 6) for n in range(self.nexthops))

    @property
    def edge(self):
        return self.netns["edge"]

    def batch(self, lines, force=False):
        """`ip -batch` in the edge; returns the seconds that ip took, from its first line to its end."""
        text = "\n".join(lines) + "\n"
        begin = time.monotonic()
        self.edge.run("ip", *(["-force"] if force else []), "-batch", "-", stdin=None, input=text, timeout=600,
                      check=not force)
        return time.monotonic() - begin

    def start_router(self):
        self.router.attach()
        return self.router.start(seconds=120)


def nexthop(n, version=4):
    """Makes the object of next hop n. Where it is there, the kernel walks its whole table."""
    return f"nexthop replace id {IDS[version] + n} via {gateway(n, version)} dev {link_of(n)}"


def add(route):
    family, address, length, nexthop = route
    return f"route add {prefix_text(family, address, length)} nhid {IDS[family] + nexthop}"


def replace(route, nexthop):
    family, address, length, _ = route
    return f"route replace {prefix_text(family, address, length)} nhid {IDS[family] + nexthop}"


def delete(route):
    return f"route del {prefix_text(*route[:3])}"


def host_in(route):
    """An address that the prefix covers, not its first."""
    family, address, length, _ = route
    spare = (32 if family == 4 else 128) - length
    return address_text(family, address + min(7, (1 << spare) - 1))


class Watch:
    """udp-where on the links to the next hops, and udp-blast from gen to a list of addresses of one family."""

    def __init__(self, lab, addresses, pps, seconds, name="addresses"):
        self.lab, self.pps, self.seconds = lab, pps, seconds
        self.list = lab.dir / f"{name}.txt"
        self.list.write_text("".join(f"{a}\n" for a in addresses), encoding="utf-8")
        self.processes = []
        self.watchers = []

    def __enter__(self):
        for n in range(len(LINKS)):
            watcher = self.lab.netns["sink"].popen(self.lab.tools / "udp-where", f"s{n}", UDP_PORT,
                                                   stdout=subprocess.PIPE, text=True)
            self.watchers.append(watcher)
            if watcher.stdout.readline() != "ready\n":
                raise CommandError("udp-where ended at once")
        self.blast = self.lab.netns["gen"].popen(self.lab.tools / "udp-blast", f"@{self.list}", UDP_PORT, self.pps,
                                                 self.seconds, 18, stdout=subprocess.PIPE, text=True)
        return self

    def finish(self):
        """Waits for the last packet. Returns ({address: {next hop: Seen}}, packets sent, packets received)."""
        said, _ = self.blast.communicate(timeout=self.seconds + 30)
        sent = int(said.split(":")[1].split(",")[0])
        seen, received = collections.defaultdict(dict), 0
        for watcher in self.watchers:
            watcher.send_signal(signal.SIGINT)
            out, _ = watcher.communicate(timeout=30)
            *lines, lost = out.splitlines()
            if lost != "lost 0":
                raise CommandError(f"udp-where could not keep up: {lost}")
            for line in lines:
                address, mac, packets, first, last = line.split()
                # What goes to another MAC than a next hop's was not forwarded by a route of the table.
                hop = int(mac[-5:].replace(":", ""), 16) if mac.startswith("02:ee:") else mac
                seen[address][hop] = Seen(int(packets), int(first), int(last))
                received += int(packets)
        return seen, sent, received

    def __exit__(self, *_):
        for process in (self.blast, *self.watchers):
            if process.poll() is None:
                process.kill()
                process.wait()
            process.stdout.close()
