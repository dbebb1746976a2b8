# SPDX-License-Identifier: BSD-3-Clause
"""host-a - peer-a (AS 65001) - edge (AS 65000) - peer-b (AS 65002) - host-b, IPv4 and IPv6."""

from .base import Lab
from .frr import Frr
from .netns import veth, wait_until
from .router import Router

EDGE_AS = 65000
# What each side has: its link to the edge, its LAN, and what it announces besides the LAN.
SIDES = {
    "a": {"as": 65001, "port": "a0", "link4": "10.0.1", "link6": "2001:db8:0:1", "lan4": "10.1.0",
          "lan6": "2001:db8:1", "announced": ("192.0.2.0/24", "2001:db8:192::/48")},
    "b": {"as": 65002, "port": "b0", "link4": "10.0.2", "link6": "2001:db8:0:2", "lan4": "10.2.0",
          "lan6": "2001:db8:2", "announced": ("203.0.113.0/24", "2001:db8:203::/48")},
}
HOST = {side: (f"{s['lan4']}.10", f"{s['lan6']}::10") for side, s in SIDES.items()}
EDGE = {side: (f"{s['link4']}.1", f"{s['link6']}::1") for side, s in SIDES.items()}
PEER = {side: (f"{s['link4']}.2", f"{s['link6']}::2") for side, s in SIDES.items()}
LAN = {side: (f"{s['lan4']}.0/24", f"{s['lan6']}::/64") for side, s in SIDES.items()}
ANNOUNCED = {side: s["announced"] for side, s in SIDES.items()}
ANNOUNCED_B_HOST = ("203.0.113.1", "2001:db8:203::1")  # both live on peer-b's lo
# Static routes that step 1 enters in the edge's vtysh, and a host in them, on peer-b's lo.
STATIC = ("198.51.100.0/24", "2001:db8:198::/48")
STATIC_HOST = ("198.51.100.1", "2001:db8:198::1")
# Addresses that the peers discard: crafted frames to them get no answer that would disturb a count.
SINK = {"a": ("192.0.2.200", "2001:db8:192::200"), "b": ("198.51.100.200", "2001:db8:198:dead::200")}
NO_ROUTE = ("10.250.0.1", "2001:db8:250::1")
# A second address of peer-b on the link: nobody talks to it, so the edge has no neighbour entry for it.
SILENT = ("10.0.2.99", "2001:db8:0:2::99")


class EdgeLab(Lab):
    """The lab of the demonstration. start() makes the network; FRR and the router are started by steps."""

    def __init__(self, build, name=None):
        super().__init__(name)
        self.build = build
        self.tools = build / "tests" / "netns"
        self.frr = {}
        self.router = None

    def start(self):
        super().start()
        edge = self.add_netns("edge")
        _forwarding(edge)
        for side, s in SIDES.items():
            host, peer = self.add_netns(f"host-{side}"), self.add_netns(f"peer-{side}")
            _forwarding(peer)
            n = 10 if side == "a" else 11
            veth(edge, s["port"], peer, "edge", f"02:00:00:00:{n:02x}:01", f"02:00:00:00:{n:02x}:02")
            veth(peer, "lan", host, "eth0", f"02:00:00:00:{n:02x}:03", f"02:00:00:00:{n:02x}:04")
            _address(edge, s["port"], *EDGE[side])
            _address(peer, "edge", *PEER[side])
            _address(peer, "lan", f"{s['lan4']}.1", f"{s['lan6']}::1")
            _address(host, "eth0", *HOST[side])
            host.ip("route", "add", "default", "via", f"{s['lan4']}.1")
            host.ip("-6", "route", "add", "default", "via", f"{s['lan6']}::1")
            _permanent_neighbours(peer, host, s)
            self.frr[side] = Frr(peer, self.dir)
        self.frr["edge"] = Frr(edge, self.dir)
        self._far_ends()
        self.router = Router(edge, self.dir, self.build, [s["port"] for s in SIDES.values()])
        self.router.write_config()
        # A daemon that is asked to end leaves nothing of its own behind; the namespaces' end would kill it.
        self.on_close(self.router.stop)
        return self

    def _far_ends(self):
        peer_a, peer_b = self.netns["peer-a"], self.netns["peer-b"]
        for address in (*ANNOUNCED_B_HOST, *STATIC_HOST):
            peer_b.ip("addr", "add", address, "dev", "lo")
        peer_b.ip("addr", "add", f"{SILENT[0]}/24", "dev", "edge")
        # Deprecated: never picked as a source, so that peer-b is seen under its other address.
        peer_b.ip("addr", "add", f"{SILENT[1]}/64", "dev", "edge", "nodad", "preferred_lft", 0)
        for prefix in ANNOUNCED["a"]:
            peer_a.ip("route", "add", "blackhole", prefix)
        for prefix in ("198.51.100.128/25", "2001:db8:198:dead::/64"):
            peer_b.ip("route", "add", "blackhole", prefix)

    @property
    def edge(self):
        return self.netns["edge"]

    def start_frr(self):
        for frr in self.frr.values():
            frr.start()
            self.on_close(frr.stop)
        self.frr["edge"].configure(_edge_config())
        for side in SIDES:
            self.frr[side].configure(_peer_config(side))

    def sessions(self):
        """The edge's four sessions (two peers, each over IPv4 and IPv6), as bgpd there sees them."""
        return self.frr["edge"].sessions()

    def wait_sessions(self, seconds=40):
        wanted = [address for pair in PEER.values() for address in pair]

        def up():
            s = self.sessions()
            return s if all(s.get(p, {}).get("state") == "Established" and s[p]["prefixes"] >= 2
                            for p in wanted) else None
        return wait_until(up, "all BGP sessions are Established, with their prefixes", seconds, 0.2)

    def way(self, from_side, to_side):
        """MACs of a frame's way: (from peer, edge's ingress, edge's egress, to peer)."""
        return (self.netns[f"peer-{from_side}"].mac("edge"), self.edge.mac(SIDES[from_side]["port"]),
                self.edge.mac(SIDES[to_side]["port"]), self.netns[f"peer-{to_side}"].mac("edge"))

    def kernel_route(self, prefix):
        """The edge's kernel route for exactly this prefix, or None."""
        fam = "-6" if ":" in prefix else "-4"
        rows = self.edge.ip_json(fam, "route", "show", "exact", prefix)
        return rows[0] if rows else None


