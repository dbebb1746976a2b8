# SPDX-License-Identifier: BSD-3-Clause
"""What is tried in a guest, in this order. Nothing here measures a rate: without KVM they mean nothing."""

import struct
import threading
import time

from .. import frames as f
from ..cases import Skip, expect
from ..netns import CommandError, wait_until
from ..star import edge_address, host_address
from .lab import CONFIG

BURST = 8000  # frames; an RX ring has 2,048
PINGS = 40


def units(lab):
    return ["millraced.service", *(f"millrace-steer@{nic.name}.service" for nic in lab.nics)]


def attached(lab):
    said = lab.guest.run("ip -d link").stdout
    return said.count("prog/xdp")


def install(cases, lab, deb):
    guest = lab.guest
    with cases.case("apt installs the package, as README says; nothing is attached, nothing forwards"):
        guest.put_file(deb, f"/root/{deb.name}")
        guest.run(f"cd /root && DEBIAN_FRONTEND=noninteractive apt-get install -y ./{deb.name}", timeout=300)
        state = guest.run("systemctl is-active millraced.service; sysctl -n net.ipv4.ip_forward", check=False).stdout.split()
        expect(state == ["inactive", "0"] and not attached(lab), f"{state}, {attached(lab)} classifiers")
    with cases.case("configured and enabled: all ports are served"):
        ports = "".join(f'[[port]]\nname = "{nic.name}"\nqueues = 1\nzero_copy = "{nic.zero_copy}"\n\n'
                        for nic in lab.nics)
        guest.put(f"{ports}[workers]\ncores = [1]\n", CONFIG)
        guest.run("cp /usr/share/doc/millrace/examples/60-millrace.conf /etc/sysctl.d/ && sysctl -q --system")
        try:
            guest.run(f"systemctl enable --now {' '.join(units(lab)[1:])} && systemctl enable --now millraced", timeout=300)
            lab.served(120)
        except (CommandError, TimeoutError) as error:
            said = guest.run("journalctl -b --no-pager -o cat -u millraced -u 'millrace-steer@*' | tail -20; dmesg | tail -5").stdout
            raise AssertionError(f"{error}\n{said}") from error


def modes(cases, lab):
    wanted = "zero-copy" if lab.zero_copy else "copy"
    for nic in lab.nics:
        with cases.case(f"{nic.name} ({nic.model}), zero_copy = \"{nic.zero_copy}\": its sockets are {wanted}"):
            row = lab.ports()[nic.name]
            expect(row["xsk_mode"] == wanted, f"show ports says {row}")


def generic(cases, lab):
    """In generic mode igb grants a zero-copy socket, and never looks at it."""
    guest, nic = lab.guest, lab.nics[0]

    def attach(mode):
        guest.run(f"systemctl stop millraced; millrace-steer detach {nic.name}; millrace-steer attach --mode {mode} {nic.name}; "
                  "systemctl start millraced")
        lab.served()
    with cases.case(f"{nic.name} with the classifier in generic mode: copy, exact"):
        attach("generic")
        expect(lab.ports()[nic.name]["xsk_mode"] == "copy", f"show ports says {lab.ports()[nic.name]}")
        lab.exact_and_fast([("a", "b"), ("b", "a")])
        attach("native")


def exact(cases, lab):
    for source, target in lab.ways():
        with cases.case(f"{source} to {target}: frames of all kinds come out right to the byte, by the fast path"):
            print(f"    {lab.exact_and_fast([(source, target)], 1)} frames")


def deaths(cases, lab):
    guest = lab.guest
    with cases.case("kill -9: the kernel forwards on, systemd starts it again"):
        pid = guest.run("pidof millraced").stdout.strip()
        guest.run(f"kill -9 {pid}")
        lab.exact([("a", "b")], 4)
        wait_until(lambda: guest.run("pidof millraced", check=False).stdout.strip() not in ("", pid), "another one runs", 60, 0.5)
        lab.served()
        lab.exact_and_fast()
    with cases.case("a burst while the daemon stands still: the guest answers on that port, transit is the kernel's"):
        burst(lab)
    with cases.case("the watchdog has ended it, it serves again"):
        wait_until(lambda: "watchdog timeout" in guest.run("journalctl -b -u millraced --no-pager").stdout.lower(), "the log says so",
                   60, 1)
        lab.served(120)
        lab.exact_and_fast()


def burst(lab):
    """In zero-copy mode the NIC has no buffers but those of the ring: a worker that stops must leave it some."""
    guest, a = lab.guest, lab.netns["a"]
    lab.answers("a")
    src, dst = host_address("a"), host_address("b")
    kind, packet = f.packet(src, dst, f.UDP, f.udp(src, dst, 4000, 9, b"abcd"))
    frame = f.ethernet(lab.mac("a"), a.mac("eth0"), kind, packet)
    guest.run("kill -STOP $(pidof millraced)")
    a.ip("link", "set", "eth0", "txqueuelen", 10 * BURST)
    with f.Sender(a, "eth0") as sender:
        for _ in range(BURST):
            sender.send(frame)
    time.sleep(1)
    done = a.run("ping", "-n", "-c", PINGS, "-i", 0.1, "-W", 1, edge_address("a"), check=False, timeout=60).stdout
    received = int(done.split(" received")[0].split()[-1])
    lab.exact([("a", "b")], 8)
    # The first ones may wait behind the burst.
    expect(received >= PINGS - 5, f"{received} of {PINGS} pings were answered")


