# SPDX-License-Identifier: BSD-3-Clause
"""Neighbours that change under traffic, and how the kernel is made to keep those that the fast path uses."""

import signal
import sys
import time

from lab import frames as f
from lab.cases import Cases, build_dir, expect
from lab.neighbours import all_managed, care, entry, follows, managed, wait_care
from lab.netns import wait_until
from lab.star import Probe, StarLab, edge_address, host_address

V4, V6 = 4, 6
NEW_MAC = {V4: "02:00:00:00:aa:04", V6: "02:00:00:00:aa:06"}


def behind(version):
    """(prefix, an address in it) by way of host b."""
    return ("10.100.0.0/24", "10.100.0.9") if version == V4 else ("2001:db8:100::/48", "2001:db8:100::9")


def targets(version):
    """The connected host b, and what is behind it."""
    return host_address("b", version), behind(version)[1]


def not_punted(router):
    """Packets of host a that the worker forwarded, or never saw since the machine was busy with other things
    and the heartbeat late. What hosts answer came in elsewhere."""
    router.settled_counters()
    return sum(row["packets"] for row in router.show("counters") + router.show("steering")
               if row["port"] == "a0" and row["reason"] in ("forwarded", "stale_heartbeat"))


def both_follow(cause, lab, probe, version, mac):
    """Packets to the host and through it leave for the MAC within a second, by the worker's hand."""
    took = [follows(probe, address, "b", mac) for address in targets(version)]
    before, first = not_punted(lab.router), probe.ident
    for address in targets(version):
        follows(probe, address, "b", mac)
    moved, sent = not_punted(lab.router) - before, probe.ident - first
    expect(moved == sent, f"the worker forwarded {moved} of {sent} packets")
    print(f"  {cause}: followed within {max(took) * 1000:.0f} ms", flush=True)


def neigh(lab, version, verb, *args):
    lab.edge.ip("neigh", verb, host_address("b", version), "dev", "b0", *args)


def restore(lab, version):
    """The entry as the kernel makes it by itself, managed since it is a gateway's."""
    lab.edge.ip("neigh", "del", host_address("b", version), "dev", "b0", check=False)
    lab.resolve("b")
    wait_until(lambda: managed(lab.edge, host_address("b", version), "b0"), "the gateway is managed", 10)


def care_cases(cases, lab, probe):
    edge, router = lab.edge, lab.router
    for version in (V4, V6):
        prefix, _ = behind(version)
        b, c = host_address("b", version), host_address("c", version)
        with cases.case(f"a gateway is managed while a route uses it, IPv{version}"):
            expect(not managed(edge, b, "b0"), "it was managed before")
            edge.ip(f"-{version}", "route", "add", prefix, "via", b)
            wait_until(lambda a=b: managed(edge, a, "b0"), "the kernel shows it managed extern_learn", 5)
            wait_care(router, b, "managed")
            edge.ip(f"-{version}", "route", "del", prefix)
            wait_until(lambda a=b: not managed(edge, a, "b0"), "it is given back", 5)
            wait_care(router, b, None)
            expect(entry(edge, b, "b0")["state"] == "REACHABLE", f"it is {entry(edge, b, 'b0')}")
        with cases.case(f"a connected host is managed once it carries traffic, IPv{version}"):
            time.sleep(1)  # two rounds
            expect(not managed(edge, c, "c0") and care(router, c) is None, "it was managed before")
            mac = lab.netns["c"].mac("eth0")
            wait_until(lambda a=c, m=mac: follows(probe, a, "c", m) and managed(edge, a, "c0"),
                       "the kernel shows it managed extern_learn", 5, 0.1)
            wait_care(router, c, "managed")
    for version in (V4, V6):
        prefix, _ = behind(version)
        edge.ip(f"-{version}", "route", "add", prefix, "via", host_address("b", version))
        router.wait_route(prefix, outcome="forward")


