# SPDX-License-Identifier: BSD-3-Clause
"""Rows 15, 16, 17, 28 and 33: packets longer than the egress MTU, and fragments in transit."""

import struct

from ... import frames as f
from ...netns import wait_until
from ..exchange import Difference, forwarded, icmp_error, transit
from ..table import row
from ..twins import MTU, behind

OVER = {4: 28, 6: 48}  # IP and UDP headers
MF = 0x2000


@row(15, "DF and longer than the egress MTU: Fragmentation Needed with the MTU", versions=(4,))
def fragmentation_needed(lab, v):
    refused(lab, v, (3, 4))


@row(28, "never fragments; longer than the egress MTU: Packet Too Big with the MTU", versions=(6,))
def packet_too_big(lab, v):
    refused(lab, v, (2, 0))


@row(28, "Packet Too Big with the device's IPv6 MTU where that is less than the link's", versions=(6,))
def packet_too_big_ipv6_mtu(lab, _):
    limit = 1300
    fits, over = (transit(6, "p0", "p1", size=limit - OVER[6] + more) for more in (0, 1))
    other_family = transit(4, "p0", "p1", size=limit - OVER[4] + 1)
    with lab.twins.sysctls(net__ipv6__conf__p1__mtu=limit):
        wait_until(lambda: _sent_alike(lab, over), "both routers heed the IPv6 MTU", 5)
        out = lab.exchange([("p0", frame) for frame in (fits, over, other_family)])
        out.is_exactly(forwarded(fits, "p1"), forwarded(other_family, "p1"), icmp_error(over, "p0", 2, 0, mtu=limit))
        out.by(forwarded=2, punt_too_big=1)


def _sent_alike(lab, frame):
    try:
        return lab.exchange([("p0", frame)], seconds=0.2)
    except Difference:
        return None


def refused(lab, v, error):
    sends, fitting, over = [], [], []
    for device in ("p1", "p2", "u0"):
        mtu = MTU[device]
        for size in (mtu - 1, mtu, mtu + 1, mtu + 8, 3000, 3505):
            frame = transit(v, "p0", device, size=size - OVER[v])
            sends.append(("p0", frame))
            if size <= mtu:
                fitting.append(forwarded(frame, device))
            else:
                over.append(icmp_error(frame, "p0", *error, mtu=mtu))
    # What counts is the packet, not the frame: padding is no reason to refuse it.
    padded = transit(v, "p0", "p2", size=MTU["p2"] - OVER[v], padding=bytes(100))
    # A fragment that is itself too long is not fragmented again, if it may not be.
    fragment = too_long_fragment(v)
    out = lab.exchange([*sends, ("p0", padded), ("p0", fragment)])
    out.is_exactly(*fitting, *over, forwarded(padded, "p2"), icmp_error(fragment, "p0", *error, mtu=MTU["p2"]))
    out.by(forwarded=5, punt_too_big=9, punt_unmanaged=6)
    # Longer than an AF_XDP buffer: the classifier leaves it in the kernel.
    jumbo = [transit(v, "p0", "p1", size=n - OVER[v]) for n in (3507, 3600, 4000)]
    out = lab.exchange([("p0", frame) for frame in jumbo])
    out.is_exactly(*(icmp_error(frame, "p0", *error, mtu=MTU["p1"]) for frame in jumbo))
    out.by(too_long=3)


def too_long_fragment(v):
    data = bytes(1496)
    if v == 4:
        return transit(4, "p0", "p2", payload=data, flags_offset=0x4000 | MF)
    return transit(6, "p0", "p2", protocol=44, payload=struct.pack("!BBHI", f.UDP, 0, 1, 7) + data)


