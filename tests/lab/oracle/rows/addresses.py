# SPDX-License-Identifier: BSD-3-Clause
"""Rows 8 to 13, 29 and 30: addresses, of layer 2 and 3, that are not forwarded."""

from ... import frames as f
from ...cases import expect
from ..exchange import forwarded, icmp_error, kernel_sees, transit
from ..table import row
from ..twins import address, behind, host_mac, router_mac

EVERYWHERE = {4: "0.0.0.0/0", 6: "::/0"}


def default_route(lab, v):
    """Whatever is not stopped has a way out."""
    return lab.twins.routed(f"{EVERYWHERE[v]} via {address('p1', v, 2)}")


@row(8, "layer-2 broadcast or multicast with a unicast IP destination: not forwarded")
def layer2_broadcast(lab, v):
    macs = ("ff:ff:ff:ff:ff:ff", "01:00:5e:00:00:01", "33:33:00:00:00:01", "01:80:c2:00:00:00", "03:00:00:00:00:01")
    frames = [transit(v, to=mac) for mac in macs]
    frames += [transit(v, out_of="u0", to=mac) for mac in macs]
    # What expires, is too long or has no route gets no ICMP error either (RFC 1812 4.3.2.7).
    frames += [transit(v, to=macs[0], **{"ttl" if v == 4 else "hops": 1}),
               transit(v, to=macs[0], out_of="p2", size=1500),
               transit(v, to=macs[0], destination="203.0.113.1" if v == 4 else "2001:db8:ffff::1")]
    out = lab.exchange([("p0", frame) for frame in frames])
    out.is_nothing()
    out.by(not_our_mac=len(frames))


@row(9, "a frame to another MAC address (promiscuous port): never routed")
def other_mac(lab, v):
    mine = router_mac("p0")
    # Another port's own address, and each byte of this one's off by one.
    others = [router_mac("p1"), host_mac("p0"), "02:00:00:00:00:00", "00:00:00:00:00:00"]
    others += [":".join(f"{int(b, 16) ^ (2 if i == at else 0):02x}" for i, b in enumerate(mine.split(":")))
               for at in range(6)]
    others = [mac for mac in dict.fromkeys(others) if mac != mine]
    own = [transit(v, to=mac, destination=address("p0", v)) for mac in others]
    lab.twins.both("ip", "link", "set", "p0", "promisc", "on")
    try:
        out = lab.exchange([("p0", frame) for frame in (*(transit(v, to=mac) for mac in others), *own)])
    finally:
        lab.twins.both("ip", "link", "set", "p0", "promisc", "off")
    out.is_nothing()
    out.by(not_our_mac=2 * len(others))


@row(10, "255.255.255.255 and directed broadcast: not forwarded", versions=(4,))
def broadcast(lab, _):
    own = ["255.255.255.255", "10.0.0.255", "10.0.1.255", "10.0.2.255", "10.0.3.255", "0.0.0.0"]
    frames = [transit(4, destination=to) for to in own]
    frames += [transit(4, destination=to, to="ff:ff:ff:ff:ff:ff") for to in own]
    echo = f.echo(behind("p0", 4), "10.0.1.255", 1, 1)
    frames.append(transit(4, destination="10.0.1.255", protocol=f.ICMP, payload=echo))
    expires = transit(4, destination="10.0.1.255", ttl=1)
    # The broadcast address of somebody else's subnet is an address as any other.
    remote = transit(4, destination="10.11.255.255")
    out = lab.exchange([("p0", frame) for frame in (*frames, expires, remote)])
    out.is_exactly(forwarded(remote, "p1"))
    moved = out.moved
    expect(moved.get("forwarded") == 1, f"{moved}")
    expect(moved.get("martian") == 2, f"255.255.255.255 and 0.0.0.0 are the classifier's: {moved}")
    expect(not any(k.startswith("drop_") for k in moved), f"it is the kernel that discards them: {moved}")


@row(11, "martian source or destination: not forwarded", versions=(4,))
def martian(lab, _):
    sources = ("0.0.0.0", "127.0.0.1", "127.255.255.255", "224.0.0.1", "239.255.255.255", "255.255.255.255",
               address("p0", 4), address("p1", 4))
    destinations = ("0.0.0.0", "127.0.0.1", "127.255.255.255", "224.0.0.1", "239.255.255.255",
                    "255.255.255.255")
    frames = [transit(4, source=a) for a in sources] + [transit(4, destination=a) for a in destinations]
    # To the kernel 0/8 and 240/4 are unicast (its commits 96125bf9985a and 1e637c74b0f8): it forwards them.
    reserved = [transit(4, source=a) for a in ("0.1.2.3", "240.0.0.1")]
    reserved += [transit(4, destination=a) for a in ("0.1.2.3", "240.0.0.1", "255.255.255.254")]
    # The nearest that are none.
    near = [transit(4, source=a) for a in ("1.0.0.0", "126.255.255.255", "128.0.0.0", "223.255.255.255")]
    near += [transit(4, destination=a) for a in ("1.0.0.0", "126.255.255.255", "128.0.0.0", "223.255.255.255")]
    with default_route(lab, 4):
        out = lab.exchange([("p0", frame) for frame in (*frames, *near, *reserved)])
    out.is_exactly(*(forwarded(frame, "p1") for frame in (*near, *reserved)))
    out.by(forwarded=len(near), martian=len(frames) + len(reserved))


