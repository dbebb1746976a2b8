# SPDX-License-Identifier: BSD-3-Clause
"""Floods of what the fast path can't forward: BGP stays up, other transit goes on, the kernel's limits hold."""

import sys
import time

from lab.cases import Cases, Stolen, build_dir, expect
from lab.flood import Flood, PortMeter, icmp_errors
from lab.netns import wait_until
from lab.topology import HOST, PEER, SILENT, EdgeLab
from lab.traffic import Blast, ping

PPS = 1_000_000
TRANSIT_PPS = 20_000
SECONDS = 4
RATE = 20_000  # punt.rate, by default
BELOW_RATE = 10_000
# Sources: routed back to peer-a, so that the answers have a way.
SOURCE4, SOURCE6 = "10.64.0.0", "2001:db8:64::"
FLOODS = {
    "without a route, IPv4": (SOURCE4, "10.250.0.0", 65536),
    "without a route, IPv6": (SOURCE6, "2001:db8:250::", 65536),
    "to one unresolved host, IPv4": (SOURCE4, "10.0.2.77", 1),
    "over an empty /16 on the link, IPv4": (SOURCE4, "10.77.0.0", 65536),
    "over an empty /64 on the link, IPv6": (SOURCE6, "2001:db8:0:2:7::", 65536),
}


def transit(lab):
    """From host-b to host-a: in on the port that is not flooded."""
    return Blast(lab.tools, lab.netns["host-b"], lab.netns["host-a"], HOST["a"][0], TRANSIT_PPS, SECONDS)


def sessions_held(lab, before):
    now = lab.sessions()
    for address, session in before.items():
        expect(now[address]["state"] == "Established", f"the session to {address} is {now[address]['state']}")
        expect(now[address]["dropped"] == session["dropped"], f"the session to {address} went down")


def loses_nothing(lab, flooded):
    """Transit that comes in on b0, beside a flood on a0 or not: all that was redirected is forwarded."""
    blast = transit(lab)
    quiet, loud = PortMeter(lab.router, "b0"), PortMeter(lab.router, "a0")
    try:
        blast.start()
        if flooded:
            with flooded.running():
                time.sleep(SECONDS)
                offered = loud.moved().get("redirect", 0) / loud.seconds()
        result = blast.finish()
    finally:
        blast.stop()

    def all_accounted():
        moved = quiet.moved()
        return moved["redirect"] == moved.get("forwarded", 0) + sum(
            n for reason, n in moved.items() if reason.startswith(("punt_", "drop_")) and
            reason not in ("drop_punt_rate", "drop_punt_write"))
    wait_until(all_accounted, "every packet redirected on b0 is accounted for", 5)
    moved = quiet.moved()
    lost = {k: v for k, v in moved.items() if k == "ring_full" or k.startswith("drop_")}
    expect(not lost, f"lost of the transit on b0: {lost}")
    expect(moved["forwarded"] >= result["sent"], f"{moved['forwarded']} of {result['sent']} by the worker")
    return result, (offered if flooded else 0), loud.moved()


def under_flood(cases, lab):
    with cases.case("without a flood, transit loses nothing", stolen=Stolen()):
        result, _, _ = loses_nothing(lab, None)
        print(f"   {result['sent']} packets of transit, {result['lost']} lost end to end")
    for name, (source, destination, destinations) in FLOODS.items():
        with cases.case(f"a flood {name}: BGP stays up, other transit loses nothing, the kernel gets the rate",
                        stolen=Stolen()):
            before = lab.sessions()
            flood = Flood(lab, source, destination, destinations, PPS)
            result, offered, moved = loses_nothing(lab, flood)
            sessions_held(lab, before)
            handed = sum(v for k, v in moved.items() if k.startswith("punt_")) - moved.get("drop_punt_rate", 0)
            print(f"   {offered / 1e6:.2f} Mpps of flood reached the worker's queue; {handed} to the kernel, "
                  f"{moved.get('drop_punt_rate', 0)} over the rate, {moved.get('drop_punt_full', 0)} ring full; "
                  f"transit: {result['sent']} packets, {result['lost']} lost end to end")
            expect(offered > 100_000, f"the flood had only {offered:.0f} packets a second")
            # A burst, and the flood's first and last moments, beside the rate.
            expect(handed <= RATE * (SECONDS + 3), f"{handed} packets were handed to the kernel")
            expect(handed >= RATE, f"only {handed} packets were handed to the kernel")


