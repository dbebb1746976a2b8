# SPDX-License-Identifier: BSD-3-Clause
"""Random prefixes and next hops for both routers, and a model of them: which route a destination has."""

import dataclasses
import ipaddress

from .twins import DEVICES, PORTS, address, host_mac, number, router_mac
from .wire import LINKS

ROUTES = 40  # of each family
PERMANENT = range(2, 10)
ABSENT = range(20, 24)  # hosts that are not there: few, for the kernel's neighbour table is one for all namespaces
POOLS = {4: ("10.64.0.0/10", "172.16.0.0/12", "100.64.0.0/10", "203.0.113.0/24"),
         6: ("2001:db8:8000::/33", "fd00::/8", "2a00::/12")}
KINDS = {"gateway": 12, "link-local": 4, "absent": 2, "onlink": 2, "multipath": 5, "unmanaged": 3, "blackhole": 2,
         "unreachable": 2, "prohibit": 2, "throw": 1, "connected": 2, "object": 3, "blackhole object": 1, "group": 3,
         "other family": 3, "mtu": 1, "tos": 1, "two metrics": 3}
LINK_LOCAL = "fe80::9"


@dataclasses.dataclass
class Route:
    prefix: object        # ipaddress network
    text: str             # what `ip route add` is given
    kind: str
    members: tuple = ()   # of a multipath route: (device, host)


