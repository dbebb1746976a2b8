# SPDX-License-Identifier: BSD-3-Clause
"""Random changes to the routes, addresses and links of both routers, made from a random.Random alone.

A change is a list of things to do in both routers, in order: an `ip` command (text), a router advertisement (Advert), or
what befalls a port as a device (changes_ports.Move). A few prefixes and next hops, so that changes meet each other. What a
change may be is in CHANGES, and for a port in PORT_CHANGES and changes_ports.MOVES. p0 is where the frames come in, and
stays as it is.
"""

import dataclasses
import ipaddress
import struct

from .. import frames as f
from .changes_ports import COMES_HOME, CUT_OFF, GONE, RESTARTS, PortsNet
from .twins import MTU, address, behind, host_mac, set_up_lines

# Prefix -> an address that is in it and in no longer one.
PREFIXES = {
    4: {"0.0.0.0/0": "203.0.113.9", "10.200.0.0/16": "10.200.5.9", "10.200.1.0/24": "10.200.1.9",
        "10.200.1.7/32": "10.200.1.7"},
    6: {"::/0": "2a00:1::9", "2001:db8:c000::/36": "2001:db8:c100::9", "2001:db8:c0c0::/48": "2001:db8:c0c0:1::9",
        "2001:db8:c0c0:c0::/64": "2001:db8:c0c0:c0::9", "2001:db8:c0c0:c0::7/128": "2001:db8:c0c0:c0::7"},
}
# Hosts of the links themselves.
CONNECTED = {v: {d: address(d, v, 5) for d in ("p1", "p2")} for v in (4, 6)}
ADVERTISED = "2001:db8:c0c0:c0::/64"  # on-link
FROM = ("2001:db8:10:a::/64", "2001:db8:10:a:8000::/65", "2001:db8:10:b::5/128")
SOURCES = {4: (behind("p0", 4), behind("p0", 4, 77)),
           6: (behind("p0", 6), "2001:db8:10:a::1", "2001:db8:10:a:8000::1", "2001:db8:10:b::5")}
CHANGING = ("p1", "p2")
EGRESS = ("p1", "p1", "p1", "p2", "p2", "p2", "u0")
GATEWAYS = range(2, 5)
ROUTERS = (1, 2)  # that advertise, on each link
METRICS = ("", "", "metric 1024", "metric 100", "metric 2000")
EXPIRES = (1, 1, 2, 2, 3, 4, 60)
KINDS = {6: "blackhole", 7: "unreachable"}
OBJECTS, GROUPS = range(1, 5), range(10, 12)


def router_link_local(router):
    return f"fe80::a{router}"


@dataclasses.dataclass(frozen=True)
class Advert:
    """A router advertisement (RFC 4861 4.2, RFC 4191): lifetimes are seconds; 0 takes back."""
    device: str
    router: int
    lifetime: int
    preference: int = 0                 # 1 high, 0 medium, 3 low
    routes: tuple = ()                  # (prefix, preference, lifetime)
    on_link: tuple = ()                 # (prefix, lifetime)

    def mac(self):
        return host_mac(self.device, 2 + self.router)

    def frame(self):
        mac = self.mac()
        body = struct.pack("!BBHBBHII", 134, 0, 0, 0, self.preference << 3, self.lifetime, 0, 0)
        body += b"\1\1" + f.mac_bytes(mac)
        for prefix, preference, lifetime in self.routes:
            net = ipaddress.ip_network(prefix)
            body += struct.pack("!BBBBI", 24, 3, net.prefixlen, preference << 3, lifetime) + net.network_address.packed
        for prefix, lifetime in self.on_link:
            net = ipaddress.ip_network(prefix)
            body += struct.pack("!BBBBIII", 3, 4, net.prefixlen, 0x80, lifetime, lifetime, 0) + net.network_address.packed
        source = router_link_local(self.router)
        packet = f.ipv6(source, "ff02::1", f.ICMP6, f.icmp6(source, "ff02::1", body), hops=255)
        return f.ethernet("33:33:00:00:00:01", mac, f.ETH_IP6, packet)

    def __str__(self):
        extra = [f"route {p} preference {q} lifetime {t}" for p, q, t in self.routes]
        extra += [f"on-link {p} lifetime {t}" for p, t in self.on_link]
        return " ".join([f"(advertisement on {self.device} from {router_link_local(self.router)}: lifetime {self.lifetime} "
                         f"preference {self.preference}", *extra]) + ")"


