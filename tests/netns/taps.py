# SPDX-License-Identifier: BSD-3-Clause
"""The TAPs, the way of punted packets into the kernel: their own MAC, whole frames, and what others do to them."""

import shutil
import socket
import sys
import time

from lab.cases import Cases, Skip, build_dir, expect
from lab.netns import run, wait_until
from lab.star import Probe, StarLab, edge_address, host_address
from lab.traffic import ping

NO_ROUTE = {4: "10.250.0.1", 6: "2001:db8:250::1"}
REPAIRED = 1.0  # s
PACKET_HOST = 0


def punts(lab, size=56):
    """The edge answers what host c sends to nowhere: only a punted packet gets there.

    IPv6, since the kernel limits such answers over IPv4 whatever icmp_ratelimit says."""
    text = ping(lab.netns["c"], NO_ROUTE[6], 1, size=size, wait=0.3)["text"]
    return "No route" in text and edge_address("c", 6) in text


def state(lab, port="c0"):
    return next(r for r in lab.router.ask("ports") if r["port"] == port)


def repaired(cases, lab):
    edge = lab.edge
    box = lab.netns["d"].name
    breaks = [
        ("set down", lambda: edge.ip("link", "set", "mr-c0", "down")),
        ("deleted", lambda: edge.ip("link", "del", "mr-c0")),
        ("its ingress qdisc deleted", lambda: edge.run("tc", "qdisc", "del", "dev", "mr-c0", "ingress")),
        ("its filter deleted", lambda: edge.run("tc", "filter", "del", "dev", "mr-c0", "ingress")),
        ("moved to another namespace", lambda: edge.ip("link", "set", "mr-c0", "netns", box)),
    ]
    for title, break_it in breaks:
        with cases.case(f"TAP {title}: punts arrive again within {REPAIRED:g} s"):
            wait_until(lambda: punts(lab), "punts arrive before", 3)
            before = edge.link("mr-c0")["ifindex"]
            break_it()
            broken = time.monotonic()

            def repaired_now(before=before, title=title):
                # The log has a line a minute for each kind of fault; the device itself tells of each repair.
                now = [link for link in edge.ip_json("link", "show") if link["ifname"] == "mr-c0"]
                return now and "UP" in now[0]["flags"] and (title == "set down" or now[0]["ifindex"] != before)
            wait_until(repaired_now, "the daemon repairs it", REPAIRED, 0.01)
            wait_until(lambda: punts(lab), "punts arrive", REPAIRED)
            expect(time.monotonic() - broken < REPAIRED + 0.35, "it took longer")  # a ping's own time
            expect(state(lab)["state"] == "served", f"{state(lab)}")
    with cases.case("TAP with a lower MTU: frames of the port's MTU arrive all the same"):
        edge.ip("link", "set", "mr-c0", "mtu", 100)
        try:
            expect(punts(lab, 1400), "no answer")
        finally:
            edge.ip("link", "set", "mr-c0", "mtu", 1500)


def set_down_for_ever(cases, lab):
    """Somebody who sets a TAP down each time it is up: no war, and no flood of lines."""
    edge = lab.edge
    with cases.case("TAP set down again and again: the log says so once, and the port is the kernel's meanwhile"):
        said = lab.router.log_path.read_text().count("it was set up again")
        index = edge.link("mr-b0")["ifindex"]
        left = False
        end = time.monotonic() + 8
        while time.monotonic() < end:
            if "UP" in edge.link("mr-b0")["flags"]:
                edge.ip("link", "set", "mr-b0", "down")
            left = left or state(lab, "b0")["state"] == "kernel"
            time.sleep(0.02)
        count = lab.router.log_path.read_text().count("it was set up again") - said
        expect(count <= 1, f"said {count} times")
        expect(edge.link("mr-b0")["ifindex"] == index, "it was made anew")
        expect(left, "b0 was never left to the kernel")
        wait_until(lambda: state(lab, "b0")["state"] == "served", "b0 is served again", 20)


def not_repaired(cases, lab):
    edge = lab.edge
    with cases.case("TAP that can't be made again: the port is the kernel's and says so, and comes back"):
        edge.ip("link", "set", "mr-c0", "down")
        edge.ip("link", "set", "mr-c0", "name", "taken")  # still the way of punts, whatever its name
        edge.ip("link", "add", "mr-c0", "type", "veth", "peer", "name", "taken2")
        edge.ip("link", "del", "taken", check=False)  # made anew it may be already
        wait_until(lambda: state(lab)["state"] == "kernel", "c0 is left to the kernel", REPAIRED)
        expect("TAP mr-c0" in state(lab)["reason"], state(lab)["reason"])
        time.sleep(1)
        said = [l for l in lab.router.log_path.read_text().splitlines() if "port c0: its TAP" in l and "kernel" in l]
        expect(len(said) == 1, f"said {len(said)} times")
        expect(punts(lab), "the kernel does not answer")
        edge.ip("link", "del", "mr-c0")
        wait_until(lambda: state(lab)["state"] == "served", "c0 is served again", REPAIRED)
        wait_until(lambda: punts(lab), "punts arrive", REPAIRED)


