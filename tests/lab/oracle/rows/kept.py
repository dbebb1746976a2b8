# SPDX-License-Identifier: BSD-3-Clause
"""Rows 44 and 45: what is never the fast path's, whatever is in it, and at any load."""

import struct

from ... import frames as f
from ...cases import Skip, expect
from ...netns import CommandError
from ..exchange import ether, forwarded, kernel_sees, transit
from ..load import LOADED, Load
from ..table import row
from ..twins import address, behind, host_mac, link_local, router_mac


def arp(op, sender, target, to="ff:ff:ff:ff:ff:ff"):
    body = struct.pack("!HHBBH", 1, 0x0800, 6, 4, op) + f.mac_bytes(host_mac("p0")) + bytes(map(int, sender.split(".")))
    body += (bytes(6) if op == 1 else f.mac_bytes(router_mac("p0"))) + bytes(map(int, target.split(".")))
    return ether("p0", 0x0806, body, to=to)


def strange_frames():
    """{name: frame} of other ethertypes; where one may carry an IP packet inside, it does."""
    ip4, ip6 = transit(4)[14:], transit(6)[14:]
    mine = router_mac("p0")
    frames = {
        "ARP request for another": arp(1, address("p0", 4, 2), address("p0", 4, 9)),
        "ARP reply": arp(2, address("p0", 4, 2), address("p0", 4), to=mine),
        "gratuitous ARP": arp(1, address("p0", 4, 2), address("p0", 4, 2)),
        "LLDP": ether("p0", 0x88CC, bytes(46), to="01:80:c2:00:00:0e"),
        "LACP": ether("p0", 0x8809, b"\1\1" + bytes(108), to="01:80:c2:00:00:02"),
        "flow control": ether("p0", 0x8808, b"\0\1\0\0" + bytes(42), to="01:80:c2:00:00:01"),
        "802.1X": ether("p0", 0x888E, bytes(46), to="01:80:c2:00:00:03"),
        "STP": ether("p0", 38, b"\x42\x42\3" + bytes(43), to="01:80:c2:00:00:00"),
        "IS-IS": ether("p0", 100, b"\xfe\xfe\3\x83" + bytes(96), to="01:80:c2:00:00:14"),
        "IS-IS to our MAC": ether("p0", 100, b"\xfe\xfe\3\x83" + bytes(96)),
        "802.3 with an IP packet": ether("p0", 60, b"\xaa\xaa\3\0\0\0\x08\0" + ip4),
    }
    for name, kind, body in (
            ("MPLS", 0x8847, b"\0\1\1\x40" + ip4), ("MPLS multicast", 0x8848, b"\0\1\1\x40" + ip4),
            ("PPPoE discovery", 0x8863, b"\x11\x09\0\0\0\0" + bytes(40)),
            ("PPPoE session", 0x8864, b"\x11\0\0\1" + struct.pack("!HH", len(ip4) + 2, 0x0021) + ip4),
            ("VLAN 1, IPv4", 0x8100, b"\0\1\x08\0" + ip4), ("VLAN 4094, IPv6", 0x8100, b"\x0f\xfe\x86\xdd" + ip6),
            ("VLAN, priority 7", 0x8100, b"\xe0\5\x08\0" + ip4),
            ("802.1ad", 0x88A8, b"\0\1\x08\0" + ip4), ("VLAN in VLAN", 0x8100, b"\0\1\x81\0\0\2\x08\0" + ip4),
            ("VLAN in 802.1ad", 0x88A8, b"\0\1\x81\0\0\2\x86\xdd" + ip6), ("old QinQ", 0x9100, b"\0\1\x08\0" + ip4),
            ("MACsec", 0x88E5, bytes(50)), ("PTP", 0x88F7, bytes(46)), ("CFM", 0x8902, bytes(46)),
            ("local experiment", 0x88B5, ip4), ("nobody's", 0x1234, ip4), ("all ones", 0xFFFF, ip6),
            ("one less than IPv4", 0x07FF, ip4), ("IPv4's bytes swapped", 0x0008, ip4), ("ethertype 0", 0, ip4)):
        frames[name] = ether("p0", kind, body)
    return frames


