# SPDX-License-Identifier: BSD-3-Clause
"""Transit frames that must come out right to the byte, and the check that they do."""

import dataclasses
import ipaddress
import struct

from . import frames as f


@dataclasses.dataclass
class Case:
    name: str
    packet: tuple  # (ethertype, bytes)
    padding: bytes = b""


def cases(src, dst):
    """One frame of each kind that the fast path forwards, between two addresses of one family."""
    data = bytes(range(64))
    udp = f.udp(src, dst, 40000, 9, data)

    def p(protocol, payload, **fields):
        return f.packet(src, dst, protocol, payload, **fields)

    both = [
        Case("UDP", p(f.UDP, udp)),
        Case("UDP, odd length", p(f.UDP, f.udp(src, dst, 40000, 9, data[:33]))),
        Case("UDP, 1500 bytes", p(f.UDP, f.udp(src, dst, 40000, 9, bytes(
            1500 - 8 - (20 if ipaddress.ip_address(src).version == 4 else 40))))),
        Case("TCP SYN", p(f.TCP, f.tcp_syn(src, dst, 40000, 80))),
        Case("BGP between two other routers", p(f.TCP, f.tcp_syn(src, dst, 40000, 179))),
        Case("GRE", p(f.GRE, struct.pack("!HH", 0, 0x0800) + data)),
        Case("an IP protocol nobody knows", p(253, data)),
    ]
    if ipaddress.ip_address(src).version == 4:
        fragment = udp[:40]
        both += [
            Case("ICMP echo", p(f.ICMP, f.echo(src, dst, 7, 1))),
            Case("DSCP EF and ECN CE", p(f.UDP, udp, tos=0xBB)),
            Case("TTL 2", p(f.UDP, udp, ttl=2)),
            Case("TTL 255", p(f.UDP, udp, ttl=255)),
            Case("may be fragmented", p(f.UDP, udp, flags_offset=0)),
            Case("first fragment", p(f.UDP, fragment, flags_offset=0x2000)),
            Case("last fragment", p(f.UDP, udp[40:], flags_offset=5)),
            Case("padded to 60 bytes", p(f.UDP, f.udp(src, dst, 40000, 9, b"12")), b"\0" * 16),
        ]
        both += [Case(f"header checksum {value:04x}", _with_checksum(src, dst, value, udp))
                 for value in (0xFEFF, 0xFF00, 0x0000, 0xFFFE)]
    else:
        both += [
            Case("ICMPv6 echo", p(f.ICMP6, f.echo(src, dst, 7, 1))),
            Case("traffic class and flow label", p(f.UDP, udp, traffic_class=0xBB, flow=0xABCDE)),
            Case("hop limit 2", p(f.UDP, udp, hops=2)),
            Case("hop limit 255", p(f.UDP, udp, hops=255)),
            Case("fragment header", p(44, struct.pack("!BBHI", f.UDP, 0, 1, 99) + udp)),
            Case("destination options", p(60, struct.pack("!BB6s", f.UDP, 0, b"\1\4\0\0\0\0") + udp)),
        ]
    return both


def _with_checksum(src, dst, wanted, payload):
    """A packet whose identification is chosen so that the header checksum is the wanted value."""
    for ident in range(65536):
        kind, packet = f.packet(src, dst, f.UDP, payload, ident=ident)
        if packet[10:12] == struct.pack("!H", wanted):
            return kind, packet
    # 0xFFFF never comes out of a full computation of a header that is not all zero.
    raise ValueError(f"no identification gives the checksum {wanted:04x}")


def check(lab_way, case):
    """Sends the case's frame in and compares what comes out. Returns '' or what is wrong.

    lab_way: (sender, capture, MAC of the sender, ingress MAC, egress MAC, MAC of the receiver).
    """
    sender, capture, from_mac, in_mac, out_mac, to_mac = lab_way
    kind, packet = case.packet
    frame = f.ethernet(in_mac, from_mac, kind, packet) + case.padding
    expected = f.forwarded(frame, to_mac, out_mac)
    body = slice(26, 34) if kind == f.ETH_IP else slice(22, 54)
    sender.send(frame)
    seen = capture.first(lambda got: got[12:14] == expected[12:14] and got[body] == expected[body]
                         and got[-8:] == expected[-8:] or _same_packet(got, expected))
    if seen is None:
        return "it did not come out"
    if case.padding and seen == expected[:f.ip_length(expected)]:
        return ""  # a router need not carry padding on (Linux trims it)
    return f.difference(expected, seen)


def _same_packet(got, expected):
    """The same addresses and, for IPv4, the same identification."""
    if got[12:14] != expected[12:14]:
        return False
    if got[12:14] == b"\x08\x00":
        return got[18:20] == expected[18:20] and got[26:34] == expected[26:34]
    return got[22:54] == expected[22:54]
