# SPDX-License-Identifier: BSD-3-Clause
"""Rows 20 to 22: ICMP errors, redirects, and echo."""

import struct

from ... import frames as f
from ...cases import expect
from ..exchange import forwarded, icmp_error, own_answer, transit
from ..load import LOADED, Load
from ..table import row
from ..twins import DEVICES, address, behind, host_mac, link_local
from ..wire import LINKS

PROTOCOL = {4: f.ICMP, 6: f.ICMP6}
EXPIRED = {4: (11, 0), 6: (3, 0)}


def ending(v, **fields):
    return transit(v, **{"ttl" if v == 4 else "hops": 1}, **fields)


def message(v, kind, source, destination, code=0):
    """An ICMP message of the type with 32 bytes of something behind."""
    body = struct.pack("!BBH", kind, code, 0) + bytes(4) + bytes(range(32))
    return f.icmp4(body) if v == 4 else f.icmp6(source, destination, body)


@row(20, "ICMP errors quote the packet and come from the right address, back the right way")
def error_form(lab, v):
    sends, wanted = [], []
    for n, device in enumerate(("p0", "p1", "p2", "u0")):
        out_of = ("p1", "p2", "p0", "p1")[n]
        for size in (0, 1, 100, 520, 548, 549, 1200, 1330):
            frame = ending(v, into=device, out_of=out_of, size=size)
            sends.append((device, frame))
            wanted.append(icmp_error(frame, device, *EXPIRED[v]))
    # The error goes out on the way back to its source. In IPv4 the address is that link's, in IPv6 the ingress link's.
    for away in ("p2", "u0"):
        own = address(away if v == 4 else "p0", v)
        frames = [ending(v, source=behind(away, v)),
                  transit(v, "p0", "p2", source=behind(away, v), size=1500),
                  transit(v, source=behind(away, v), destination="203.0.113.9" if v == 4 else "2001:db8:ffff::9")]
        sends += [("p0", frame) for frame in frames]
        wanted += [icmp_error(frames[0], away, *EXPIRED[v], source=own),
                   icmp_error(frames[1], away, *((3, 4) if v == 4 else (2, 0)), mtu=1400, source=own),
                   icmp_error(frames[2], away, *((3, 0) if v == 4 else (1, 0)), source=own)]
    out = lab.exchange(sends)
    out.is_exactly(*wanted)
    out.by(ttl=3 * 8 + 2, punt_too_big=2, punt_no_route=2)


@row(20, "no ICMP errors about errors, broadcasts, later fragments or sources that are nobody")
def no_error(lab, v):
    source, to = behind("p0", v), behind("p1", v)
    errors = (3, 4, 5, 11, 12, 200) if v == 4 else (1, 2, 3, 4, 100, 127)
    silent = [ending(v, protocol=PROTOCOL[v], payload=message(v, kind, source, to)) for kind in errors]
    told = [ending(v, protocol=PROTOCOL[v], payload=message(v, kind, source, to)) for kind in
            ((8, 0, 13) if v == 4 else (128, 129, 200))]
    nowhere = "203.0.113.9" if v == 4 else "2001:db8:ffff::9"
    # The same found late, by the forwarder: no route, and too long.
    late = [transit(v, destination=nowhere, protocol=PROTOCOL[v], payload=message(v, kind, source, nowhere))
            for kind in errors]
    late += [transit(v, "p0", "p2", protocol=PROTOCOL[v], payload=message(v, errors[0], source, to) + bytes(1400))]
    if v == 4:
        silent += [ending(4, flags_offset=flags) for flags in (1, 0x2001, 0x1FFF)]
        late += [transit(4, destination=nowhere, flags_offset=5),
                 transit(4, "p0", "p2", size=1450, flags_offset=0x4005)]
        told += [ending(4, flags_offset=0x2000)]
    else:
        silent += [ending(6, protocol=44, payload=struct.pack("!BBHI", f.ICMP6, 0, 1, 7) +
                          message(6, 1, source, to))]
        told += [ending(6, protocol=44, payload=struct.pack("!BBHI", f.UDP, 0, 1, 7) + bytes(64))]
    for frame in (ending(v, to="ff:ff:ff:ff:ff:ff"), ending(v, source="255.255.255.255" if v == 4 else "ff02::1"),
                  ending(v, source="127.0.0.1" if v == 4 else "::1"), ending(v, source="0.0.0.0" if v == 4 else "::")):
        silent.append(frame)
    out = lab.exchange([("p0", frame) for frame in (*silent, *told, *late)])
    out.is_exactly(*(icmp_error(frame, "p0", *EXPIRED[v]) for frame in told))


@row(20, "ICMP errors are rate-limited, however the kernel comes to send them")
def error_rate(lab, v):
    """A token bucket of six for each destination (XRLIM_BURST_FACTOR); the classifier's and the forwarder's share it."""
    if v == 4:
        limits = {"net__ipv4__icmp_ratelimit": 2000, "net__ipv4__icmp_ratemask": 6168}
    else:
        limits = {"net__ipv6__icmp__ratelimit": 10000, "net__ipv6__icmp__ratemask": "0-1,3-127"}
    prefix = "10.81.0.0/16" if v == 4 else "2001:db8:81::/48"
    refused = "10.81.0.1" if v == 4 else "2001:db8:81::1"
    with lab.twins.routed(f"prohibit {prefix}"), lab.twins.sysctls(**limits):
        for n, make in enumerate((lambda s: ending(v, source=s), lambda s: transit(v, source=s, destination=refused))):
            # One of a kind: the bucket is as full as it gets. Echo replies are not limited.
            source = behind("p0", v, 200 + n)
            out = lab.exchange([("p0", make(source)) for _ in range(40)], linger=0.05)
            expect(1 <= len(out.left) <= 10, f"{len(out.left)} errors about 40 packets")