@row(44, "ARP, LLDP, LACP, STP, MPLS, PPPoE, VLAN tags, IS-IS, unknown ethertypes: to the kernel, unmodified", (None,))
def other_ethertypes(lab, _):
    frames = strange_frames()
    # A tag of VLAN 0 says a priority and no VLAN: the kernel takes it off and routes.
    priority = ether("p0", 0x8100, b"\x60\0\x08\0" + transit(4)[14:])
    sent = [*frames.values(), priority]
    with kernel_sees(lab.twins, "p0") as taps:
        out = lab.exchange([("p0", frame) for frame in sent])
        for name, tap in taps.items():
            seen = list(iter(tap.read, None))
            changed = [said for said, frame in [*frames.items(), ("VLAN 0", priority)] if frame not in seen]
            expect(not changed, f"not to the {name} router's stack as it was on the wire: {', '.join(changed)}")
    others = sum(frame[:6] != f.mac_bytes(router_mac("p0")) for frame in sent)
    out.by(not_our_mac=others, not_ip=len(sent) - others)


@row(44, "a VLAN device on a port: the kernel routes what is tagged for it", versions=(4,))
def vlan_device(lab, _):
    try:
        lab.twins.both("ip", "link", "add", "link", "p0", "name", "p0.7", "type", "vlan", "id", 7)
    except CommandError as error:
        raise Skip("this kernel has no VLAN devices") from error
    try:
        lab.twins.both("ip", "link", "set", "p0.7", "up")
        lab.twins.settle()
        inner = transit(4)
        out = lab.exchange([("p0", inner[:12] + b"\x81\x00\x00\x07" + inner[12:])])
        out.is_exactly(forwarded(inner, "p1")).by(not_ip=1)
    finally:
        lab.twins.both("ip", "link", "del", "p0.7")
        lab.twins.settle()


def control(v):
    """{name: frame} of a router's own protocols, as they come in at p0."""
    peer, own, multicast = (address("p0", v, 2), address("p0", v), {})
    hops = "ttl" if v == 4 else "hops"
    frames = {}
    for ttl in (1, 64, 255):  # eBGP, iBGP, GTSM (RFC 5082)
        for sport, dport in ((40000, 179), (179, 40000)):
            frames[f"BGP {sport} > {dport}, TTL {ttl}"] = transit(
                v, source=peer, destination=own, protocol=f.TCP, payload=f.tcp_syn(peer, own, sport, dport), **{hops: ttl})
    remote, loop = behind("p0", v), address("p1", v)
    frames["BGP, multihop, to another own address"] = transit(
        v, source=remote, destination=loop, protocol=f.TCP, payload=f.tcp_syn(remote, loop, 40001, 179))
    frames["SSH"] = transit(v, source=remote, destination=own, protocol=f.TCP, payload=f.tcp_syn(remote, own, 40002, 22))
    for name, port in (("BFD", 3784), ("BFD echo", 3785), ("BFD multihop", 4784), ("SNMP", 161), ("NTP", 123)):
        frames[name] = transit(v, source=peer, destination=own, payload=f.udp(peer, own, 49152, port, bytes(24)),
                               **{hops: 255})
    frames["OSPF to the address"] = transit(v, source=peer, destination=own, protocol=89, payload=bytes(44), **{hops: 1})
    if v == 4:
        multicast = {"OSPF hello": (89, "224.0.0.5", bytes(44)), "OSPF DR": (89, "224.0.0.6", bytes(44)),
                     "VRRP": (112, "224.0.0.18", bytes(20)), "IGMP": (2, "224.0.0.1", b"\x11\x64" + bytes(6)),
                     "PIM": (103, "224.0.0.13", bytes(20))}
        discover = f.udp("0.0.0.0", "255.255.255.255", 68, 67, bytes(240))
        frames["DHCP discover"] = transit(4, source="0.0.0.0", destination="255.255.255.255", to="ff:ff:ff:ff:ff:ff",
                                          payload=discover)
        frames["DHCP renew"] = transit(4, source=peer, destination=own, payload=f.udp(peer, own, 68, 67, bytes(240)))
        to_mac = {name: "01:00:5e:" + ":".join(f"{int(b):02x}" for b in group.split(".")[1:])
                  for name, (_, group, _) in multicast.items()}
    else:
        peer = "fe80::aa"
        multicast = {"OSPFv3 hello": (89, "ff02::5", bytes(36)), "VRRP": (112, "ff02::12", bytes(24)),
                     "PIM": (103, "ff02::d", bytes(20)),
                     "DHCPv6 solicit": (17, "ff02::1:2", f.udp("fe80::aa", "ff02::1:2", 546, 547, bytes(40)))}
        last = {"ff02::5": "00:00:00:05", "ff02::12": "00:00:00:12", "ff02::d": "00:00:00:0d", "ff02::1:2": "00:01:00:02"}
        to_mac = {name: f"33:33:{last[group]}" for name, (_, group, _) in multicast.items()}
        frames["BGP to the link-local address"] = transit(
            6, source=peer, destination=link_local("p0"), protocol=f.TCP, payload=f.tcp_syn(peer, link_local("p0"), 1, 179))
    for name, (protocol, group, data) in multicast.items():
        frames[name] = transit(v, source=peer, destination=group, to=to_mac[name], protocol=protocol, payload=data,
                               **{hops: 1 if name != "VRRP" else 255})
    return frames