def fragments(frame, device):
    """What ip_do_fragment makes of the frame: each with as many whole 8 bytes as the MTU takes."""
    head, data = frame[14:34], frame[34:f.ip_length(frame)]
    first = int.from_bytes(head[6:8], "big")
    step = len(data) if len(frame) - 14 <= MTU[device] else (MTU[device] - 20) // 8 * 8
    for at in range(0, len(data), step):
        last = at + step >= len(data) and not first & MF
        out = bytearray(head + data[at:at + step])
        out[2:4] = struct.pack("!H", len(out))
        out[6:8] = struct.pack("!H", (first & 0x1FFF) + at // 8 | (0 if last else MF))
        out[10:12] = b"\0\0"
        out[10:12] = struct.pack("!H", f.checksum(bytes(out[:20])))
        yield forwarded(frame[:14] + bytes(out), device)


@row(16, "no DF and too long: correct fragments", versions=(4,))
def fragmented(lab, _):
    frames = [("p2", transit(4, "p0", "p2", size=n - 28, flags_offset=0, ident=n)) for n in
              (1400, 1401, 1402, 1407, 1408, 1409, 2768, 2769, 2780, 3000, 3500)]
    frames += [("p1", transit(4, "p0", "p1", size=n - 28, flags_offset=0, ident=n)) for n in (1500, 1501, 3000)]
    # Fragments that must be fragmented again: the offset goes on from their own, more fragments stays set.
    frames += [("p2", transit(4, "p0", "p2", payload=bytes(i & 255 for i in range(1480)), flags_offset=flags))
               for flags in (MF, MF | 100, 200)]
    out = lab.exchange([("p0", frame) for _, frame in frames])
    wanted = [piece for device, frame in frames for piece in fragments(frame, device)]
    out.is_exactly(*wanted)
    fit = sum(len(frame) - 14 <= MTU[device] for device, frame in frames)
    out.by(forwarded=fit, punt_too_big=len(frames) - fit)


@row(17, "transit fragments, first and later, are forwarded by layer 3 alone, without reassembly", versions=(4,))
def transit_fragments(lab, _):
    datagram = f.udp(behind("p0", 4), behind("p1", 4), 40000, 9, bytes(range(200)))

    def piece(flags, data):
        return transit(4, payload=data, flags_offset=flags)
    frames = [piece(MF, datagram[:104]), piece(13, datagram[104:]),
              piece(13, datagram[104:]), piece(MF, datagram[:104]),  # the same again, the last first
              piece(MF, datagram[:8]), piece(MF | 1, datagram[8:16]), piece(1, b"x"),  # RFC 1858: tiny
              piece(MF | 1, datagram[:64]), piece(MF | 4, datagram[:64]),  # overlapping
              piece(MF, b""), piece(5, b""), piece(MF | 3, datagram[:13]),  # empty; not whole 8 bytes
              piece(0x1FFF, datagram[:64]), piece(MF | 0x1FFF, datagram[:64]),  # ends past 65535
              piece(0x4000 | MF, datagram[:64]), piece(0x8000, datagram), piece(0xE000 | 9, datagram)]
    out = lab.exchange([("p0", frame) for frame in frames])
    out.is_exactly(*(forwarded(frame, "p1") for frame in frames))
    out.by(forwarded=len(frames))


@row(33, "fragment header in transit, atomic fragments: forwarded", versions=(6,))
def fragment_header(lab, _):
    datagram = f.udp(behind("p0", 6), behind("p1", 6), 40000, 9, bytes(range(200)))

    def piece(offset_flags, data, following=f.UDP, reserved=0):
        return transit(6, protocol=44, payload=struct.pack("!BBHI", following, reserved, offset_flags, 99) + data)
    frames = [piece(1, datagram[:104]), piece(104, datagram[104:]), piece(104, datagram[104:]), piece(1, datagram[:104]),
              piece(0, datagram), piece(6, datagram), piece(0, b"", 59), piece(1, b""), piece(0xFFF9, datagram[:64]),
              piece(1, datagram[:13]), piece(0, datagram, reserved=255),
              piece(0, bytes(8), f.ICMP6), piece(8, b"\x87" + bytes(31), f.ICMP6),
              # A second one behind the first, and one that is cut off.
              transit(6, protocol=44, payload=struct.pack("!BBHIBBHI", 44, 0, 0, 1, f.UDP, 0, 1, 2) + datagram),
              transit(6, protocol=44, payload=b"\x11\0\0"), transit(6, protocol=44, payload=b"")]
    out = lab.exchange([("p0", frame) for frame in frames])
    out.is_exactly(*(forwarded(frame, "p1") for frame in frames))
    out.by(forwarded=len(frames))


