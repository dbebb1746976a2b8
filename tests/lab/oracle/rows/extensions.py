# SPDX-License-Identifier: BSD-3-Clause
"""Rows 32, 34 and 37: extension headers and unknown protocols in transit, and neighbour discovery."""

import struct

from ... import frames as f
from ...cases import expect
from ..exchange import forwarded, kernel_sees, transit
from ..table import row
from ..twins import address, behind, link_local, router_mac

ND = (133, 134, 135, 136, 137)


@row(32, "other extension headers and unknown next headers: forwarded untouched")
def extension_headers(lab, v):
    data = bytes(range(64))
    # Every protocol number there is; the data means nothing in any of them. (0 is hop-by-hop: row 31.)
    frames = [transit(v, protocol=n, payload=data) for n in range(256) if not (v == 6 and n in (0, f.ICMP6))]
    if v == 6:
        udp = f.udp(behind("p0", 6), behind("p1", 6), 40000, 9, data)
        pad = b"\1\4\0\0\0\0"
        frames += [transit(6, protocol=n, payload=payload) for n, payload in (
            (60, bytes([17, 0]) + pad + udp), (60, bytes([17, 0]) + b"\xfe\4\0\0\0\0" + udp),
            (60, bytes([17, 255]) + bytes(14)), (60, b"\x11"), (60, b""),
            (60, (bytes([60, 0]) + pad) * 10 + bytes([17, 0]) + pad + udp),
            (60, (bytes([60, 0]) + pad) * 100 + bytes([59, 0]) + pad),
            (60, bytes([51, 0]) + pad + bytes([17, 4]) + bytes(22) + udp),
            (51, bytes([17, 4]) + bytes(22) + udp), (51, bytes([50, 4]) + bytes(22) + data),
            (135, bytes([59, 1]) + bytes(14)), (139, bytes([59, 4]) + bytes(38)), (140, bytes([59, 0]) + bytes(6)),
            (50, struct.pack("!II", 1, 1) + data),
            # ICMPv6 behind a header is for its receiver, whatever its type; so is one that is cut off.
            (60, bytes([58, 0]) + pad + b"\x87" + bytes(23)), (60, bytes([58, 0]) + pad), (59, b""), (59, data))]
        frames += [transit(6, protocol=f.ICMP6, payload=f.icmp6(behind("p0", 6), behind("p1", 6), bytes([t]) + bytes(31)))
                   for t in (1, 2, 3, 4, 100, 127, 128, 129, 138, 140, 154, 200, 255)]
    out = lab.exchange([("p0", frame) for frame in frames])
    out.is_exactly(*(forwarded(frame, "p1") for frame in frames))
    out.by(forwarded=len(frames))


@row(34, "routing header in transit: as the kernel does", versions=(6,))
def routing_header(lab, _):
    onward = b"".join(bytes.fromhex(f"20010db8001{n}00000000000000000001") for n in (2, 3))
    udp = f.udp(behind("p0", 6), behind("p1", 6), 40000, 9, bytes(16))

    def packet(kind, segments_left, **fields):
        return transit(6, protocol=43, payload=struct.pack("!BBBBI", f.UDP, 4, kind, segments_left, 0) + onward + udp,
                       **fields)
    passing = [packet(kind, left) for kind in (0, 1, 2, 3, 4, 253) for left in (0, 1, 2, 255)]
    # To the router itself: type 0 must not be followed (RFC 5095); the others are its kernel's to know.
    local = [packet(kind, left, destination=address("p0", 6)) for kind in (0, 1, 2, 3, 4, 253) for left in (0, 1, 2)]
    out = lab.exchange([("p0", frame) for frame in (*passing, *local)])
    left = list(out.left)
    for frame in passing:
        wanted = forwarded(frame, "p1")
        expect(wanted in left, f"routing header {frame[54:58].hex()} was not forwarded as it came")
        left.remove(wanted)
    expect(not any(frame[20] == 43 for _, frame in left), "the router followed a routing header")
    out.by(forwarded=len(passing), local=len(local))


def nd(kind, source, destination, **fields):
    """A neighbour or router discovery message of this type, well-formed but for what its fields say."""
    target = bytes.fromhex("20010db8000000000000000000000001")
    body = {133: struct.pack("!BBHI", 133, 0, 0, 0), 134: struct.pack("!BBHBBHII", 134, 0, 0, 64, 0, 0, 0, 0),
            135: struct.pack("!BBHI", 135, 0, 0, 0) + target, 136: struct.pack("!BBHI", 136, 0, 0, 0) + target,
            137: struct.pack("!BBHI", 137, 0, 0, 0) + target * 2}[kind]
    return transit(6, source=source, destination=destination, protocol=f.ICMP6,
                   payload=f.icmp6(source, destination, body), **fields)


@row(37, "neighbour and router discovery and MLD always reach the kernel, never the fast path", versions=(6,))
def discovery(lab, _):
    source, beyond = address("p0", 6, 2), behind("p1", 6)
    through = [nd(kind, source, beyond, hops=hops) for kind in ND for hops in (255, 254, 64, 2)]
    ending = [nd(kind, source, beyond, hops=1) for kind in ND]
    to_router = [nd(kind, source, own, hops=hops) for kind in ND for hops in (255, 64)
                 for own in (address("p0", 6), link_local("p0"))]
    groups = [nd(133, source, "ff02::2", hops=255, to="33:33:00:00:00:02"),
              nd(135, source, "ff02::1:ff00:1", hops=255, to="33:33:ff:00:00:01"),
              nd(135, source, "ff02::1:ff00:1", hops=64, to="33:33:ff:00:00:01"),
              nd(136, source, "ff02::1", hops=255, to="33:33:00:00:00:01")]
    mld = [transit(6, source="fe80::aa", destination="ff02::16", to="33:33:00:00:00:16", protocol=0, hops=1,
                   payload=b"\x3a\0\5\2\0\0\1\0" + f.icmp6("fe80::aa", "ff02::16", bytes([143]) + bytes(7)))]
    mld += [transit(6, source="fe80::aa", destination=beyond, protocol=f.ICMP6,
                    payload=f.icmp6("fe80::aa", beyond, bytes([kind]) + bytes(23))) for kind in (130, 131, 132, 143)]
    frames = [*through, *ending, *to_router, *groups, *mld]
    with kernel_sees(lab.twins, "p0") as taps:
        out = lab.exchange([("p0", frame) for frame in frames])
        for name, tap in taps.items():
            seen = list(iter(tap.read, None))
            lost = [frame for frame in frames if frame not in seen]
            expect(not lost, f"{len(lost)} of {len(frames)} did not reach the stack of the {name} router")
    # The kernel forwards ND in transit as any ICMPv6; its receivers tell by the hop limit (RFC 4861 6.1).
    left = list(out.left)
    for frame in through:
        expect(forwarded(frame, "p1") in left, f"ND type {frame[54]}, hop limit {frame[21]}, was not forwarded")
    answered = [frame for link, frame in left if link == "w0" and frame[20] == f.ICMP6 and frame[54] == 136]
    expect(answered, "no neighbour advertisement answers the solicitations for the router's address")
    expect(all(frame[6:12] == f.mac_bytes(router_mac("p0")) for frame in answered), "a foreign advertisement")
    expect(out.moved.get("nd") == len(through) + len(ending) + len(to_router) + len(mld) - 1 and
           not out.moved.get("forwarded"), f"by another hand: {out.moved}")