def still_resolves(cases, lab):
    for version, address in zip((4, 6), SILENT):
        with cases.case(f"after the floods: the first packet to a new host arrives, IPv{version}"):
            wait_until(lambda address=address: ping(lab.netns["host-a"], address)["received"] == 1,
                       f"{address} answers", 10)


def errors_under(lab, sources, pps):
    """ICMP errors of both families that the edge sends in some seconds of packets without a route."""
    sent = []
    for family, (source, name) in enumerate(zip(sources, ("without a route, IPv4", "without a route, IPv6"))):
        _, destination, destinations = FLOODS[name]
        before = icmp_errors(lab.edge)[family]
        with Flood(lab, source, destination, destinations, pps).running():
            time.sleep(SECONDS)
        sent.append(icmp_errors(lab.edge)[family] - before)
    return sent


def error_rates(cases, lab):
    """The kernel limits errors for each destination: sources that it does not know yet, each time."""
    stolen = Stolen()
    most = int(lab.edge.run("sysctl", "-n", "net.ipv4.icmp_msgs_per_sec").stdout)
    flooded = errors_under(lab, ("10.64.64.0", "2001:db8:64::1:0"), PPS)
    fast = errors_under(lab, ("10.64.128.0", "2001:db8:64::2:0"), BELOW_RATE)
    redirected = lab.router.steering().get("redirect", 0)
    lab.router.stop()
    kernel = errors_under(lab, ("10.64.192.0", "2001:db8:64::3:0"), BELOW_RATE)
    for version, flood, ours, theirs in zip((4, 6), flooded, fast, kernel):
        print(f"   IPv{version}, {SECONDS} s: {flood} errors under {PPS / 1e6:g} Mpps; under {BELOW_RATE} pps {ours} "
              f"with millrace, {theirs} by the kernel alone")
        with cases.case(f"the ICMP errors are as many as the kernel's own, IPv{version}", stolen=stolen):
            expect(redirected > 0 and theirs > 0, "nothing was compared")
            expect(0.8 * theirs <= ours <= 1.2 * theirs, f"{ours} errors, {theirs} by the kernel alone")
        with cases.case(f"a flood brings no more ICMP errors than the kernel's limit, IPv{version}"):
            expect(0 < flood <= most * (SECONDS + 1), f"{flood} errors in {SECONDS} s, {most} a second allowed")


def main():
    cases = Cases("netns.flood")
    with EdgeLab(build_dir()) as lab:
        lab.start()
        edge = lab.edge
        edge.ip("addr", "add", "10.77.255.254/16", "dev", "b0")
        edge.ip("route", "add", "10.64.0.0/16", "via", PEER["a"][0])
        edge.ip("-6", "route", "add", "2001:db8:64::/48", "via", PEER["a"][1])
        # Answers to sources that nobody has end at peer-a.
        lab.netns["peer-a"].ip("route", "add", "blackhole", "10.64.0.0/16")
        lab.netns["peer-a"].ip("-6", "route", "add", "blackhole", "2001:db8:64::/48")
        lab.start_frr()
        # No route to the rest of the world.
        lab.router.attach()
        lab.router.start()
        lab.wait_sessions()
        lab.router.wait_route("10.1.0.0/24", outcome="forward")
        lab.router.wait_route("10.77.0.0/16", outcome="glean")
        under_flood(cases, lab)
        still_resolves(cases, lab)
        error_rates(cases, lab)
    return cases.finish()


if __name__ == "__main__":
    sys.exit(main())