def neighbours(device):
    """The hosts of the net on a device: all are permanent, so that no answer has to be waited for."""
    lines = [f"neigh replace {to} lladdr {host_mac(device, 9)} nud permanent dev {device}"
             for net in PREFIXES.values() for to in net.values()]
    lines += [f"neigh replace {to} lladdr {host_mac(device, 5 if to == address(device, v, 5) else 9)} nud permanent dev {device}"
              for v, hosts in CONNECTED.items() for to in hosts.values()]
    return lines + [f"neigh replace {router_link_local(r)} lladdr {host_mac(device, 2 + r)} nud permanent dev {device}"
                    for r in ROUTERS]


def mac_of(device, gateway):
    """Where a packet goes by this path; gateway: text, None = its destination is the host."""
    if gateway is None:
        return host_mac(device, 9)
    for router in ROUTERS:
        if gateway == router_link_local(router):
            return host_mac(device, 2 + router)
    return host_mac(device, int(gateway.rsplit(".", 1)[1] if "." in gateway else gateway.rsplit(":", 1)[1], 16))


class ChangesNet(PortsNet):
    def __init__(self, rng):
        self.rng = rng
        self.restarts = RESTARTS  # that may still be caused
        self.off = {}            # ports that are not as they were: see PortsNet
        self.down = set()        # ports that are
        self.without4 = set()    # ports whose IPv4 address is gone
        self.without6 = set()
        self.known = {4: [], 6: []}  # commands that added routes, without the verb

    # A change.

    def change(self):
        if self.off and self.rng.random() < COMES_HOME:
            return self.come_home(self.rng.choice(sorted(self.off)))
        pick = self.rng.choices(list(CHANGES), [weight for weight, _ in CHANGES.values()])[0]
        return CHANGES[pick][1](self)

    def routes(self):
        """A change that no port notices."""
        return self.by_name(self.rng.choice((ChangesNet.swap, lambda net: net.route(4), lambda net: net.route(6)))(self))

    def begin(self):
        """All ports are at home. From whatever there was to the net without a random route, but for those that forget()
        takes."""
        self.down, self.without4, self.without6 = set(), set(), set()
        self.known = {4: [], 6: []}
        lines = [line for device in CHANGING for line in self.restored(device)]
        for router in ROUTERS:
            lines += [Advert(d, router, 0, on_link=((ADVERTISED, 0),)) for d in CHANGING]
        return lines + ["nexthop flush"]

    @staticmethod
    def forget(routes):
        """Commands that delete these. (`ip route flush exact` passes over routes by source.)"""
        return [f"route del {KINDS.get(r.kind, '')} {r.prefix} {f'from {r.source}' if r.source else ''} metric {r.metric}"
                for r in routes if str(r.prefix) in PREFIXES[r.prefix.version]]

    @staticmethod
    def restored(device):
        return set_up_lines(device) + neighbours(device)

    def ready(self):
        """The devices that carry IPv4 both ways."""
        cut_off = {d for d, off in self.off.items() if off.how in CUT_OFF}
        return [d for d in ("p0", "p1", "p2", "u0") if d not in self.down | self.without4 | cut_off]

    def _egress(self):
        return self.rng.choice([d for d in EGRESS if d not in self.off or self.off[d].how not in GONE])

    def _via(self, version):
        device = self._egress()
        if version == 6 and device in CHANGING and self.rng.random() < 0.25:
            return f"via {router_link_local(self.rng.choice(ROUTERS))} dev {device}"
        return f"via {address(device, version, self.rng.choice(GATEWAYS))} dev {device}"

    def _hops(self, version):
        hops = sorted({self._via(version) for _ in range(self.rng.randint(2, 3))})
        return " ".join(f"nexthop {hop} weight {self.rng.randint(1, 3)}" for hop in hops)

    def _target(self, version, kind):
        prefix = self.rng.choice(list(PREFIXES[version]))
        if version == 6 and kind != "by object" and self.rng.random() < 0.15:
            prefix += f" from {self.rng.choice(FROM)}"
        return prefix

    def _route(self, version):
        kind = self.rng.choices(("gateway", "multipath", "connected", "blackhole", "unreachable", "by object"),
                                (12, 4 if version == 4 else 2, 2, 1, 1, 2))[0]
        metric = self.rng.choice(METRICS)
        target = self._target(version, kind)
        if kind == "multipath":
            return f"{target} {metric} {self._hops(version)}"
        if kind in ("blackhole", "unreachable"):
            # Not at one metric with IPv6 gateways, see row 40: what becomes of these, no dump tells.
            return f"{kind} {target} metric {50 if version == 6 else 100}"
        if kind == "by object":
            return f"{target} {metric} nhid {self.rng.choice((*OBJECTS, *GROUPS))}"
        text = f"{target} {metric} " + (f"dev {self._egress()}" if kind == "connected" else self._via(version))
        if version == 6:
            if self.rng.random() < 0.4:
                text += f" expires {self.rng.choice(EXPIRES)}"
            if self.rng.random() < 0.15:
                text += f" pref {self.rng.choice(('low', 'medium', 'high'))}"
        return text

    def route(self, version):
        known = self.known[version]
        gone = {d for d, off in self.off.items() if off.how in GONE}  # `ip -batch` would end at one in a multipath route
        possible = [text for text in known if not gone & set(text.split())]
        if possible and self.rng.random() < 0.35:
            text = self.rng.choice(possible)
            known.remove(text)
            return [f"route del {_without_state(text)}"]
        if possible and self.rng.random() < 0.15:
            text = self.rng.choice(possible)  # once more: what it has new, its lifetime, is not announced
            again = version == 6 and " via " in text and "nexthop" not in text
            return [f"route append {_without_state(text)} expires {self.rng.choice(EXPIRES)}" if again else
                    f"route append {text}"]
        verb = self.rng.choice(("add", "add", "append", "append", "prepend", "replace", "replace", "change"))
        text = self._route(version)
        known.append(text)
        del known[:-12]
        return [f"route {verb} {text}"]

    def swap(self):
        """A removal and what comes instead, without a pause."""
        version = self.rng.choice((4, 6, 6))
        return self.route(version) + self.route(version)

    def advertise(self):
        device = self.rng.choice(CHANGING)
        if device in self.down or device in self.off:
            return self.route(6)
        seconds = lambda: self.rng.choice((0, 1, 1, 2, 2, 3, 4, 60, 1800))
        preference = lambda: self.rng.choice((0, 0, 1, 3))
        routes = tuple((p, preference(), self.rng.choice((0, 1, 2, 3, 60, 0xffffffff)))
                       for p in ("2001:db8:c0c0::/48", "2001:db8:c000::/36") if self.rng.random() < 0.3)
        on_link = ((ADVERTISED, self.rng.choice((0, 1, 2, 3, 60, 0xffffffff))),) if self.rng.random() < 0.3 else ()
        return [Advert(device, self.rng.choice(ROUTERS), seconds(), preference(), routes, on_link)]

    def objects(self):
        if self.rng.random() < 0.3:
            return [f"nexthop del id {self.rng.choice((*OBJECTS, *GROUPS))}"]
        if self.rng.random() < 0.4:
            members = sorted({self.rng.choice(OBJECTS) for _ in range(3)})
            return [f"nexthop replace id {self.rng.choice(GROUPS)} group " +
                    "/".join(f"{m},{self.rng.randint(1, 3)}" for m in members)]
        return [f"nexthop replace id {self.rng.choice(OBJECTS)} {self._via(self.rng.choice((4, 6)))}"]

    # What befalls a port.

    def port(self):
        at_home = [device for device in CHANGING if device not in self.off]
        if not at_home:
            return self.route(6)
        device = self.rng.choice(at_home)
        if device in self.down:
            self.down.discard(device)
            self.without4.discard(device)
            self.without6.discard(device)
            return self.restored(device)
        pick = self.rng.choices(list(PORT_CHANGES), [weight for weight, _ in PORT_CHANGES.values()])[0]
        return PORT_CHANGES[pick][1](self, device)

    def moved(self):
        able = [device for device in CHANGING if device not in self.off and device not in self.down]
        return self.move(self.rng.choice(able)) if able else self.routes()

    def link_down(self, device):
        self.down.add(device)
        return [f"link set {device} down"]

    def link_flaps(self, device):
        self.without4.discard(device)
        self.without6.discard(device)
        return [f"link set {device} down"] + self.restored(device)

    def address4(self, device):
        own = f"{address(device, 4)}/24 dev {device}"
        if device in self.without4:
            self.without4.discard(device)
            # Not all is set up again: next hops come back with the address, unannounced.
            return [f"addr add {own}"] + (self.restored(device) if self.rng.random() < 0.5 else
                                          [line for line in self.restored(device) if line.startswith("neigh")] +
                                          [f"route replace 198.18.0.{device[1]}/32 via {address(device, 4, 2)}"])
        self.without4.add(device)
        # Its neighbours go along; what a flow that is hashed to one of these meets would depend on the hash.
        return [f"addr del {own}"] + [line for line in self.restored(device) if line.startswith("neigh")]

    def address4_flaps(self, device):
        if device in self.without4:
            return self.address4(device)
        own = f"{address(device, 4)}/24 dev {device}"
        return [f"addr del {own}", f"addr add {own}"] + self.restored(device)

    def address6(self, device):
        own = f"{address(device, 6)}/64 dev {device}"
        if device in self.without6:
            self.without6.discard(device)
            return [f"addr add {own} nodad"]
        if self.rng.random() < 0.3:
            return [f"addr change {own} valid_lft {self.rng.choice((1, 2, 60, 'forever'))} preferred_lft 0"]
        self.without6.add(device)
        return [f"addr del {own}"]

    def mtu(self, device):
        return [f"link set {device} mtu {self.rng.choice((MTU[device], 1400, 1280))}"]


CHANGES = {
    "IPv6 route": (36, lambda net: net.by_name(net.route(6))),
    "IPv4 route": (22, lambda net: net.by_name(net.route(4))),
    "two routes": (10, lambda net: net.by_name(net.swap())),
    "advertisement": (18, lambda net: net.by_name(net.advertise())),
    "nexthop object": (7, lambda net: net.by_name(net.objects())),
    "port": (7, lambda net: net.by_name(net.port())),
    "port as a device": (5, ChangesNet.moved),
}
PORT_CHANGES = {
    "down": (2, ChangesNet.link_down),
    "down and up": (1, ChangesNet.link_flaps),
    "IPv4 address": (4, ChangesNet.address4),
    "IPv4 address, away and back": (2, ChangesNet.address4_flaps),
    "IPv6 address": (2, ChangesNet.address6),
    "MTU": (1, ChangesNet.mtu),
}


def _without_state(text):
    """The route, without what does not tell it from another."""
    words = text.split()
    for state in ("expires", "pref"):
        if state in words:
            at = words.index(state)
            del words[at:at + 2]
    return " ".join(words)
