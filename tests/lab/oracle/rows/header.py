# SPDX-License-Identifier: BSD-3-Clause
"""Rows 1 to 5, 19, 25 to 27 and 35: what the IP header alone decides."""

import struct

from ... import frames as f
from ..exchange import ether, forwarded, icmp_error, own_answer, transit
from ..table import row
from ..twins import DEVICES, address, behind


def patched(frame, at, value, right_checksum=True):
    """The frame with bytes of its IPv4 header replaced; the header checksum is made right again, or left."""
    out = bytearray(frame)
    out[at:at + len(value)] = value
    if right_checksum:
        out[24:26] = b"\0\0"
        out[24:26] = struct.pack("!H", f.checksum(bytes(out[14:14 + max(20, 4 * (out[14] & 15))])))
    return bytes(out)


@row(1, "header sanity: length, version, IHL, total length; what fails is dropped in silence", versions=(4,))
def sanity4(lab, _):
    good = transit(4, size=64)
    total = len(good) - 14
    bad_version = [patched(good, 14, bytes([version << 4 | 5])) for version in (0, 3, 5, 6, 15)]
    bad_ihl = [patched(good, 14, bytes([0x40 | ihl])) for ihl in range(5)]
    bad_total = [patched(good, 16, struct.pack("!H", n)) for n in (0, 1, 19, total + 1, total + 100, 65535)]
    # Shorter than an IP header; no wire carries these, but a driver may hand them up.
    runts = [good[:n] for n in (14, 15, 20, 33)]
    # Cut behind the header: the total length says more than came. 34 bytes: the header alone.
    cut = [good[:n] for n in (34, 35, len(good) - 1)]
    shorter = [patched(good, 16, struct.pack("!H", n)) for n in (20, 21, 27, total - 1)]
    # IHL says that options follow which the frame doesn't have, or which reach into the payload and past it.
    long_ihl = [patched(transit(4, payload=b"", ttl=9)[:34], 14, b"\x4f", right_checksum=False),
                patched(transit(4, payload=bytes(20)), 14, b"\x4f")]
    frames = [good, *bad_version, *bad_ihl, *bad_total, *runts, *cut, *shorter, *long_ihl]
    out = lab.exchange([("p0", frame) for frame in frames])
    out.is_exactly(forwarded(good, "p1"), *(forwarded(frame, "p1") for frame in shorter))
    out.by(forwarded=1 + len(shorter), drop_ip_length=len(bad_total) + len(cut), ip_header=10, truncated=len(runts),
           ip_options=len(long_ihl))


@row(2, "bad IPv4 header checksum: dropped in silence", versions=(4,))
def bad_checksum(lab, _):
    good = transit(4, ttl=7)
    right = int.from_bytes(good[24:26], "big")
    wrong = [patched(good, 24, struct.pack("!H", value), False)
             for value in (*(right ^ 1 << bit for bit in range(16)), right + 1 & 0xFFFF, right - 1 & 0xFFFF,
                           right ^ 0xFFFF, 0, 0xFFFF, int.from_bytes(good[25:23:-1], "big")) if value != right]
    # One bit of each header byte flipped, the checksum as it was.
    flipped = [patched(good, at, bytes([good[at] ^ 0x10]), False) for at in (15, 18, 19, 20, 21, 22, 23, *range(26, 34))]
    out = lab.exchange([("p0", frame) for frame in (*wrong, *flipped, good)])
    out.is_exactly(forwarded(good, "p1"))
    out.by(forwarded=1, drop_ip_checksum=len(wrong) + len(flipped))


@row(3, "the checksum is updated incrementally, right in the 0x0000 and 0xFFFF corners", versions=(4,))
def checksum_corners(lab, _):
    corners = [0x0000, 0x0001, 0x00FE, 0x00FF, 0x0100, 0x0101, 0xFDFF, 0xFEFE, 0xFEFF, 0xFF00, 0xFF01, 0xFFFE]
    frames = []
    for ttl in (2, 3, 128, 255):
        zero = patched(transit(4, ttl=ttl, ident=0), 18, b"\0\0")
        base = int.from_bytes(zero[24:26], "big")
        for wanted in corners:
            ident = base + (wanted ^ 0xFFFF)  # one's complement: base - wanted
            ident = (ident & 0xFFFF) + (ident >> 16)
            frame = patched(zero, 18, struct.pack("!H", ident))
            got = int.from_bytes(frame[24:26], "big")
            assert got == wanted, f"the frame has the checksum {got:04x}, not {wanted:04x}"
            frames.append(frame)
            if wanted == 0:  # the other zero of one's complement is as right (RFC 1624 3)
                frames.append(patched(frame, 24, b"\xff\xff", False))
    out = lab.exchange([("p0", frame) for frame in frames])
    out.is_exactly(*(forwarded(frame, "p1") for frame in frames))
    out.by(forwarded=len(frames))


@row(4, "TTL decremented; TTL of 0 or 1 in transit: Time Exceeded, code 0", versions=(4,))
def ttl(lab, v):
    expires(lab, v, "ttl", (11, 0))