def nic_events(cases, lab):
    guest = lab.guest
    a, b = lab.nics[0].name, lab.nics[1].name
    mac = lab.mac("a")

    def carrier(name):
        guest.carrier(name, False)
        wait_until(lambda: "NO-CARRIER" in guest.run(f"ip link show {name}").stdout, "the carrier is lost", 20, 0.2)
        guest.carrier(name, True)
    events = [
        (f"carrier of {b} lost and back", lambda: carrier(b)),
        (f"{a} down and up", lambda: guest.run(f"ip link set {a} down; sleep 1; ip link set {a} up")),
        (f"ethtool -r {a}", lambda: guest.run(f"ethtool -r {a}")),
        (f"ethtool -G {a} rx 512 tx 512", lambda: guest.run(f"ethtool -G {a} rx 512 tx 512")),
        (f"ethtool -L {a} combined 2 and 1",
         lambda: guest.run(f"ethtool -L {a} combined 2 && sleep 2 && ethtool -L {a} combined 1")),
        (f"ethtool -K {a} rxvlan on and off",
         lambda: guest.run(f"ethtool -K {a} rxvlan on && sleep 1 && ethtool -K {a} rxvlan off")),
        (f"MTU of {a} 1400 and back", lambda: guest.run(f"ip link set {a} mtu 1400 && sleep 1 && ip link set {a} mtu 1500")),
        (f"{a} promiscuous, for tcpdump", lambda: guest.run(f"timeout 2 tcpdump -ni {a} -w /dev/null", check=False)),
        (f"MAC address of {a} changed and back", lambda: guest.run(f"ip link set {a} address 52:54:00:00:01:01 && sleep 2 && "
                                                                   f"ip link set {a} address {mac}")),
    ]
    for what, act in events:
        with cases.case(f"{what}: the fast path is back, exact"):
            try:
                act()
            except CommandError as error:
                if "not supported" not in str(error):
                    raise
                raise Skip(f"this driver can't: {error}") from error
            lab.served(60)
            again_addressed(lab)
            lab.exact_and_fast([("a", "b"), ("b", "a")])


def again_addressed(lab):
    """IPv6 addresses go with a link that is set down; networkd need not give them again."""
    for host in "ab":
        lab.guest.run(f"ip -6 addr replace {edge_address(host, 6)}/64 dev {lab.nic(host).name} nodad")


def comes_and_goes(cases, lab):
    guest, nic = lab.guest, lab.nics[0]
    with cases.case(f"the driver of {nic.name} unloaded and loaded: units and fast path are back"):
        module = guest.run(f"basename $(readlink -f /sys/class/net/{nic.name}/device/driver/module)").stdout.strip()
        guest.run(f"modprobe -r {module} && sleep 2 && modprobe {module}", timeout=200)
        lab.served(120)
        lab.exact_and_fast([("a", "b"), ("b", "c")])
    with cases.case(f"{nic.name} unplugged and plugged in again"):
        guest.qmp("device_del", id=f"nic-{nic.name}")
        wait_until(lambda: nic.name not in guest.run("ls /sys/class/net").stdout.split(), "it is gone", 60, 0.5)
        others = {n.name for n in lab.nics[1:]}
        wait_until(lambda: {n for n, row in lab.ports().items() if row["state"] == "served"} == others, "the others are served",
                   60, 0.5)
        lab.exact_and_fast([("b", "c")])
        guest.qmp("device_add", driver=nic.model, id=f"nic-{nic.name}", netdev=nic.name, mac=nic.mac(0),
                  bus=f"port-{nic.name}", romfile="")
        lab.served(120)
        lab.exact_and_fast([("a", "b"), ("b", "c")])


def reboot(cases, lab):
    with cases.case("reboot: units, classifiers and fast path are back by themselves"):
        took = lab.guest.reboot()
        lab.served(120)
        print(f"    up after {took:.0f} s")
        lab.exact_and_fast()


def restart_under_traffic(cases, lab):
    """Numbered frames, 200 a second. In zero-copy mode a driver sets its queue up anew for a socket that comes or goes."""
    most = 20 if lab.zero_copy else 0
    with cases.case(f"restart, stop and start of the daemon under traffic lose {most} frames of 200 a second at most"):
        lab.exact_and_fast([("a", "b")])
        seen, stop = set(), threading.Event()
        src, dst = host_address("a"), host_address("b")
        to, source = lab.mac("a"), lab.netns["a"].mac("eth0")
        with f.Sender(lab.netns["a"], "eth0") as sender, f.Capture(lab.netns["b"], "eth0") as capture:
            def hear():
                while not stop.is_set():
                    for frame in capture.frames(0.1):
                        if frame[12:14] == b"\x08\x00" and frame[23] == f.UDP and frame[34:36] == b"\x13\x88":
                            seen.add(struct.unpack("!I", frame[42:46])[0])
            thread = threading.Thread(target=hear)
            thread.start()
            try:
                change = lab.guest.popen("systemctl restart millraced; sleep 2; systemctl stop millraced; "
                                         "systemctl start millraced")
                sent = 0
                end = time.monotonic() + 3
                while time.monotonic() < end:
                    kind, packet = f.packet(src, dst, f.UDP, f.udp(src, dst, 5000, 9, struct.pack("!I", sent) + bytes(14)))
                    sender.send(f.ethernet(to, source, kind, packet))
                    sent += 1
                    if change.poll() is None:
                        end = time.monotonic() + 3
                    time.sleep(0.005)
                time.sleep(1)
            finally:
                stop.set()
                thread.join()
        print(f"    {sent} sent, {sent - len(seen)} lost")
        expect(sent - len(seen) <= most, f"{sent - len(seen)} of {sent} lost")
        lab.served()


def purge(cases, lab):
    with cases.case("purged: the classifiers are off, the kernel forwards"):
        lab.guest.run("DEBIAN_FRONTEND=noninteractive apt-get purge -y millrace", timeout=300)
        expect(not attached(lab), f"{attached(lab)} classifiers are left")
        lab.exact([("a", "b")], 4)
