# SPDX-License-Identifier: BSD-3-Clause
"""Where two right routers may differ, each by name; in all else what leaves them is compared to the byte.

    IP ID           of the packets that a router makes itself (ICMP, TCP RST): the kernel draws it at random. The header
                    checksum follows from it; it is checked, then both are taken out of the comparison.
    Time of day     in an ICMP timestamp reply and in the IPv4 timestamp option, with the checksums over it.
    ICMP timing     errors and answers are no flow: their order among each other is not compared.
    ECMP choice     which member of a multipath route a flow takes: member_of() puts the members' frames under one key.
    Background      what the kernel sends by itself, at times of its own: ARP requests, neighbour solicitations, MLD
                    reports, router solicitations. Left out, exactly these; what a row's frames trigger of them is in
                    Outcome.asked, to be compared as a set.
"""

from .. import frames as f

_ICMP_TIMESTAMP_REPLY = 14
_MLD = (131, 132, 143)


def background(frame):
    """ARP requests, neighbour solicitations, MLD reports and router solicitations of the router's own making.

    One that a router has forwarded is not among them: its hop limit can't be 255, nor its source link-local.
    """
    kind = frame[12:14]
    if kind == b"\x08\x06":
        return frame[20:22] == b"\0\1" and frame[22:28] == frame[6:12]
    if kind != b"\x86\xdd" or len(frame) < 58:
        return False
    if frame[20] == f.ICMP6:
        return frame[54] in (133, 135) and frame[21] == 255
    # MLD goes behind a hop-by-hop header with the router alert (RFC 3810 5).
    own = frame[22:24] == b"\xfe\x80" or not any(frame[22:38])
    return own and frame[20] == 0 and len(frame) >= 66 and frame[54] == f.ICMP6 and frame[62] in _MLD


def comparable(frame, own4):
    """The frame without what may differ. own4: the router's packed IPv4 addresses."""
    if frame[12:14] != b"\x08\x00" or len(frame) < 34 or frame[14] >> 4 != 4:
        return frame
    size = 4 * (frame[14] & 15)
    out = bytearray(frame)
    timed = size > 20 and _forget_option_time(out, size)
    own = frame[26:30] in own4
    if own and frame[23] == f.ICMP and frame[14 + size] == _ICMP_TIMESTAMP_REPLY:
        if f.checksum(frame[14 + size:f.ip_length(frame)]) == 0:
            out[16 + size:18 + size] = b"ok"
        out[26 + size:34 + size] = bytes(8)  # RFC 792: receive and transmit timestamp
    if own or timed:
        if f.checksum(frame[14:14 + size]) == 0:
            out[24:26] = b"ok"
        if own:
            out[18:20] = b"\0\0"
    return bytes(out)


def _forget_option_time(out, size):
    """Takes the last timestamp out of a timestamp option (RFC 781) that a router has filled in."""
    at = 34
    while at + 4 < 14 + size and out[at] != 0:
        if out[at] == 1:
            at += 1
            continue
        if out[at] == 68 and 9 <= out[at + 2] <= out[at + 1] + 1:
            end = at + out[at + 2] - 1
            out[end - 4:end] = bytes(4)
            return True
        at += max(2, out[at + 1])
    return False


def flow_of(frame):
    """Frames of one flow leave in their order of arrival, or None: for ICMP of a router's own, and what is no IP.

    A flow is what the same part of a router handles in the same way: addresses, protocol, ports, TTL, class, options and
    fragmentation. (Between the fast path and the kernel there is no order to keep.)
    """
    kind = frame[12:14]
    if kind == b"\x08\x00" and len(frame) >= 38:
        if frame[23] == f.ICMP:
            return None
        return frame[:16] + frame[20:24] + frame[26:38]
    if kind == b"\x86\xdd" and len(frame) >= 58:
        if frame[20] == f.ICMP6:
            return None
        return frame[:18] + frame[20:58]
    return None
