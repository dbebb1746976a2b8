# SPDX-License-Identifier: BSD-3-Clause
"""Rows 15, 16 and 28: packets longer than the egress MTU."""

from ..exchange import forwarded, icmp_error, transit
from ..table import row
from ..twins import MTU

OVER4 = 28  # IPv4 and UDP headers
OVER6 = 48


@row(15, "DF and longer than the egress MTU: Fragmentation Needed with the MTU", versions=(4,))
def fragmentation_needed(lab, _):
    mtu = MTU["p2"]
    fits = transit(4, "p0", "p2", size=mtu - OVER4)
    over = transit(4, "p0", "p2", size=mtu - OVER4 + 1)
    far_over = transit(4, "p0", "p2", size=3000)
    # What counts is the packet, not the frame: padding is no reason to refuse it.
    padded = transit(4, "p0", "p2", size=mtu - OVER4, padding=bytes(100))
    out = lab.exchange([("p0", fits), ("p0", over), ("p0", far_over), ("p0", padded)])
    out.is_exactly(forwarded(fits, "p2"), forwarded(padded, "p2"), icmp_error(over, "p0", 3, 4, mtu=mtu),
                   icmp_error(far_over, "p0", 3, 4, mtu=mtu))
    out.by(forwarded=2, punt_too_big=2)
