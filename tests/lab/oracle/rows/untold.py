# SPDX-License-Identifier: BSD-3-Clause
"""Rows 60 to 64: routes that change without a message, and routes that are told apart by more than their prefix."""

import time

from ...cases import expect
from ...netns import wait_until
from ..changes_net import Advert, neighbours, router_link_local
from ..exchange import Difference, forwarded
from ..table import row
from ..twins import HOSTS, address, host_mac
from ..ways import Hop, Way, bring_back, others
from ..wire import LINKS

B, C = Hop("p1"), Hop("p2")
# The two kernels were told one after the other; and millrace punts a moment before the end.
SLACK = 0.25


def via(hop, version):
    return f"via {hop.gateway(version)} dev {hop.device}"


def follows(lab, way, until, seconds=1.0):
    """Frames, over and over, go the kernel's way in both; `until` says when it was seen. Differences last no longer than
    SLACK."""
    give_up, wrong = time.monotonic() + seconds, None
    while True:
        frame = next(iter(way.flows(1).values()))
        try:
            out = lab.exchange([("p0", frame)], seconds=0.02)
            wrong = None
            if until(out, frame):
                return
        except Difference:
            wrong = wrong or time.monotonic()
            if time.monotonic() > wrong + SLACK:
                raise
        expect(time.monotonic() < give_up, f"the kernel does not do it within {seconds:g} s")
        time.sleep(0.02)


def goes(hop):
    def test(out, frame):
        link, wanted = forwarded(frame, hop.device, hop.host)
        return any(seen_link == link and seen[:14] == wanted[:14] for seen_link, seen in out.left)
    return test


def by_fast_path(hop):
    return lambda out, frame: goes(hop)(out, frame) and out.moved.get("forwarded") == 1


@row(60, "a route with a lifetime: no longer than the kernel, which is asked whether it was given a new one", versions=(6,))
def lifetime(lab, v):
    way, wide = Way(lab, v, 60), "2001:db8:60::/44"
    # Not `add`, which is refused before the kernel looks at the lifetime.
    short = f"route append {way.prefix} {via(B, v)} expires"
    with lab.twins.routed(f"{wide} {via(C, v)}"), lab.twins.changed(
            f"{short} 1", undo=[f"route del {way.prefix}"]):
        follows(lab, way, by_fast_path(B))
        follows(lab, way, goes(C), 3)
        # It is still in the kernel's table. A new life is not announced, nor is a longer or shorter one.
        lab.twins.batch(f"{short} 2", force=True)
        follows(lab, way, by_fast_path(B))
        lab.twins.batch(f"{short} 60", force=True)
        begin = time.monotonic()
        follows(lab, way, lambda out, frame: by_fast_path(B)(out, frame) and time.monotonic() > begin + 2.5, 4)
        lab.twins.batch(f"{short} 1", force=True)
        follows(lab, way, goes(C), 3)
        # No end any more: `replace` is announced, `append` is not.
        lab.twins.batch(f"route replace {way.prefix} {via(B, v)} expires 1")
        lab.twins.batch(f"route append {way.prefix} {via(B, v)}", force=True)
        begin = time.monotonic()
        follows(lab, way, lambda out, frame: by_fast_path(B)(out, frame) and time.monotonic() > begin + 1.5, 3)


@row(61, "routes by source, and plain ones of the same prefix, in any order: the kernel's choice", versions=(6,))
def by_source(lab, v):
    way, wide = Way(lab, v, 60), "2001:db8:60::/44"
    plain = f"{way.prefix} {via(B, v)} metric 100"
    sourced = f"{way.prefix} from 2001:db8:10::/48 {via(C, v)} metric 512"
    other = f"{way.prefix} from 2001:db8:ffff::/48 {via(C, v)} metric 100"

    def check(*hops):
        out = lab.exchange([("p0", frame) for frame in way.flows(4).values()])
        expect({link for link, _ in out.left} == {LINKS[int(h.device[1])] for h in hops}, f"the kernel sends to {out.left}")
        return out
    with lab.twins.routed(f"{wide} {via(Hop('p2', 3), v)}"):
        for first, second in ((plain, sourced), (sourced, plain)):
            lab.twins.batch(f"route add {first}", f"route add {second}")
            check(C)
            lab.twins.batch(f"route del {sourced}")
            check(B).by(forwarded=4)
            lab.twins.batch(f"route add {sourced}", f"route del {plain}")
            check(C)
            lab.twins.batch(f"route del {sourced}")
            check(Hop("p2", 3)).by(forwarded=4)
        # For packets from elsewhere: the kernel goes on to the wider prefix, though there is a plain route.
        with lab.twins.routed(plain, other):
            check(C)
        with lab.twins.routed(other, plain):
            check(C)