@row(27, "hop limit of 0 or 1 in transit: Time Exceeded, code 0", versions=(6,))
def hop_limit(lab, v):
    expires(lab, v, "hops", (3, 0))


def expires(lab, v, field, error):
    going_on = [transit(v, **{field: n}) for n in (2, 3, 64, 128, 255)]
    ending = [transit(v, **{field: n}) for n in (0, 1)]
    # Over a device that is no port the kernel forwards, and it too must see the TTL as it came.
    unmanaged = transit(v, "p0", "u0", **{field: 2})
    out = lab.exchange([("p0", frame) for frame in (*going_on, *ending, unmanaged)])
    out.is_exactly(*(forwarded(frame, "p1") for frame in going_on), forwarded(unmanaged, "u0"),
                   *(icmp_error(frame, "p0", *error) for frame in ending))
    out.by(forwarded=5, punt_unmanaged=1, ttl=2)


@row(5, "to the router itself with a TTL of 0 or 1: delivered")
def local_ttl(lab, v):
    field = "ttl" if v == 4 else "hops"
    source = behind("p0", v)
    frames, answers = [], []
    for ttl_in in (0, 1, 255):
        for device in DEVICES:  # the address of another link is an own address just as well
            own = address(device, v)
            kind, packet = f.packet(source, own, f.ICMP if v == 4 else f.ICMP6,
                                    f.echo(source, own, 7, ttl_in), **{field: ttl_in})
            frames.append(ether("p0", kind, packet))
            answers.append(own_answer(frames[-1], "p0", 0 if v == 4 else 129))
    closed = transit(v, destination=address("p0", v), **{field: 1})
    out = lab.exchange([("p0", frame) for frame in (*frames, closed)])
    out.is_exactly(*answers, icmp_error(closed, "p0", *((3, 3) if v == 4 else (1, 4))))
    out.by(local=len(frames) + 1)


@row(19, "DSCP and ECN unchanged, in all 256 values")
def dscp(lab, v):
    field = "tos" if v == 4 else "traffic_class"
    frames = [transit(v, **{field: value}) for value in range(256)]
    out = lab.exchange([("p0", frame) for frame in frames])
    out.is_exactly(*(forwarded(frame, "p1") for frame in frames))
    out.by(forwarded=256)


@row(25, "padding beyond the packet's end does no harm")
def padding(lab, v):
    plain = transit(v, size=2)
    noise = bytes(range(256)) * 6
    frames = [transit(v, size=2, padding=noise[:n]) for n in (1, 2, 3, 16, 17, 18, 255, 1400)]
    frames += [transit(v, size=2, padding=bytes(16)), transit(v, size=2, padding=b"\xff" * 16)]
    # What looks like a second packet must not be taken for one, nor be quoted.
    frames.append(plain + plain[14:])
    ends = transit(v, size=2, padding=noise[:20], **{"ttl" if v == 4 else "hops": 1})
    out = lab.exchange([("p0", frame) for frame in (*frames, ends)])
    out.is_exactly(*(forwarded(frame, "p1") for frame in frames),
                   icmp_error(ends, "p0", *((11, 0) if v == 4 else (3, 0))))
    out.by(forwarded=len(frames), ttl=1)


@row(26, "IPv6: version and payload length checked", versions=(6,))
def sanity6(lab, _):
    good = transit(6, size=64)
    payload = len(good) - 54

    def with_length(n, frame=good):
        return frame[:18] + struct.pack("!H", n) + frame[20:]
    bad_version = [good[:14] + bytes([version << 4]) + good[15:] for version in (0, 4, 5, 7, 15)]
    too_long = [with_length(n) for n in (payload + 1, payload + 200, 65535)]
    shorter = [with_length(n) for n in (0, 1, 7, payload - 1)]
    nothing = transit(6, protocol=59, payload=b"")
    runts = [good[:n] for n in (14, 15, 40, 53)]
    cut = [good[:n] for n in (54, 55, len(good) - 1)]
    frames = [good, *bad_version, *too_long, *shorter, nothing, *runts, *cut]
    out = lab.exchange([("p0", frame) for frame in frames])
    out.is_exactly(*(forwarded(frame, "p1") for frame in (good, *shorter, nothing)))
    out.by(forwarded=2 + len(shorter), drop_ip_length=len(too_long) + len(cut), ip_header=5, truncated=4)


@row(35, "flow label and traffic class unchanged", versions=(6,))
def flow_label(lab, _):
    flows = (0, 1, 0xF, 0x10, 0xFFFF, 0x10000, 0x80000, 0xABCDE, 0xFFFFF)
    frames = [transit(6, flow=flow, traffic_class=tc) for flow in flows for tc in (0, 0x03, 0x0F, 0xF0, 0xFF)]
    out = lab.exchange([("p0", frame) for frame in frames])
    out.is_exactly(*(forwarded(frame, "p1") for frame in frames))
    out.by(forwarded=len(frames))
