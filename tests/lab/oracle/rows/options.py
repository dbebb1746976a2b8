# SPDX-License-Identifier: BSD-3-Clause
"""Rows 18 and 31: IPv4 options and IPv6 hop-by-hop options are the kernel's."""

import ipaddress

from ... import frames as f
from ...cases import expect
from ..exchange import forwarded, icmp_error, transit
from ..table import row
from ..twins import address, behind
from ..wire import LINKS


def packed(text):
    return ipaddress.ip_address(text).packed


@row(18, "IPv4 options: to the kernel", versions=(4,))
def options4(lab, _):
    untouched = [b"\1\1\1\0", b"\0\0\0\0", b"\1" * 40, b"\x94\4\0\0",  # NOP, end, 40 of them, router alert
                 b"\x82\x0b" + bytes(9) + b"\0", b"\x88\4\0\1",  # security (RFC 1108), stream identifier
                 b"\x9e\4\0\0", b"\x1e\4\1\2", b"\xcd\x04\0\0",  # experimental and unknown
                 b"\7\7\x08" + packed("192.0.2.1") + b"\0"]  # record route, full
    recording = b"\7\x0b\4" + bytes(8) + b"\0"
    stamping = [b"\x44\x0c\5\0" + bytes(8), b"\x44\x0c\5\1" + bytes(8), b"\x44\x0c\x0d\0" + bytes(8)]
    sourced = [bytes([kind, 7, 4]) + packed(to) + b"\0" for kind in (131, 137)
               for to in (address("p1", 4, 3), behind("p2", 4))]
    malformed = [b"\7\0\0\0", b"\7\1\0\0", b"\7\2\0\0", b"\7\x28\4\0", b"\x94\2\0\0", b"\7\7\3" + bytes(5),
                 b"\x44\4\5\0", b"\1\1\1\7", b"\x83\3\4\0"]
    frames = [transit(4, options=o) for o in untouched]
    recorded = transit(4, options=recording)
    rest = [transit(4, options=o) for o in (*stamping, *sourced, *malformed)]
    # To the router itself a source route says where to go on; that is off by default.
    rest += [transit(4, destination=address("p0", 4), options=o) for o in sourced]
    ends = transit(4, options=untouched[0], ttl=1)
    out = lab.exchange([("p0", frame) for frame in (*frames, recorded, *rest, ends)])
    left = list(out.left)
    for frame in frames:
        wanted = forwarded(frame, "p1")
        expect(wanted in left, f"options {frame[34:14 + 4 * (frame[14] & 15)].hex()} were not forwarded as they came")
        left.remove(wanted)
    filled = [frame for link, frame in left if link == LINKS[1] and frame[34:36] == b"\7\x0b"]
    expect(len(filled) == 1 and filled[0][36:41] == b"\x08" + packed(address("p1", 4)),
           f"the route was not recorded: {[frame[34:46].hex() for frame in filled]}")
    pointers = [frame for link, frame in left if link == LINKS[0] and frame[23] == f.ICMP and frame[34] == 12]
    expect(len(pointers) >= 5, f"{len(pointers)} Parameter Problems for {len(malformed)} malformed options")
    expect(sum(f.ICMP == frame[23] and frame[34] == 11 for _, frame in left) == 1, "no Time Exceeded")
    out.by(ip_options=len(out.sends))


def hop_by_hop(options, following=f.UDP, payload=None):
    """A hop-by-hop header with these options, padded by PadN to 8 bytes, before a UDP packet."""
    if payload is None:
        payload = f.udp(behind("p0", 6), behind("p1", 6), 40000, 9, bytes(8))
    short = -(2 + len(options)) % 8
    options += b"\0" if short == 1 else b"\1" + bytes([short - 2]) + bytes(short - 2) if short else b""
    return bytes([following, (len(options) - 6) // 8]) + options + payload


@row(31, "hop-by-hop options: to the kernel", versions=(6,))
def options6(lab, _):
    def frame(options, **fields):
        return transit(6, protocol=0, payload=hop_by_hop(options), **fields)
    fine = [frame(b""), frame(b"\0" * 6), frame(b"\1\4\0\0\0\0"), frame(b"\5\2\0\0"), frame(b"\x1e\2\0\0"),
            frame(b"\x1e\2\0\0" * 8), transit(6, out_of="u0", protocol=0, payload=hop_by_hop(b""))]
    alert = frame(b"\5\2\0\0")
    discard = frame(b"\x7e\2\0\0")  # RFC 8200 4.2: the two highest bits say what to do with the unknown
    tell = [frame(b"\xbe\2\0\0"), frame(b"\xfe\2\0\0")]
    malformed = [transit(6, protocol=0, payload=b"\x11\x20" + bytes(14)), transit(6, protocol=0, payload=b"\x11"),
                 transit(6, protocol=0, payload=b""), frame(b"\xc2\4\0\0\0\1"), frame(b"\5\1\0"),
                 transit(6, protocol=0, payload=b"\x11\0\1\x20" + bytes(4) + bytes(16)),
                 transit(6, protocol=0, payload=hop_by_hop(b"", following=0, payload=hop_by_hop(b"")))]
    # Behind another header it is no longer for the routers on the way: the fast path's.
    later = transit(6, protocol=60, payload=bytes([0, 0]) + b"\1\4\0\0\0\0" + hop_by_hop(b""))
    ends = frame(b"", hops=1)
    out = lab.exchange([("p0", x) for x in (*fine, alert, discard, *tell, *malformed, later, ends)])
    wanted = [forwarded(x, "p1") for x in (*fine[:-1], alert, later)] + [forwarded(fine[-1], "u0")]
    left = list(out.left)
    for want in wanted:
        expect(want in left, f"not forwarded as it came: {want[1][54:].hex()}")
        left.remove(want)
    for x in tell:
        test = icmp_error(x, "p0", 4, 2, pointer=42)
        expect(any(test(*seen) for seen in left), f"no Parameter Problem about {x[54:62].hex()}")
    expect(any(icmp_error(ends, "p0", 3, 0)(*seen) for seen in left), "no Time Exceeded")
    expect(discard[54:] not in {seen[54:] for _, seen in left}, "an option that says discard was forwarded")
    out.by(forwarded=1, ip_options=len(out.sends) - 1)


