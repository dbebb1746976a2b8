# SPDX-License-Identifier: BSD-3-Clause
"""VLAN tags that are not in the frame when the classifier sees it: a tagged frame never passes for an untagged one."""

import struct
import sys

from lab import frames as f
from lab.cases import Cases, Skip, build_dir, expect
from lab.keeping import Bench
from lab.netns import wait_until
from lab.router import VETH_TELLS_TAGS
from lab.star import Probe, StarLab, host_address
from lab.tagging import tagged

V4, V6 = 4, 6
ADDRESS = {V4: "10.100.1.9", V6: "2001:db8:101::9"}
OFFLOADS = ("rx-vlan-offload", "rx-vlan-stag-hw-parse")
UNSEEN = 'VLAN tags can\'t be seen here; vlan_tags = "none" if its link carries none'


def verdicts(bench, send):
    """(what send() returned, classifier's counters that moved)."""
    before = bench.router.steering()
    result = send()
    after = bench.router.steering()
    return result, {r: n - before.get(r, 0) for r, n in after.items() if n != before.get(r, 0)}


def nobodys(bench, v, reason):
    """This kernel has no VLAN devices: a tagged frame is for nobody, and nothing of it may come out."""
    _, moved = verdicts(bench, lambda: bench.lost(ADDRESS[v]))
    # A host that asks for its neighbours is tagged as well.
    expect(moved.get(reason, 0) >= 1 and "redirect" not in moved, f"the classifier counted {moved}")


def offloads(lab, port="a0"):
    text = lab.edge.run("ethtool", "-k", port).stdout
    return {line.split(":")[0]: line.split()[1] for line in text.splitlines() if line.split(":")[0] in OFFLOADS}


def in_native_mode(cases, lab, bench):
    host = lab.netns["a"]
    with cases.case("native mode: the classifier sees tags, and nothing is switched off or kept"):
        expect(offloads(lab) == dict.fromkeys(OFFLOADS, "on"), f"{offloads(lab)}")
        expect(not bench.rows("vlan_tags"), f"{bench.rows('vlan_tags')}")
    for v in (V4, V6):
        with cases.case(f"a tag beside the frame: VLAN 10 is not routed as untagged, IPv{v}"):
            for parse in ("on", "off"):
                lab.edge.run("ethtool", "-K", "a0", "rxvlan", parse)
                with tagged(lab, host, "eth0", 10):
                    nobodys(bench, v, "vlan_tag")
            bench.fast(ADDRESS[v])
        with cases.case(f"802.1ad, and VLAN 4095 with a priority, IPv{v}"):
            for tag, protocol in ((10, 0x88A8), (0xEFFF, 0x8100)):
                with tagged(lab, host, "eth0", tag, protocol):
                    nobodys(bench, v, "vlan_tag")
        with cases.case(f"a priority without a VLAN is the kernel's to route, IPv{v}"):
            with tagged(lab, host, "eth0", 0xE000):
                _, moved = verdicts(bench, lambda v=v: bench.by_kernel(ADDRESS[v]))
                expect(moved.get("vlan_tag", 0) >= 1, f"{moved}")
        with cases.case(f"the same tag in the frame, IPv{v}"):
            with tagged(lab, host, "eth0", 10, offload=False):
                nobodys(bench, v, "not_ip")
            kind, packet = f.packet(host_address("a", v), ADDRESS[v], f.UDP, bytes(8))
            frame = f.ethernet(bench.probe.in_mac, bench.probe.a_mac, 0x8100, struct.pack("!HH", 10, kind) + packet)
            _, moved = verdicts(bench, lambda frame=frame: bench.probe.sender.send(frame))
            wait_until(lambda: moved or verdicts(bench, lambda: None), "it is counted", 1)
            bench.fast(ADDRESS[v])


def in_generic_mode(cases, lab, bench):
    r, host = lab.router, lab.netns["a"]
    ports = [(p, "all", UNSEEN) for p in r.ports]
    with cases.case("generic mode: what can't be seen is kept, and the row says the remedy"):
        expect(sorted(bench.rows("vlan_tags")) == ports, f"{bench.rows('vlan_tags')}")
        for v in (V4, V6):
            bench.by_kernel(ADDRESS[v])
            with tagged(lab, host, "eth0", 10):
                bench.lost(ADDRESS[v])
    with cases.case("attaching switches the driver's offloads off where the classifier is blind"):
        expect(offloads(lab) == dict.fromkeys(OFFLOADS, "off"), f"{offloads(lab)}")
    with cases.case("--check says it, too"):
        said = r.netns.run(r.daemon_bin, "--check", "--config", r.config_path)
        expect(f"port a0: its transit will be left to the kernel: {UNSEEN}" in said.stderr, said.stderr)


def main():
    cases = Cases("netns.vlan_tags")
    with StarLab(build_dir()) as lab:
        lab.start()
        for v, prefix in ((V4, "10.100.1.0/24"), (V6, "2001:db8:101::/48")):
            lab.edge.ip(f"-{v}", "route", "add", prefix, "via", host_address("b", v))
        lab.start_router()
        lab.resolve("a", "b")
        with Probe(lab) as probe:
            bench = Bench(lab, probe)
            if VETH_TELLS_TAGS:
                in_native_mode(cases, lab, bench)
            else:
                with cases.case("native mode"):
                    raise Skip("before Linux 6.8 a veth doesn't tell which tag is beside the frame")
            r = lab.router
            r.stop()
            r.detach()
            for port in r.ports:
                lab.edge.run("ethtool", "-K", port, "rxvlan", "on")
            r.steer("attach", *r.ports, "--mode", "generic")
            r.write_config(vlan_tags="auto")
            r.start()
            lab.resolve("a", "b")
            in_generic_mode(cases, lab, bench)
            r.stop()
            with cases.case("the operator says that there are none"):
                r.write_config(vlan_tags="none")
                r.start()
                lab.resolve("a", "b")
                expect(not bench.rows("vlan_tags"), f"{bench.rows('vlan_tags')}")
                for v in (V4, V6):
                    bench.fast(ADDRESS[v])
            r.stop()
            with cases.case("detaching switches on what attaching has switched off, and nothing else"):
                lab.edge.run("ethtool", "-K", "b0", "rxvlan", "off")
                r.detach()
                expect(offloads(lab) == dict.fromkeys(OFFLOADS, "on"), f"{offloads(lab)}")
                lab.edge.run("ethtool", "-K", "a0", "rxvlan", "off")
                r.steer("attach", "a0", "--mode", "generic")
                r.steer("detach", "a0")
                expect(offloads(lab) == {OFFLOADS[0]: "off", OFFLOADS[1]: "on"}, f"{offloads(lab)}")
    return cases.finish()


if __name__ == "__main__":
    sys.exit(main())