def _forwarding(ns):
    # Before any device is there, so that each one starts with these.
    ns.sysctl(net__ipv4__ip_forward=1, net__ipv6__conf__all__forwarding=1,
              net__ipv6__conf__default__forwarding=1, net__ipv4__conf__all__rp_filter=0,
              net__ipv4__conf__default__rp_filter=0)


def _address(ns, device, four, six):
    ns.ip("addr", "add", f"{four}/24", "dev", device)
    # nodad: no second of waiting before the address can be used.
    ns.ip("addr", "add", f"{six}/64", "dev", device, "nodad")


def _permanent_neighbours(peer, host, side):
    # No ARP or ND on the LANs: what a host sends is then transit, and can be counted.
    gateway, address = peer.mac("lan"), host.mac("eth0")
    for lan, sep in ((side["lan4"], "."), (side["lan6"], "::")):
        host.ip("neigh", "replace", f"{lan}{sep}1", "lladdr", gateway, "nud", "permanent", "dev", "eth0")
        peer.ip("neigh", "replace", f"{lan}{sep}10", "lladdr", address, "nud", "permanent", "dev", "lan")


def _edge_config():
    neighbours, four, six = [], [], []
    for side, s in SIDES.items():
        for address, family in zip(PEER[side], (four, six)):
            neighbours += [f"neighbor {address} remote-as {s['as']}",
                           f"neighbor {address} description peer-{side}",
                           f"neighbor {address} timers connect 1"]
            # The peers know the rest of the world through us: it is the edge that says "no route".
            family += [f"neighbor {address} activate", f"neighbor {address} default-originate"]
    return _bgp(EDGE_AS, EDGE["a"][0], neighbours, four, six)


def _peer_config(side):
    s = SIDES[side]
    neighbours, four, six = [], [], []
    for address, lan, announced, family in zip(EDGE[side], LAN[side], ANNOUNCED[side], (four, six)):
        neighbours += [f"neighbor {address} remote-as {EDGE_AS}", f"neighbor {address} description edge",
                       f"neighbor {address} timers connect 1"]
        family += [f"neighbor {address} activate", f"network {lan}", f"network {announced}"]
    return _bgp(s["as"], PEER[side][0], neighbours, four, six)


def _bgp(asn, router_id, neighbours, four, six):
    # A hold time of 3 s: a session that the edge's trouble starved would be seen to go down.
    head = [f"router bgp {asn}", f"bgp router-id {router_id}", "no bgp ebgp-requires-policy",
            "no bgp network import-check", "no bgp default ipv4-unicast", "timers bgp 1 3"]
    return "\n".join(head + neighbours + ["address-family ipv4 unicast", *four, "exit-address-family",
                                             "address-family ipv6 unicast", *six, "exit-address-family"])
