# SPDX-License-Identifier: BSD-3-Clause
"""Hosts a, b and c at the NICs of a guest that routes between them, and what its millrace says."""

import json

from .. import frames as f
from ..base import Lab
from ..exactness import cases, check
from ..netns import CommandError, wait_until
from ..star import edge_address, host_address
from . import image
from .guest import Guest, link_files

HOSTS = "abc"
CONFIG = "/etc/millrace/millrace.toml"


class VmLab(Lab):
    def __init__(self, setup, debian, needs):
        """needs: what the package depends on."""
        super().__init__()
        self.nics, self.kernel, self.zero_copy = setup.nics, setup.kernel, setup.zero_copy
        self.debian, self.needs = debian, needs
        self.guest = None

    def start(self):
        super().start()
        qemu, kernel = image.emulator(), image.kernel(self.kernel)
        disk = image.disk(image.userland(self.debian, self.needs), kernel, link_files(self.nics) | self._networks())
        vm = self.add_netns("vm")
        ends = [(self.add_netns(host), "eth0") for host in HOSTS]
        self.guest = Guest(vm, self.dir, qemu, kernel, disk, self.nics, ends)
        self.on_close(self.guest.stop)
        for host in HOSTS:
            self._address(host)
        return self

    def _networks(self):
        """The guest's addresses, by networkd."""
        files = {}
        for nic, host in zip(self.nics, HOSTS):
            files[f"etc/systemd/network/20-{nic.name}.network"] = \
                f"[Match]\nName={nic.name}\n[Network]\nAddress={edge_address(host)}/24\nAddress={edge_address(host, 6)}/64\n" \
                "LinkLocalAddressing=ipv6\nIPv6AcceptRA=no\nConfigureWithoutCarrier=yes\n"
        return files

    def _address(self, host):
        ns = self.netns[host]
        ns.ip("link", "set", "eth0", "address", f"02:00:00:00:00:{ord(host):02x}", "up")
        ns.ip("addr", "add", f"{host_address(host)}/24", "dev", "eth0")
        ns.ip("addr", "add", f"{host_address(host, 6)}/64", "dev", "eth0", "nodad")
        ns.ip("route", "add", "default", "via", edge_address(host))
        ns.ip("-6", "route", "add", "default", "via", edge_address(host, 6))

    def nic(self, host):
        return self.nics[HOSTS.index(host)]

    # What millrace says.

    def show(self, what):
        return json.loads(self.guest.run(f"millrace show {what} --json").stdout)

    def ports(self):
        """{port: its row}; empty while the daemon starts."""
        try:
            return {row["port"]: row for row in self.show("ports")}
        except (CommandError, ValueError):
            return {}

    def served(self, seconds=60):
        names = {nic.name for nic in self.nics}

        def all_served():
            ports = self.ports()
            return ports if {n for n, row in ports.items() if row["state"] == "served"} == names else None
        return wait_until(all_served, "all ports are served", seconds, 0.5)

    def forwarded(self):
        return sum(row["packets"] for row in self.show("counters") if row["reason"] == "forwarded")

    # Traffic.

    def answers(self, host, seconds=30):
        """The guest itself, to that host, in both families: neighbours are resolved then."""
        for version in (4, 6):
            wait_until(lambda v=version: self.netns[host].run(
                "ping", f"-{v}", "-n", "-c", 1, "-W", 1, edge_address(host, v), check=False).returncode == 0,
                f"the guest answers {host} by IPv{version}", seconds, 0.1)

    def ways(self):
        return [(a, b) for a in HOSTS for b in HOSTS if a != b]

    def exact(self, ways=None, every=1):
        """Frames of all kinds that the fast path forwards, each compared whole; returns how many came right.

        every: of the kinds, one in so many."""
        right = 0
        for source, target in ways or self.ways():
            for host in (source, target):
                self.answers(host)
            with f.Sender(self.netns[source], "eth0") as sender, f.Capture(self.netns[target], "eth0") as capture:
                way = (sender, capture, self.netns[source].mac("eth0"), self.mac(source), self.mac(target),
                       self.netns[target].mac("eth0"))
                for version in (4, 6):
                    for case in cases(host_address(source, version), host_address(target, version))[::every]:
                        wrong = check(way, case)
                        if wrong:
                            raise AssertionError(f"{source} to {target}, {case.name}, IPv{version}: {wrong}")
                        right += 1
        return right

    def mac(self, host):
        return self.guest.run(f"cat /sys/class/net/{self.nic(host).name}/address").stdout.strip()

    def exact_and_fast(self, ways=None, every=4, seconds=20):
        """As exact(), and all by the fast path, once it takes the first of them."""
        def fast():
            before = self.forwarded()
            self.exact(ways, 100)
            return self.forwarded() > before
        wait_until(fast, "the fast path forwards", seconds, 0.2)
        before = self.forwarded()
        count = self.exact(ways, every)
        moved = self.forwarded() - before
        if moved < count:
            raise AssertionError(f"{count} frames came right, {moved} of them by the fast path")
        return count