def change_cases(cases, lab, probe):
    edge, router, b = lab.edge, lab.router, lab.netns["b"]
    old_mac = b.mac("eth0")
    for version in (V4, V6):
        address, mac = host_address("b", version), NEW_MAC[version]
        with cases.case(f"MAC changed by ip neigh replace: followed, and managed again, IPv{version}"):
            restore(lab, version)
            neigh(lab, version, "replace", "lladdr", mac, "nud", "reachable")
            both_follow("ip neigh replace", lab, probe, version, mac)
            wait_until(lambda a=address: managed(edge, a, "b0"), "managed again", 10)
        with cases.case(f"the host moved to another MAC and says so: followed, IPv{version}"):
            restore(lab, version)
            b.ip("link", "set", "eth0", "address", mac)
            try:
                with f.Sender(b, "eth0") as sender:
                    sender.send(f.announcement(mac, address))
                both_follow("announced", lab, probe, version, mac)
                expect(managed(edge, address, "b0"), "it is not managed any more")
            finally:
                b.ip("link", "set", "eth0", "address", old_mac)
        with cases.case(f"entry deleted: no packet is lost, and the fast path has it again, IPv{version}"):
            restore(lab, version)
            neigh(lab, version, "del")
            where, frame = probe.send(behind(version)[1])
            expect(where == "b" and not probe.wrong("b", frame), f"it came out at {where}")
            both_follow("deleted", lab, probe, version, old_mac)
        with cases.case(f"the host became PERMANENT with another MAC: followed, left alone, IPv{version}"):
            restore(lab, version)
            neigh(lab, version, "replace", "lladdr", mac, "nud", "permanent")
            both_follow("permanent", lab, probe, version, mac)
            wait_care(router, address, None)
            time.sleep(1.5)  # three rounds
            row = entry(edge, address, "b0")
            expect(row["state"] == "PERMANENT" and row["lladdr"] == mac and not row["flags"], f"it is {row}")
        with cases.case(f"the host failed, and came back: followed, IPv{version}"):
            restore(lab, version)
            failed_and_back(lab, probe, version, old_mac)
    with cases.case("carrier lost and back: the gateways are managed again"):
        b.ip("link", "set", "eth0", "down")
        wait_until(lambda: not any(a.startswith(host_address("b")) for a in all_managed(edge)),
                   "the kernel drops them", 5)
        b.ip("link", "set", "eth0", "up")
        b.ip("-6", "addr", "replace", f"{host_address('b', V6)}/64", "dev", "eth0", "nodad")
        for version in (V4, V6):
            prefix, _ = behind(version)
            edge.ip(f"-{version}", "route", "replace", prefix, "via", host_address("b", version))
            wait_until(lambda v=version: managed(edge, host_address("b", v), "b0"), "managed again", 10)
            wait_until(lambda v=version: entry(edge, host_address("b", v), "b0")["state"] == "REACHABLE",
                       "resolved", 10)
            router.wait_route(prefix, outcome="forward")


def failed_and_back(lab, probe, version, mac):
    edge, router, b = lab.edge, lab.router, lab.netns["b"]
    address, (prefix, inside) = host_address("b", version), behind(version)
    own = f"{address}/{24 if version == V4 else 64}"
    b.ip("addr", "del", own, "dev", "eth0")
    try:
        neigh(lab, version, "change", "nud", "failed")
        router.wait_route(prefix, 1, outcome="punt", reason="punt_no_neighbour")
        router.wait_no_route(f"{address}/{32 if version == V4 else 128}", 1)
        with f.Capture(b, "eth0") as capture:
            probe.send(inside, 0.3)
            left = [x for x in capture.frames(0.1) if probe.sent[-16:] in x]
        expect(not left, "a packet left for a neighbour that has failed")
        wait_until(lambda: managed(edge, address, "b0"), "the gateway is asked for again", 10)
    finally:
        b.ip("addr", "add", own, "dev", "eth0", *(["nodad"] if version == V6 else []))
        b.ip(f"-{version}", "route", "replace", "default", "via", edge_address("b", version))
    # The kernel tries a managed one again every 5 s; a packet would make it try at once.
    wait_until(lambda: entry(edge, address, "b0")["state"] == "REACHABLE", "the kernel has it again", 15)
    both_follow("came back", lab, probe, version, mac)


def ending_cases(cases, lab):
    edge, router = lab.edge, lab.router
    prefix, _ = behind(V4)
    with cases.case("killed, and its gateway no longer one: the next daemon gives the entry back"):
        router.signal(signal.SIGKILL)
        router.process.wait()
        expect(managed(edge, host_address("b"), "b0"), "b was not managed")
        edge.ip("route", "del", prefix)
        router.start()
        wait_until(lambda: not managed(edge, host_address("b"), "b0"), "b is given back", 5)
        wait_until(lambda: not managed(edge, host_address("c"), "c0"), "c, which is idle, is given back", 5)
        wait_care(router, host_address("b", V6), "managed")
        expect(managed(edge, host_address("b", V6), "b0"), "the IPv6 gateway is not managed")
    with cases.case("SIGTERM: every entry is given back, and resolved as it was"):
        edge.ip("route", "add", prefix, "via", host_address("b"))
        wait_until(lambda: managed(edge, host_address("b"), "b0"), "b is managed", 5)
        row = router.show("sync")[0]
        expect(row["neighbor_requests"] > 0 and row["neighbor_requests_refused"] == 0, f"{row}")
        router.stop()
        expect(not all_managed(edge), f"still kept: {all_managed(edge)}")
        for version in (V4, V6):
            state = entry(edge, host_address("b", version), "b0")["state"]
            expect(state in ("REACHABLE", "STALE", "DELAY"), f"the gateway is {state}")


def main():
    cases = Cases("netns.neighbours")
    with StarLab(build_dir()) as lab:
        lab.start().start_router()
        lab.resolve("a", "b", "c")
        with Probe(lab) as probe:
            care_cases(cases, lab, probe)
            change_cases(cases, lab, probe)
        ending_cases(cases, lab)
    return cases.finish()


if __name__ == "__main__":
    sys.exit(main())