class RandomNet:
    """Made from a random.Random alone, so that the same seed gives the same net."""

    def __init__(self, rng):
        self.rng = rng
        self.mtu = {d: rng.choice((1280, 1281, 1400, 1492, 1500, 1501, 2000)) for d in DEVICES}
        self.mtu["p0"] = rng.choice((1500, 3000, 3506, 3507, 4000))
        if rng.random() < 0.7:
            self.mtu["p2"] = self.mtu["p1"]
        # One and the same step down for all, so that equal MTUs are equal in both families.
        less = rng.choice((0, 0, 0, 60, 200))
        self.sysctls = {f"net__ipv6__conf__{d}__mtu": max(1280, mtu - less) for d, mtu in self.mtu.items()}
        self.sysctls |= {f"net__ipv4__conf__{d}__rp_filter": rng.choice((0, 0, 0, 0, 1, 2)) for d in DEVICES}
        self.objects = []  # `nexthop add` lines
        self.second = []  # the second routes of a prefix
        self.routes = {4: {}, 6: {}}
        for version in (4, 6):
            for prefix in self._prefixes(version):
                self.routes[version][prefix] = self._route(version, prefix)
        self.lengths = {v: sorted({p.prefixlen for p in routes}, reverse=True) for v, routes in self.routes.items()}

    def _prefixes(self, version):
        """Nested: each new one is often inside of an earlier one, or beside it."""
        bits = 32 if version == 4 else 128
        found = {}
        if self.rng.random() < 0.3:
            found[ipaddress.ip_network("0.0.0.0/0" if version == 4 else "::/0")] = True
        while len(found) < ROUTES:
            known = [p for p in found if p.prefixlen]
            base = self.rng.choice(known) if known and self.rng.random() < 0.6 else \
                ipaddress.ip_network(self.rng.choice(POOLS[version]))
            longest = bits if self.rng.random() < 0.3 else min(bits, base.prefixlen + self.rng.randint(1, 16))
            length = self.rng.randint(base.prefixlen, longest)
            found[ipaddress.ip_network((self.address_in(base), length), strict=False)] = True
        return list(found)

    def address_in(self, prefix):
        """Any address of the prefix, often one of its ends."""
        size = prefix.num_addresses
        at = self.rng.choice((0, 1, size - 1, max(0, size - 2))) if self.rng.random() < 0.3 else \
            self.rng.randrange(size)
        return prefix.network_address + min(at, size - 1)

    def _hop(self, version, device=None, hosts=PERMANENT):
        device = device or self.rng.choice(PORTS)
        return device, self.rng.choice(hosts), version

    def _members(self, version):
        """Some next hops whose devices have the same MTU: else it would depend on the choice what becomes of a packet."""
        first = self._hop(version)
        same = [d for d in PORTS if self.mtu[d] == self.mtu[first[0]]]
        if self.mtu["u0"] == self.mtu[first[0]] and self.rng.random() < 0.3:
            same.append("u0")
        hops = {first} | {self._hop(version, self.rng.choice(same)) for _ in range(self.rng.randint(1, 5))}
        return sorted(hops)

    def _route(self, version, prefix):
        kind = self.rng.choices(list(KINDS), KINDS.values())[0]
        # `ip -batch` makes a blackhole object for IPv4 alone.
        if kind in ("tos", "blackhole object") and version == 6 or kind == "connected" and prefix.prefixlen < prefix.max_prefixlen - 4:
            kind = "gateway"  # nor may a wide connected prefix fill the neighbour table
        if kind in ("blackhole", "unreachable", "prohibit", "throw"):
            return Route(prefix, f"{kind} {prefix}", kind)
        if kind == "connected":
            return Route(prefix, f"{prefix} dev {self.rng.choice(PORTS)}", kind)
        if kind == "multipath":
            members = self._members(version)
            hops = " ".join(f"nexthop {_via(m)} dev {m[0]} weight {self.rng.randint(1, 4)}" for m in members)
            return Route(prefix, f"{prefix} {hops}", kind, tuple(members))
        if kind == "group":
            members = self._members(version)
            ids = [self._object(m) for m in members]
            whole = self._object(None, "group " + "/".join(f"{i},{self.rng.randint(1, 4)}" for i in ids))
            return Route(prefix, f"{prefix} nhid {whole}", kind, tuple(members))
        if kind == "object":
            return Route(prefix, f"{prefix} nhid {self._object(self._hop(version))}", kind)
        if kind == "blackhole object":
            return Route(prefix, f"{prefix} nhid {self._object(None, 'blackhole')}", kind)
        if kind == "link-local":
            return Route(prefix, f"{prefix} via {'inet6 ' if version == 4 else ''}{LINK_LOCAL} dev "
                         f"{self.rng.choice(DEVICES)}", kind)
        if kind == "two metrics":
            better, worse = (f"{prefix} {_via(h)} dev {h[0]} metric {m}" for h, m in
                             ((self._hop(version), 10), (self._hop(version), 2000)))
            first, second = self.rng.sample((better, worse), 2)
            self.second.append(second)
            return Route(prefix, first, kind)
        if kind == "onlink":
            n = self.rng.choice((0, 1, 2))
            gateway = f"198.19.{n}.9" if version == 4 else f"2001:db8:19:{n}::9"
            return Route(prefix, f"{prefix} via {gateway} dev p{n} onlink", kind)
        hop = self._hop(6 if kind == "other family" else version, "u0" if kind == "unmanaged" else None,
                        ABSENT if kind == "absent" else PERMANENT)
        extra = {"mtu": f" mtu {self.rng.choice(('', 'lock '))}{self.rng.choice((1280, 1300, 1450))}", "tos": " tos 0x10"}
        text = f"{prefix} {_via(hop, other=hop[2] != version)} dev {hop[0]}{extra.get(kind, '')}"
        return Route(prefix, text, kind)

    def _object(self, hop, what=None):
        ident = 1000 + len(self.objects)
        self.objects.append(f"nexthop add id {ident} {what or f'{_via(hop)} dev {hop[0]}'}")
        return ident

    def add(self):
        """The `ip` commands that make the net."""
        return [f"link set {d} mtu {mtu}" for d, mtu in self.mtu.items()] + self.objects + \
            [f"route add {r.text}" for routes in self.routes.values() for r in routes.values()] + \
            [f"route add {text}" for text in self.second]

    def remove(self):
        """Routes of nexthop objects go with these."""
        gone = [f"route del {r.text}" for routes in self.routes.values() for r in routes.values()]
        return gone + [f"route del {text}" for text in self.second] + \
            [f"nexthop del id {line.split()[3]}" for line in reversed(self.objects)]

    def lookup(self, packed):
        """The route of a destination among the random ones, or None."""
        version, bits = (4, 32) if len(packed) == 4 else (6, 128)
        number_ = int.from_bytes(packed, "big")
        for length in self.lengths[version]:
            network = ipaddress.ip_network((number_ >> bits - length << bits - length, length)) if version == 4 else \
                ipaddress.IPv6Network((number_ >> bits - length << bits - length, length))
            route = self.routes[version].get(network)
            if route:
                return route
        return None

    def member_of(self, link, frame):
        """The multipath route to a member of which the frame was sent; None for another route or next hop."""
        version = {b"\x08\x00": 4, b"\x86\xdd": 6}.get(frame[12:14])
        if version is None or len(frame) < 54:
            packed = frame[30:34] if version == 4 and len(frame) >= 34 else None
        else:
            packed = frame[30:34] if version == 4 else frame[38:54]
        route = self.lookup(packed) if packed else None
        if route is None or not route.members:
            return None
        for device, host, _ in route.members:
            if link == LINKS[number(device)] and frame[:6] == bytes.fromhex(host_mac(device, host).replace(":", "")) \
                    and frame[6:12] == bytes.fromhex(router_mac(device).replace(":", "")):
                return route.text
        return None


def _via(hop, other=False):
    device, host, version = hop
    return f"via {'inet6 ' if other else ''}{address(device, version, host)}"
