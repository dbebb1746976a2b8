# SPDX-License-Identifier: BSD-3-Clause
"""Rows 15, 21 and 28: what the kernel has learned by ICMP about a host holds for its transit too."""

import contextlib

from ... import frames as f
from ...netns import wait_until
from ..exchange import forwarded, icmp_error, transit
from ..table import row
from ..twins import address, behind

HOST = 0x77  # behind p1, of no other row


def about(v, kind, code, rest):
    """An ICMP error to the router itself, from host 2 on p1, about an echo reply to the host."""
    own, host, sender = address("p1", v), behind("p1", v, HOST), address("p1", v, 2)
    if v == 4:
        quoted = f.ipv4(own, host, f.ICMP, f.icmp4(bytes(12)))
        message, protocol = f.icmp4(bytes((kind, code, 0, 0)) + rest + quoted), f.ICMP
    else:
        quoted = f.ipv6(own, host, f.ICMP6, f.icmp6(own, host, bytes((129, 0)) + bytes(10)))
        message, protocol = f.icmp6(sender, own, bytes((kind, code, 0, 0)) + rest + quoted), f.ICMP6
    return "p1", transit(v, "p1", source=sender, destination=own, protocol=protocol, payload=message)


@contextlib.contextmanager
def learned(lab, v, *message):
    prefix = f"{behind('p1', v, HOST)}/{32 if v == 4 else 128}"
    try:
        lab.exchange([about(v, *message)]).is_exactly()
        wait_until(lambda: any(r["cause"] == "learned" and r["prefix"] == prefix for r in lab.twins.router.kept()),
                   f"millrace leaves {prefix} to the kernel", 2)
        yield
    finally:
        lab.twins.both("ip", f"-{v}", "route", "flush", "cache")


@row(15, "a path MTU that the kernel has learned holds for transit to that host", versions=(4,))
def path_mtu(lab, v):
    """Below min_pmtu (552) the MTU is locked, and then heeded when forwarding (ip_dst_mtu_maybe_forward)."""
    refused(lab, v, (3, 4, b"\0\0" + (500).to_bytes(2, "big")), (3, 4), 552)


@row(28, "a path MTU that the kernel has learned holds for transit to that host", versions=(6,))
def path_mtu6(lab, v):
    refused(lab, v, (2, 0, (1300).to_bytes(4, "big")), (2, 0), 1300)


def refused(lab, v, message, error, mtu):
    header = 28 if v == 4 else 48
    to_host, other = ({"destination": behind("p1", v, n)} for n in (HOST, HOST + 1))
    fits, over, elsewhere = (transit(v, size=mtu - header + more, **to)
                             for more, to in ((0, to_host), (1, to_host), (1, other)))
    # The kernel's IPv6 notices it late, when it has forwarded the packet already (ip6_finish_output).
    quoted = over if v == 4 else transit(v, size=mtu - header + 1, hops=63, **to_host)
    with learned(lab, v, *message):
        out = lab.exchange([("p0", frame) for frame in (fits, over, elsewhere)])
        out.is_exactly(forwarded(fits, "p1"), icmp_error(quoted, "p0", *error, mtu=mtu), forwarded(elsewhere, "p1"))
        out.by(keep_prefix=2, forwarded=1)


@row(21, "a redirect that the kernel has accepted holds for transit to that host", versions=(4,))
def redirected(lab, v):
    frame = transit(v, destination=behind("p1", v, HOST))
    with lab.twins.sysctls(net__ipv4__conf__all__accept_redirects=1, net__ipv4__conf__p1__accept_redirects=1):
        gateway = bytes(map(int, address("p1", v, 3).split(".")))
        with learned(lab, v, 5, 1, gateway):
            lab.exchange([("p0", frame)]).is_exactly(forwarded(frame, "p1", 3)).by(keep_prefix=1)
