# SPDX-License-Identifier: BSD-3-Clause
"""Frames as text, field by field: Ethernet, VLAN, ARP, IPv4, IPv6 with its extension headers, ICMP with what it quotes."""

import difflib
import ipaddress
import struct

from .. import frames as f

_EXTENSIONS = {0: "hop-by-hop", 43: "routing", 44: "fragment", 51: "AH", 60: "destination options", 135: "mobility",
               139: "HIP", 140: "shim6"}
_PROTOCOLS = {1: "ICMP", 6: "TCP", 17: "UDP", 47: "GRE", 50: "ESP", 58: "ICMPv6", 59: "no next header", 89: "OSPF"}


def _mac(raw):
    return ":".join(f"{b:02x}" for b in raw)


def _rest(data):
    shown = data[:32].hex()
    return f"{len(data)} bytes {shown}{'...' if len(data) > 32 else ''}" if data else "no more bytes"


def fields(frame):
    """[(name, value)] of all layers; what is truncated or unknown is given as bytes."""
    out = []
    if len(frame) < 14:
        return [("runt", frame.hex())]
    out += [("Ethernet to", _mac(frame[:6])), ("Ethernet from", _mac(frame[6:12]))]
    kind, at = int.from_bytes(frame[12:14], "big"), 14
    while kind in (0x8100, 0x88A8) and len(frame) >= at + 4:
        out.append(("VLAN", frame[at:at + 2].hex()))
        kind, at = int.from_bytes(frame[at + 2:at + 4], "big"), at + 4
    out.append(("ethertype", f"{kind:04x}"))
    body = frame[at:]
    if kind == f.ETH_IP:
        out += _ipv4(body)
    elif kind == f.ETH_IP6:
        out += _ipv6(body)
    elif kind == 0x0806 and len(body) >= 28:
        out += [("ARP op", body[7]), ("ARP from", f"{_mac(body[8:14])} {ipaddress.ip_address(body[14:18])}"),
                ("ARP to", f"{_mac(body[18:24])} {ipaddress.ip_address(body[24:28])}")]
    else:
        out.append(("payload", _rest(body)))
    return out


def _ipv4(p, quoted=""):
    if len(p) < 20:
        return [(f"{quoted}IPv4, truncated", p.hex())]
    total, ident, offset = struct.unpack("!HHH", p[2:8])
    size = max(20, 4 * (p[0] & 15))
    right = "right" if f.checksum(p[:size]) == 0 else "WRONG"
    flags = "".join(name for bit, name in ((0x8000, " evil"), (0x4000, " DF"), (0x2000, " MF")) if offset & bit)
    out = [("version, IHL", f"{p[0] >> 4}, {p[0] & 15}"), ("DSCP/ECN", f"{p[1]:02x}"), ("total length", total),
           ("identification", f"{ident:04x}"), ("flags, offset", f"{flags.strip() or '-'}, {(offset & 0x1FFF) * 8}"),
           ("TTL", p[8]), ("protocol", _PROTOCOLS.get(p[9], p[9])),
           ("header checksum", f"{p[10]:02x}{p[11]:02x} {right}"),
           ("source", ipaddress.ip_address(p[12:16])), ("destination", ipaddress.ip_address(p[16:20]))]
    if size > 20:
        out.append(("options", p[20:size].hex()))
    out = [(f"{quoted}IPv4 {name}", value) for name, value in out]
    if offset & 0x1FFF:
        return out + [(f"{quoted}fragment", _rest(p[size:]))]
    return out + _payload(p[9], p[size:], quoted)


def _ipv6(p, quoted=""):
    if len(p) < 40:
        return [(f"{quoted}IPv6, truncated", p.hex())]
    first, length, following, hops = struct.unpack("!IHBB", p[:8])
    out = [("version", first >> 28), ("traffic class", f"{first >> 20 & 255:02x}"), ("flow", f"{first & 0xFFFFF:05x}"),
           ("payload length", length), ("next header", _name6(following)), ("hop limit", hops),
           ("source", ipaddress.ip_address(p[8:24])), ("destination", ipaddress.ip_address(p[24:40]))]
    out = [(f"{quoted}IPv6 {name}", value) for name, value in out]
    at = 40
    while following in _EXTENSIONS and len(p) >= at + 8:
        size = 8 if following == 44 else 4 * (p[at + 1] + 2) if following == 51 else 8 * (p[at + 1] + 1)
        name = f"{quoted}{_EXTENSIONS[following]} header"
        out.append((name, f"{p[at:at + size].hex()} then {_name6(p[at])}"))
        if following == 44 and int.from_bytes(p[at + 2:at + 4], "big") & 0xFFF8:
            return out + [(f"{quoted}fragment", _rest(p[at + size:]))]
        following, at = p[at], at + size
    return out + _payload(following, p[at:], quoted)