def own_mac(cases, lab):
    edge = lab.edge
    with cases.case("TAPs have MACs of their own, locally administered, the same after a restart"):
        macs = {p: edge.mac(f"mr-{p}") for p in lab.ports}
        expect(len({*macs.values(), *(edge.mac(p) for p in lab.ports)}) == 2 * len(lab.ports), f"{macs}")
        expect(all(int(m[:2], 16) & 3 == 2 for m in macs.values()), f"{macs}")
        lab.router.stop()
        lab.router.start()
        lab.resolve("a", "b", "c")
        expect({p: edge.mac(f"mr-{p}") for p in lab.ports} == macs, "others after a restart")
    for promisc in ("off", "on"):
        with cases.case(f"punted frames arrive as they were sent, for this host (promiscuous {promisc})"):
            for device in ("a0", "mr-a0"):
                edge.ip("link", "set", device, "promisc", promisc)
            for version in (4, 6):
                arrives(lab, version)
    with cases.case("a port that changes its MAC address: punted frames arrive"):
        edge.ip("link", "set", "a0", "address", "02:00:00:00:99:01")
        for version in (4, 6):
            wait_until(lambda v=version: ping(lab.netns["a"], host_address("b", v), 1)["received"] == 1,
                       "a learns the new address", 10)
            wait_until(lambda v=version: arrives(lab, v, check=False), "a punted frame arrives", 5)


# In namespaces of its own: what udev makes of two TAPs with the installed files, and only of the first as ours.
UDEV = """set -e
mount -t sysfs sysfs /sys
mkdir -p /run/udev /run/systemd
mount -t tmpfs tmpfs /run/udev
mount -t tmpfs tmpfs /run/systemd
mkdir /run/udev/rules.d /run/systemd/network
cp "$1"/lib/udev/rules.d/* /run/udev/rules.d
cp "$1"/lib/systemd/network/* /run/systemd/network
ip tuntap add "$2" mode tap
udevadm test --action=add "/sys/class/net/$2"
"""


def managers(cases, lab):
    with cases.case("what is installed keeps udev, networkd and NetworkManager away from TAPs, and from TAPs only"):
        if not shutil.which("udevadm"):
            raise Skip("no udevadm")
        tree = lab.dir / "installed"
        run(["cmake", "--install", lab.build, "--prefix", tree])
        said = {}
        for device in ("mr-test", "xx-test"):
            done = run(["unshare", "-n", "-m", "sh", "-c", UDEV, "sh", tree, device], check=False)
            said[device] = set((done.stdout + done.stderr).splitlines())
        ours, others = said["mr-test"], said["xx-test"]
        for line in ("NM_UNMANAGED=1", "SYSTEMD_READY=0",
                     "ID_NET_LINK_FILE=/run/systemd/network/10-millrace-tap.link", "ID_NET_NAME=mr-test"):
            expect(line in ours, f"udev does not say {line}: {sorted(ours)[-20:]}")
        expect(not any(l.startswith("SYSTEMD_ALIAS") for l in ours), "it has an alias")
        expect("ID_NET_NAME=xx-test" in others, f"udev was not asked: {sorted(others)[-20:]}")
        expect(not {"NM_UNMANAGED=1", "SYSTEMD_READY=0"} & others, "others' TAPs are taken for ours")
        network = (tree / "lib/systemd/network/10-millrace-tap.network").read_text()
        expect("Name=mr-*" in network and "Unmanaged=yes" in network, network)


def arrives(lab, version, check=True):
    """A frame without a route comes in on a0, once, whole and as for this host; and is answered."""
    with Probe(lab) as probe, lab.edge.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3)) as port:
        port.bind(("a0", 0))
        port.setblocking(False)
        before = lab.router.settled_counters()["punt_no_route"]
        outcome, _ = probe.send(NO_ROUTE[version])
        seen = []
        try:
            while True:
                frame, address = port.recvfrom(4096)
                if frame[:len(probe.sent)] == probe.sent:
                    seen.append(address[2])
        except BlockingIOError:
            pass
        punted = lab.router.settled_counters()["punt_no_route"] - before
    good = outcome == "icmp" and seen == [PACKET_HOST] and punted == 1
    expect(good or not check, f"IPv{version}: outcome {outcome}, packet types {seen}, punted {punted}")
    return good


def main():
    cases = Cases("netns.taps")
    with StarLab(build_dir()) as lab:
        lab.start().start_router()
        lab.resolve("a", "b", "c")
        own_mac(cases, lab)
        managers(cases, lab)
        repaired(cases, lab)
        not_repaired(cases, lab)
        set_down_for_ever(cases, lab)
    return cases.finish()


if __name__ == "__main__":
    sys.exit(main())