@row(21, "redirect when the egress is the ingress and the source is on-link, if enabled")
def redirect(lab, v):
    prefix = "10.82.0.0/16" if v == 4 else "2001:db8:82::/48"
    beyond = "10.82.0.1" if v == 4 else "2001:db8:82::1"
    gateway = address("p0", 4, 3) if v == 4 else "fe80::aa"
    neighbour = f"neigh replace {gateway} lladdr {host_mac('p0', 3)} nud permanent dev p0"
    with lab.twins.changed(neighbour, f"route add {prefix} via {gateway} dev p0",
                           undo=[f"route del {prefix}"] + ([] if v == 4 else [f"neigh del {gateway} dev p0"])):
        if v == 4:
            through = transit(v, source=address("p0", v, 2), destination=beyond)
            lab.exchange([("p0", through)]).is_exactly(forwarded(through, "p0", 3)).by(punt_hairpin=1)
        enabled = {f"net__ipv4__conf__{d}__send_redirects": 1 for d in ("all", "p0")}
        with lab.twins.sysctls(**enabled):
            on_link = address("p0", v, 4)
            through = transit(v, source=on_link, destination=beyond, host=4)
            # From afar it is not the sender's next hop that is wrong.
            afar = transit(v, source=behind("p0", v, 7), destination=beyond)
            out = lab.exchange([("p0", afar)])
            if v == 4:
                out.is_exactly(forwarded(afar, "p0", 3))
            out.by(punt_hairpin=1)
            out = lab.exchange([("p0", through)])
            expect(forwarded(through, "p0", 3) in out.left, "it was not forwarded")
            told = [frame for link, frame in out.left if link == LINKS[0] and _is_redirect(v, frame, gateway)]
            expect(len(told) == 1 and len(out.left) == 2, f"{len(told)} redirects to {gateway} among {len(out.left)}")
            out.by(punt_hairpin=1)


def _is_redirect(v, frame, gateway):
    """RFC 792: type 5, code 1 for a host; RFC 4861 4.5: type 137 with the better first hop."""
    if v == 4:
        return frame[23] == f.ICMP and frame[34:36] == b"\5\1" and frame[38:42] == bytes(map(int, gateway.split(".")))
    return frame[20] == f.ICMP6 and frame[54] == 137 and frame[62:64] == b"\xfe\x80" and frame[77] == 0xAA


@row(22, "echo to any own address is answered")
def echo(lab, v):
    kind, answer = (f.ICMP, 0) if v == 4 else (f.ICMP6, 129)
    sends, wanted = [], []
    for device in DEVICES:
        for own in (address(d, v) for d in DEVICES):
            for size in (0, 8, 1000):
                source = address(device, v, 2)
                frame = transit(v, into=device, source=source, destination=own, protocol=kind,
                                payload=f.echo(source, own, 7, size, bytes(size)))
                sends.append((device, frame))
                wanted.append(own_answer(frame, device, answer))
        if v == 6:
            source, own = "fe80::aa", link_local(device)
            frame = transit(6, into=device, source=source, destination=own, protocol=kind,
                            payload=f.echo(source, own, 7, 1))
            sends.append((device, frame))
            wanted.append(own_answer(frame, device, answer))
    entries = [f"fe80::aa dev {device}" for device in DEVICES]
    with lab.twins.changed(*(f"neigh add {e} lladdr {host_mac(d)} nud permanent" for e, d in zip(entries, DEVICES)),
                           undo=[f"neigh del {e}" for e in entries]):
        out = lab.exchange(sends)
        out.is_exactly(*wanted)
    out.by(local=sum(device != "u0" for device, _ in sends) - (3 if v == 6 else 0), **({"martian": 3} if v == 6 else {}))


@row(22, "echo is answered while the port is saturated with transit")
def echo_under_load(lab, v):
    source, own = address("p0", v, 2), address("p1", v)
    kind, answer = (f.ICMP, 0) if v == 4 else (f.ICMP6, 129)
    with Load(lab.twins) as load:
        answered = load.ask("w0", [transit(v, source=source, destination=own, protocol=kind,
                                           payload=f.echo(source, own, 9, n)) for n in range(10)],
                            lambda link, frame: own_answer(
                                transit(v, source=source, destination=own), "p0", answer)(link, frame))
    expect(min(load.packets.values()) > LOADED, f"there was no load: {load.packets} packets came through")
    for name, (asked, count) in answered.items():
        # Queues of the lab's own lose some on the way in and out (a veth's ring, the backlog of the wire's namespace). A
        # router that lets transit starve its kernel answers hardly any.
        expect(count >= asked / 3, f"the {name} router answered {count} of {asked} echo requests under load")
