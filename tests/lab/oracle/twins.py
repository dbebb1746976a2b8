# SPDX-License-Identifier: BSD-3-Clause
"""Two routers, identical but for millrace: one has the kernel alone, one runs millrace on p0, p1 and p2.

    wire w0 - p0 \\            / p2 - w2 wire        link n: 10.0.n.0/24, 2001:db8:0:n::/64; the router is .1 and ::1,
                  one router                         hosts .2 to .9 and ::2 to ::9 are permanent neighbours.
    wire w1 - p1 /            \\ u0 - w3 wire        Behind host 2 of link n: 10.1n.0.0/16 and 2001:db8:1n::/48.
"""

import contextlib
import ipaddress
import pathlib

from ..base import Lab
from ..netns import run, veth, wait_until
from ..router import Router
from .wire import LINKS, Wire

PORTS = ("p0", "p1", "p2")
UNMANAGED = "u0"
DEVICES = (*PORTS, UNMANAGED)
MTU = {"p0": 4000, "p1": 1500, "p2": 1400, "u0": 1500}
WIRE_MTU = 9000
HEARTBEAT_MS = 5000
HOSTS = range(2, 10)
KERNEL, MILLRACE = "kernel", "millrace"


def number(device):
    return DEVICES.index(device)


def router_mac(device):
    return f"02:00:00:00:{number(device):02x}:01"


def host_mac(device, host=2):
    return f"02:00:00:01:{number(device):02x}:{host:02x}"


def address(device, version, host=1):
    """The router's address on the link, or a host's there."""
    n = number(device)
    return f"10.0.{n}.{host}" if version == 4 else f"2001:db8:0:{n}::{host:x}"


def behind(device, version, host=1):
    """A host that is reached through host 2 of the link."""
    n = number(device)
    return f"10.1{n}.0.{host}" if version == 4 else f"2001:db8:1{n}::{host:x}"


def link_local(device):
    """The router's, made from the MAC address (RFC 4291 appendix A)."""
    return f"fe80::ff:fe00:{number(device):x}01"


class Twin:
    """One of the two: its namespace, the namespace of its wires, and for one of them millrace."""

    def __init__(self, name, netns, wire_netns):
        self.name, self.netns = name, netns
        self.wire_netns = wire_netns
        self.wire = None
        self.router = None
        self.indices = {}  # of devices that are gone: what they had


class Twins(Lab):
    def __init__(self, build, generic=False):
        super().__init__()
        self.build = build
        self.generic = generic
        self.twins = {}
        self._markers = 0
        self._own = None

    @property
    def kernel(self):
        return self.twins[KERNEL]

    @property
    def millrace(self):
        return self.twins[MILLRACE]

    @property
    def router(self):
        return self.millrace.router

    @property
    def own(self):
        """The addresses that the routers answer for, packed; asked anew after a change."""
        if self._own is None:
            self._own = {ipaddress.ip_address(route["dst"]).packed for version in ("-4", "-6") for route in
                         self.kernel.netns.ip_json(version, "route", "show", "table", "local", "type", "local")
                         if "/" not in route["dst"]}
        return self._own

    def start(self, **config):
        super().start()
        for name in (KERNEL, MILLRACE):
            twin = Twin(name, self.add_netns(name), self.add_netns(f"wire-{name}"))
            self.twins[name] = twin
            _set_up(twin)
            twin.wire = Wire(twin.wire_netns)
            self.on_close(twin.wire.close)
        router = Router(self.millrace.netns, self.dir, self.build, PORTS)
        self.millrace.router = router
        # On a busy machine a heartbeat may be late: the kernel then forwards, as it must, but the counters would tell.
        # In generic mode the classifier sees no tag that is beside the frame.
        router.write_config(heartbeat_ms=HEARTBEAT_MS, vlan_tags="none" if self.generic else None, **config)
        self.on_close(router.stop)
        router.steer("attach", *PORTS, *(["--mode", "generic"] if self.generic else []))
        router.start()
        self.settle()
        return self

    def both(self, *command, check=True):
        """Runs a command in both routers. What it changes is in force after settle()."""
        for twin in self.twins.values():
            twin.netns.run(*command, check=check)

    def drain(self, seconds):
        """Takes what still comes out of both, and forgets it."""
        for twin in self.twins.values():
            while twin.wire.read(seconds):
                pass

    def batch(self, *lines, force=False):
        """`ip` commands in both routers, then settle(). A batch takes no -6: write ::/0 for IPv6's default."""
        text = "".join(f"{line}\n" for line in lines)
        for twin in self.twins.values():
            _batch(twin.netns, text, force)
        self.settle()

    @contextlib.contextmanager
    def changed(self, *lines, undo):
        """`ip` commands for as long as the `with` lasts; undo: those that take them back."""
        self.batch(*lines)
        try:
            yield
        finally:
            self.batch(*undo, force=True)

    @contextlib.contextmanager
    def routed(self, *routes):
        """Routes ("10.9.0.0/16 via 10.0.1.2", "blackhole ...") for as long as the `with` lasts."""
        with self.changed(*(f"route add {r}" for r in routes), undo=[f"route del {r}" for r in routes]):
            yield

    @contextlib.contextmanager
    def sysctls(self, **values):
        """sysctls(net__ipv4__conf__p0__rp_filter=1) in both routers; the old values come back at the end."""
        files = {name: name.replace("__", "/").replace(".", "/") for name in values}
        old = {name: self.kernel.netns.inside(_reader(path)) for name, path in files.items()}
        self.set_sysctls(**values)
        try:
            yield
        finally:
            self.set_sysctls(**old)

    def set_sysctls(self, **values):
        for twin in self.twins.values():
            set_sysctls(twin.netns, values)
        self.settle()

    def settle(self, seconds=10):
        """What was done to both routers is in force: millrace has read all that the kernel has said until now.

        Notifications come in order, so a marker route that is added now and shown by millrace proves it. Not so what
        the kernel removes without a notification (IPv4 routes of a link that goes down, of a nexthop object that is
        deleted): for that, wait until millrace shows what the row needs.
        """
        self._own = None
        self._markers += 1
        new, old = (f"198.51.{100 + n % 2}.{n // 2 % 250 + 1}/32" for n in (self._markers, self._markers - 1))
        for twin in self.twins.values():
            _batch(twin.netns, f"route add blackhole {new}\n" +
                   (f"route del blackhole {old}\n" if self._markers > 1 else ""))

        def seen():
            sync = self.ask("sync")[0]
            return sync["synced"] and self.ask("routes", prefix=new)
        wait_until(seen, f"millrace shows the marker route {new}", seconds, 0.002)

    def ask(self, what, **arguments):
        return self.router.ask(what, **arguments)

    def counters(self):
        """{reason: packets} of the worker and of the classifier, which have no name in common."""
        total = {}
        for row in self.ask("counters") + self.ask("steering"):
            if "reason" in row:  # else it says what is kept in the kernel, and why
                total[row["reason"]] = total.get(row["reason"], 0) + row["packets"]
        return total

    def settled_counters(self):
        """The same once they stand still: a worker counts a burst after it has sent it."""
        last = self.counters()
        while (now := self.counters()) != last:
            last = now
        return last


