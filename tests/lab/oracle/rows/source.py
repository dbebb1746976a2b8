# SPDX-License-Identifier: BSD-3-Clause
"""Row 14: the reverse path filter."""

from ..exchange import forwarded, transit
from ..table import row
from ..twins import address, behind

OFF, STRICT, LOOSE = 0, 1, 2


def sources(v):
    """{name: source of a packet that comes in at p0}"""
    return {
        "behind": behind("p0", v), "on-link": address("p0", v, 3),
        "elsewhere": behind("p2", v), "elsewhere, on-link": address("p1", v, 3), "unmanaged": behind("u0", v),
        "nowhere": "203.0.113.7" if v == 4 else "2001:db8:ffff::7",
        "blackhole": "10.79.1.1" if v == 4 else "2001:db8:79::1",
        "both ways": "10.80.1.1" if v == 4 else "2001:db8:80::1",
    }


def routes(v):
    hole, two = ("10.79.0.0/16", "10.80.0.0/16") if v == 4 else ("2001:db8:79::/48", "2001:db8:80::/48")
    return (f"blackhole {hole}",
            f"{two} nexthop via {address('p0', v, 3)} nexthop via {address('p2', v, 3)}")


# RFC 3704 2.2 and 2.4. A multipath route has the source reachable by each of its links.
PASSES = {OFF: {*sources(4)},
          STRICT: {"behind", "on-link", "both ways"},
          LOOSE: {*sources(4)} - {"nowhere", "blackhole"}}


def filtered(lab, v, mode, **sysctls):
    frames = {name: transit(v, source=source) for name, source in sources(v).items()}
    # The filter comes before the TTL and the MTU: who is filtered gets no ICMP error.
    with lab.twins.routed(*routes(v)), lab.twins.sysctls(**sysctls):
        out = lab.exchange([("p0", frame) for frame in frames.values()])
        out.is_exactly(*(forwarded(frame, "p1") for name, frame in frames.items() if name in PASSES[mode]))
        lab.exchange([("p0", transit(v, source=s, **{"ttl" if v == 4 else "hops": 1})) for s in sources(v).values()])
        lab.exchange([("p0", transit(v, "p0", "p2", source=s, size=1500)) for s in sources(v).values()])
        return out


def _conf(**by_device):
    return {f"net__ipv4__conf__{device}__rp_filter": value for device, value in by_device.items()}


@row(14, "reverse path filter off", versions=(4,))
def rp_filter_off(lab, v):
    filtered(lab, v, OFF).by(forwarded=len(sources(v)))


@row(14, "reverse path filter strict", versions=(4,))
def rp_filter_strict(lab, v):
    filtered(lab, v, STRICT, **_conf(p0=STRICT))


@row(14, "reverse path filter loose", versions=(4,))
def rp_filter_loose(lab, v):
    filtered(lab, v, LOOSE, **_conf(p0=LOOSE))


@row(14, "reverse path filter: the stronger of the port's setting and all's holds", versions=(4,))
def rp_filter_all(lab, v):
    filtered(lab, v, STRICT, **_conf(all=STRICT))
    filtered(lab, v, LOOSE, **_conf(all=LOOSE, p0=STRICT))
    # Another port's setting is none of p0's business.
    filtered(lab, v, OFF, **_conf(p1=STRICT))


@row(14, "reverse path filter: there is none", versions=(6,))
def no_rp_filter6(lab, v):
    filtered(lab, v, OFF, **_conf(p0=STRICT)).by(forwarded=len(sources(v)))