@row(45, "BGP, OSPF, BFD, VRRP, DHCP, SSH to the router: the kernel")
def own_protocols(lab, v):
    frames = control(v)
    with kernel_sees(lab.twins, "p0") as taps:
        out = lab.exchange([("p0", frame) for frame in frames.values()])
        for name, tap in taps.items():
            seen = list(iter(tap.read, None))
            lost = [said for said, frame in frames.items() if frame not in seen]
            expect(not lost, f"not to the stack of the {name} router: {', '.join(lost)}")
    expect(not out.moved.get("redirect"), f"redirected to the fast path: {out.moved}")
    resets = [frame for link, frame in out.left if link == "w0" and frame[23 if v == 4 else 20] == f.TCP]
    expect(len(resets) >= 4, f"{len(resets)} answers to TCP")


@row(45, "what a DHCP server sends to a client on a port, whose address is nobody's yet and in a route: the kernel")
def dhcp_client(lab, v):
    client, source, server, port = (behind("p1", v, 77), address("p0", v, 2), *((67, 68) if v == 4 else (547, 546)))
    other = behind("p1", v, 78)

    def to_client(destination, sport=server, size=240, **fields):
        return transit(v, destination=destination, source=source,
                       payload=f.udp(source, destination, sport, port, bytes(size)), **fields)
    frames = [to_client(client), to_client(client, size=300), to_client(client, sport=40000)]
    if v == 4:  # the first fragment says what it is for
        frames.append(to_client(client, flags_offset=0x2000))
    others = [transit(v, destination=other, source=source, payload=f.udp(source, other, port, dport, bytes(240)))
              for dport in (server, port - 2, port + 2)]
    with kernel_sees(lab.twins, "p0") as taps:
        out = lab.exchange([("p0", frame) for frame in (*frames, *others)])
        for name, tap in taps.items():
            seen = list(iter(tap.read, None))
            lost = sum(frame not in seen for frame in frames)
            expect(not lost, f"a client on the {name} router would not see {lost} of {len(frames)}")
    # No client took them: the kernel has only the route to go by.
    out.is_exactly(*(forwarded(frame, "p1") for frame in (*frames, *others)))
    out.by(dhcp=len(frames), forwarded=len(others))


@row(45, "BGP, OSPF, BFD, VRRP, DHCP, SSH to the router: the kernel, with the port saturated by transit")
def own_protocols_under_load(lab, v):
    frames = control(v)
    with Load(lab.twins) as load, kernel_sees(lab.twins, "p0") as taps:
        sent, _ = load.ask("w0", list(frames.values()), lambda link, frame: False, names=("millrace",))["millrace"]
        wanted = set(frames.values())
        seen = sum(frame in wanted for frame in iter(taps["millrace"].read, None))
    expect(load.packets["millrace"] > LOADED, f"there was no load: {load.packets} packets came through")
    # The queue of a veth may overflow before the router, as a link's may.
    expect(seen >= sent / 2, f"{seen} of {sent} came to the stack under load")