def _reader(path):
    return lambda: pathlib.Path("/proc/sys", path).read_text().strip()


def set_sysctls(netns, values):
    """Written from a thread in the namespace: `sysctl` refuses an empty value."""
    def write():
        for name, value in values.items():
            pathlib.Path("/proc/sys", name.replace("__", "/")).write_text(f"{value}\n")
    netns.inside(write)


def _batch(netns, text, force=False):
    run(["ip", "-n", netns.name, *(["-force"] if force else []), "-batch", "-"], check=not force, stdin=None,
        input=text)


def _set_up(twin):
    ns, wires = twin.netns, twin.wire_netns
    # The wires have no IP stack at work: whatever they send is the lab's.
    set_sysctls(wires, {"net__ipv6__conf__default__disable_ipv6": 1})
    # Before any device is there, so that each one starts with these.
    set_sysctls(ns, QUIET)
    for device in DEVICES:
        connect(twin, device)
    _batch(ns, "".join(f"{line}\n" for device in DEVICES for line in set_up_lines(device)))


def connect(twin, device, index=None):
    """A device and its wire. index: for the device; by default the kernel chooses."""
    link = LINKS[number(device)]
    veth(twin.netns, device, twin.wire_netns, link, router_mac(device), host_mac(device), left_index=index)
    twin.wire_netns.ip("link", "set", link, "mtu", WIRE_MTU, "arp", "off")


def set_up_lines(device):
    """What a router's device has, as `ip` commands that may be repeated."""
    lines = [f"link set {device} up mtu {MTU[device]}"]
    for version, bits, extra in ((4, 24, ""), (6, 64, "nodad")):
        lines.append(f"addr replace {address(device, version)}/{bits} dev {device} {extra}")
        for host in HOSTS:
            lines.append(f"neigh replace {address(device, version, host)} lladdr {host_mac(device, host)} "
                         f"nud permanent dev {device}")
        prefix = f"{behind(device, version, 0)}/{16 if version == 4 else 48}"
        lines.append(f"route replace {prefix} via {address(device, version, 2)}")
    # For the fence of an exchange, away from all prefixes of rows and of the random run.
    return [*lines, f"route replace 198.18.0.{number(device)}/32 via {address(device, 4, 2)}"]


# What the kernel would send or remember by itself, turned off. ICMP: the masks exempt every type from the limits of a
# destination and of the machine, which would be shared by the two routers.
QUIET = {
    "net__ipv4__ip_forward": 1, "net__ipv6__conf__all__forwarding": 1, "net__ipv6__conf__default__forwarding": 1,
    "net__ipv4__conf__all__rp_filter": 0, "net__ipv4__conf__default__rp_filter": 0,
    "net__ipv4__icmp_ratelimit": 0, "net__ipv4__icmp_ratemask": 0,
    "net__ipv6__icmp__ratelimit": 0, "net__ipv6__icmp__ratemask": "",
    "net__ipv4__conf__all__send_redirects": 0, "net__ipv4__conf__default__send_redirects": 0,
    "net__ipv4__conf__all__accept_redirects": 0, "net__ipv4__conf__default__accept_redirects": 0,
    "net__ipv6__conf__all__accept_redirects": 0, "net__ipv6__conf__default__accept_redirects": 0,
    "net__ipv6__conf__default__accept_ra": 0, "net__ipv6__conf__default__accept_dad": 0,
    "net__ipv6__conf__default__dad_transmits": 0, "net__ipv6__auto_flowlabels": 0,
}
