# SPDX-License-Identifier: BSD-3-Clause
"""Rows 1 to 5, 18, 19, 25, 26, 27 and 35: what the IP header alone decides."""

from ..exchange import forwarded, icmp_error, transit
from ..table import row


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