@row(12, "IPv4 link-local source or destination: the kernel's to forward or not, never the fast path's", versions=(4,))
def link_local4(lab, _):
    # RFC 3927 7 forbids to forward these. The kernel does it, and millrace leaves them to it.
    frames = [transit(4, source="169.254.1.1"), transit(4, destination="169.254.1.1"),
              transit(4, source="169.254.255.255"), transit(4, source="169.254.0.0", destination="169.254.0.1")]
    near = [transit(4, source=a) for a in ("169.253.255.255", "169.255.0.0")]
    with default_route(lab, 4):
        out = lab.exchange([("p0", frame) for frame in (*frames, *near)])
    out.is_exactly(*(forwarded(frame, "p1") for frame in (*frames, *near)))
    out.by(forwarded=2, martian=len(frames))


@row(13, "multicast: to the kernel, never on the fast path")
def multicast(lab, v):
    if v == 4:
        groups = {"224.0.0.1": "01:00:5e:00:00:01", "224.0.0.5": "01:00:5e:00:00:05", "239.1.2.3": "01:00:5e:01:02:03",
                  "232.128.0.1": "01:00:5e:00:00:01"}
    else:
        groups = {"ff02::1": "33:33:00:00:00:01", "ff02::5": "33:33:00:00:00:05", "ff0e::1234": "33:33:00:00:12:34",
                  "ff05::2": "33:33:00:00:00:02", "ff01::1": "33:33:00:00:00:01"}
    by_group = [transit(v, destination=group, to=mac) for group, mac in groups.items()]
    by_unicast = [transit(v, destination=group) for group in groups]
    with default_route(lab, v), kernel_sees(lab.twins, "p0") as taps:
        out = lab.exchange([("p0", frame) for frame in (*by_group, *by_unicast)])
        for name, tap in taps.items():
            seen = list(iter(tap.read, None))
            lost = [frame for frame in (*by_group, *by_unicast) if frame not in seen]
            expect(not lost, f"{len(lost)} of the frames did not reach the stack of the {name} router")
    out.is_nothing()
    out.by(not_our_mac=len(by_group), martian=len(by_unicast))


@row(29, "IPv6 link-local source or destination: not forwarded", versions=(6,))
def link_local6(lab, _):
    neighbour, other = "fe80::aa", "fe80::bb"
    entries = [f"{a} lladdr {host_mac('p0', 4)} nud permanent dev p0" for a in (neighbour, other)]
    from_it = transit(6, source=neighbour)
    to_it = transit(6, destination=other)
    edges = [transit(6, source="fe7f::1"), transit(6, source="fec0::1")]
    out_of_scope = transit(6, source="febf:ffff::1")
    with lab.twins.changed(*(f"neigh add {e}" for e in entries),
                           undo=[f"neigh del {a} dev p0" for a in (neighbour, other)]):
        out = lab.exchange([("p0", frame) for frame in (from_it, to_it, *edges, out_of_scope)])
    # "Beyond scope of source address" (RFC 4443 3.1) to the sender; what is for a link-local address stays on its link.
    sent = [frame for link, frame in out.left if link != "w0" and frame[22:24] != b"\xfe\x7f"
            and frame[22:24] != b"\xfe\xc0"]
    expect(not sent, "a packet with a link-local address left by another link")
    expect(sum(icmp_error(from_it, "p0", 1, 2, source=frame_source(frame))(link, frame)
               for link, frame in out.left if frame[20] == f.ICMP6) == 1, "the sender was not told")
    out.by(forwarded=2, martian=3)


def frame_source(frame):
    return frame[22:38]


@row(30, "::, ::1 or a multicast source: not forwarded", versions=(6,))
def martian6(lab, _):
    frames = [transit(6, source=a) for a in ("::", "::1", "ff02::1", "ff0e::1")] + [transit(6, destination="::1")]
    # Kernels differ in these, or forward what none should: left to them.
    theirs = [transit(6, source=a) for a in ("::ffff:192.0.2.1", "::192.0.2.1")]
    theirs += [transit(6, destination=a) for a in ("::", "::ffff:192.0.2.1", "::192.0.2.1")]
    near = [transit(6, source=a) for a in ("0:0:0:0:1::", "100::1", "64:ff9b::192.0.2.1", "fd00::1", "3fff::1")]
    # The router's own address as a source: Linux forwards it in IPv6, and drops it in IPv4 (row 11).
    near += [transit(6, source=address("p1", 6))]
    with default_route(lab, 6):
        out = lab.exchange([("p0", frame) for frame in (*frames, *near)])
        out.is_exactly(*(forwarded(frame, "p1") for frame in near))
        out.by(forwarded=len(near), martian=len(frames))
        lab.exchange([("p0", frame) for frame in theirs]).by(martian=len(theirs))