@row(62, "router advertisements: two routers, preferences, beside a static route, lifetimes", versions=(6,))
def advertisements(lab, v):
    way = Way(lab, v, 62)
    own = {f"net__ipv6__conf__{d}__{key}": value for d in ("p1", "p2")
           for key, value in (("accept_ra", 2), ("autoconf", 0), ("accept_ra_rt_info_max_plen", 128))}

    def send(*adverts):
        for advert in adverts:
            for twin in lab.twins.twins.values():
                twin.wire.send(LINKS[int(advert.device[1])], advert.frame())
        lab.twins.settle()

    def advert(device, router, lifetime, preference=0):
        return Advert(device, router, 0, 0, ((way.prefix, preference, lifetime),))

    def leaves(device, router):
        mac = bytes.fromhex(host_mac(device, 2 + router).replace(":", ""))
        return lambda out, frame: any(link == LINKS[int(device[1])] and seen[:6] == mac for link, seen in out.left)
    everything = [advert(d, r, 0) for d in ("p1", "p2") for r in (1, 2)]
    with lab.twins.sysctls(**own), lab.twins.changed(*neighbours("p1"), *neighbours("p2"), undo=[]):
        try:
            send(advert("p1", 1, 60))
            follows(lab, way, lambda out, frame: leaves("p1", 1)(out, frame) and out.moved.get("forwarded") == 1)
            for second in (advert("p1", 2, 60), advert("p2", 1, 60), advert("p2", 2, 60, 1), advert("p1", 1, 60, 3),
                           advert("p2", 2, 60, 3), advert("p1", 2, 1)):
                send(second)
                lab.exchange([("p0", frame) for frame in way.flows(4).values()])
            begin = time.monotonic()
            follows(lab, way, lambda out, frame: time.monotonic() > begin + 1.4, 3)
            send(*everything)
            # A static route of the same metric, before and after.
            for order in (0, 1):
                if order:
                    send(advert("p2", 1, 60, 1))
                with lab.twins.changed(f"route append {way.prefix} {via(B, v)}",
                                       undo=[f"route del {way.prefix} {via(B, v)}"]):
                    lab.exchange([("p0", frame) for frame in way.flows(4).values()])
                    if not order:
                        send(advert("p2", 1, 60, 1))
                    lab.exchange([("p0", frame) for frame in way.flows(4).values()])
                send(*everything)
            # Between the paths of a multipath route no dump tells it: a daemon that starts then has to ask.
            first, second = (f"{way.prefix} {via(hop, v)}" for hop in (B, C))
            with lab.twins.changed(f"route append {first}", undo=[f"route del {first}"]):
                send(advert("p2", 1, 60, 1))
                with lab.twins.changed(f"route append {second}", undo=[f"route del {second}"]):
                    expect(lab.twins.router.stop() == 0, lab.twins.router.log_tail())
                    lab.twins.router.start()
                    follows(lab, way, leaves("p2", 1))
            send(*everything)
            # Its lifetime is shortened by the next one.
            send(advert("p1", 1, 0xffffffff))
            follows(lab, way, lambda out, frame: leaves("p1", 1)(out, frame) and out.moved.get("forwarded") == 1)
            send(advert("p1", 1, 1))
            follows(lab, way, lambda out, frame: not leaves("p1", 1)(out, frame), 3)
        finally:
            send(*everything)
            lab.twins.both("ip", "-6", "neigh", "del", router_link_local(1), "dev", "p1", check=False)


@row(63, "a next hop that died with the last address of its device lives again with the next one", versions=(4,))
def revived(lab, v):
    way = Way(lab, v, 63)
    own = f"{address('p1', v)}/24 dev p1"
    again = [f"neigh replace {address('p1', v, host)} lladdr {host_mac('p1', host)} nud permanent dev p1" for host in HOSTS]
    with lab.twins.routed(f"{way.prefix} nexthop {via(B, v)} nexthop {via(C, v)}"):
        way.goes(B, C)
        before = lab.twins.ask("sync")[0]["audit_differences"]
        try:
            lab.twins.batch(f"addr del {own}")
            # The neighbour goes at once; the path, of which nobody tells, with a dump.
            wait_until(lambda: len(way.row()["via"]) == 1, f"the path over p1 is gone: {way.row()}", 5)
            way.goes(C, fences=others("p1"))
            lab.twins.batch(f"addr add {own}", *again)
            way.shown(B, C, seconds=1)
            way.goes(B, C, fences=others("p1"))
            found = lab.twins.ask("sync")[0]["audit_differences"]
            expect(found == before, f"it was the audit that saw it: {found - before} differences")
        finally:
            bring_back(lab, "p1")


@row(64, "IPv6 paths that were appended and prepended are a set: no difference is seen where there is none", versions=(6,))
def appended(lab, v):
    way = Way(lab, v, 64)
    hops = [B, C, Hop("p1", 3), Hop("p2", 4)]
    with lab.twins.changed(*(f"route {verb} {way.prefix} {via(hop, v)}" for verb, hop in
                             zip(("add", "append", "prepend", "append"), hops)), undo=[f"route del {way.prefix}"] * 4):
        way.goes(*hops)
        verdict = lab.twins.router.cli("verify")
        expect("no difference" in verdict.stdout or " 0 differences" in verdict.stdout, verdict.stdout)
