# SPDX-License-Identifier: BSD-3-Clause
"""Where two right routers may differ, each by name; in all else what leaves them is compared to the byte.

    IP ID           of the packets that a router makes itself (ICMP, TCP RST): the kernel draws it at random. The IPv4
                    header checksum follows from it; it is checked, then both are taken out of the comparison. In IPv6
                    it is in the fragment header.
    Time of day     in an ICMP timestamp reply and in the IPv4 timestamp option, also a quoted one, with the checksums
                    over it.
    ICMP timing     errors and answers are no flow: their order among each other is not compared.
    ECMP choice     which member of a multipath route a flow takes: member_of() puts the members' frames under one key.
    IPv6 redirects  the kernel limits them to one a second for each host, and has no switch for them: left out in the
                    random run; row 21 compares them.
    Failed hosts    the kernel loses the errors about a host that it gives up (neigh_invalidate purges its queue) when
                    another packet comes in between: the random run counts these, and wants them to be few.
    Background      what the kernel sends by itself, at times of its own: ARP requests, neighbour solicitations, MLD
                    reports, router solicitations. Left out, exactly these; what a row's frames trigger of them is in
                    Outcome.asked, to be compared as a set.
"""

from .. import frames as f

_ICMP_ERRORS = (3, 4, 5, 11, 12)
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


def about_failed_host(frame):
    """An ICMP error that says: no answer to ARP or ND (RFC 792 code 1, RFC 4443 3.1 code 3)."""
    if frame[12:14] == b"\x08\x00":
        return frame[23:24] == b"\1" and frame[34:36] == b"\3\1"
    return frame[12:14] == b"\x86\xdd" and frame[20:21] == b"\x3a" and frame[54:56] == b"\1\3"


def own_redirect6(frame):
    """A redirect (RFC 4861 4.5) that the router itself sends."""
    return frame[12:14] == b"\x86\xdd" and frame[20:22] == b"\x3a\xff" and frame[22:24] == b"\xfe\x80" and \
        frame[54:55] == b"\x89"


def comparable(frame, own_addresses):
    """The frame without what may differ. own_addresses: the router's, packed."""
    if frame[12:14] == b"\x86\xdd" and frame[20:21] == b"\x2c" and frame[22:38] in own_addresses:
        return frame[:58] + bytes(4) + frame[62:]
    if frame[12:14] != b"\x08\x00" or len(frame) < 34 or frame[14] >> 4 != 4:
        return frame
    size = 4 * (frame[14] & 15)
    own = frame[26:30] in own_addresses
    icmp = 14 + size
    out = bytearray(frame)
    if own and frame[23] == f.ICMP and len(frame) >= icmp + 8:
        timed = _forget_option_time(out, icmp + 8) if frame[icmp] in _ICMP_ERRORS else False
        if frame[icmp] == _ICMP_TIMESTAMP_REPLY:
            out[icmp + 12:icmp + 20] = bytes(8)  # RFC 792: receive and transmit timestamp
            timed = True
        if timed and f.checksum(frame[icmp:f.ip_length(frame)]) == 0:
            out[icmp + 2:icmp + 4] = b"ok"
    if (_forget_option_time(out, 14) or own) and f.checksum(frame[14:icmp]) == 0:
        out[24:26] = b"ok"
    if own:
        out[18:20] = b"\0\0"
    return bytes(out)


def _forget_option_time(out, head):
    """Takes what a router may have written out of a timestamp option (RFC 781) of the IPv4 header at head, and the
    checksum. False: there is none."""
    if len(out) < head + 20:
        return False
    at, end = head + 20, min(len(out), head + 4 * (out[head] & 15))
    while at + 4 <= end and out[at] != 0:
        length = 1 if out[at] == 1 else max(2, out[at + 1])
        if out[at] == 68:
            stop = min(at + length, end)
            out[at + 4:stop] = bytes(max(0, stop - at - 4))
            if head != 14:
                out[head + 10:head + 12] = b"\0\0"
            return True
        at += length
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