def _name6(number):
    return _EXTENSIONS.get(number) or _PROTOCOLS.get(number, number)


def _payload(protocol, data, quoted):
    if protocol in (f.UDP, f.TCP) and len(data) >= 8:
        sport, dport = struct.unpack("!HH", data[:4])
        name = _PROTOCOLS[protocol]
        return [(f"{quoted}{name} ports", f"{sport} > {dport}"), (f"{quoted}{name} rest", _rest(data[4:]))]
    if protocol not in (f.ICMP, f.ICMP6) or len(data) < 8:
        return [(f"{quoted}payload", _rest(data))]
    name = _PROTOCOLS[protocol]
    out = [(f"{quoted}{name} type/code", f"{data[0]}/{data[1]}"), (f"{quoted}{name} checksum", data[2:4].hex()),
           (f"{quoted}{name} word 2", data[4:8].hex())]
    error = data[0] in (3, 4, 5, 11, 12) if protocol == f.ICMP else data[0] < 128
    if error and not quoted:
        inner = _ipv4 if protocol == f.ICMP else _ipv6
        return out + inner(data[8:], "quoted ")
    return out + [(f"{quoted}{name} rest", _rest(data[8:]))]


def text(link, frame):
    lines = [f"  on {link}, {len(frame)} bytes: {frame.hex()[:400]}"]
    return "\n".join(lines + [f"    {name:<26} {value}" for name, value in fields(frame)])


def some(frames, limit=3):
    """The first of [(link, frame)]."""
    more = [f"  and {len(frames) - limit} more"] if len(frames) > limit else []
    return "\n".join([text(link, frame) for link, frame in frames[:limit]] + more) or "  nothing"


def difference(frames, limit=4):
    """frames: [(link, frame, which router sent it)] that the other router did not send. The likest are put side by side."""
    rest = {name: [(link, frame) for link, frame, by in frames if by == name] for name in ("kernel", "millrace")}
    out = []
    for link, frame in rest["kernel"]:
        best = max(rest["millrace"], key=lambda other, me=(link, frame): _likeness(me, other), default=None)
        if best is None or _likeness((link, frame), best) < 0.5:
            out.append("only the kernel's router sent:\n" + text(link, frame))
            continue
        rest["millrace"].remove(best)
        out.append(f"the kernel's router sent on {link}, millrace on {best[0]}:\n" + side_by_side(frame, best[1]))
    out += ["only millrace sent:\n" + text(link, frame) for link, frame in rest["millrace"]]
    more = f"\n(and {len(out) - limit} more)" if len(out) > limit else ""
    return "\n".join(out[:limit]) + more


def _likeness(one, other):
    a, b = fields(one[1]), fields(other[1])
    return difflib.SequenceMatcher(None, a, b, autojunk=False).ratio() + (0.01 if one[0] == other[0] else 0)


def side_by_side(kernel, millrace):
    """Both frames, field by field; a '!' where they differ."""
    a, b = fields(kernel), fields(millrace)
    names = list(dict.fromkeys([n for n, _ in a] + [n for n, _ in b]))
    a, b = dict(a), dict(b)
    lines = [f"    {'':<26} kernel ({len(kernel)} bytes) | millrace ({len(millrace)} bytes)"]
    for name in names:
        left, right = a.get(name, "-"), b.get(name, "-")
        lines.append(f"  ! {name:<26} {left} | {right}" if left != right else f"    {name:<26} {left}")
    lines += [f"    kernel:   {kernel.hex()[:400]}", f"    millrace: {millrace.hex()[:400]}"]
    return "\n".join(lines)
