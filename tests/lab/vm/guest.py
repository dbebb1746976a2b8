# SPDX-License-Identifier: BSD-3-Clause
"""A guest: QEMU without KVM in a network namespace of its own, its NICs' other ends where the caller wants them."""

import contextlib
import dataclasses
import fcntl
import json
import os
import shlex
import socket
import struct
import subprocess
import time

from ..cases import Skip
from ..netns import CommandError, run, wait_until
from ..stopping import end
from . import image

TUNSETIFF, IFF_TAP, IFF_NO_PI = 0x400454CA, 0x0002, 0x1000
BOOT = 300  # s, on a machine that is busy; half a minute on one that isn't
PORT = 2222


@dataclasses.dataclass(frozen=True)
class Nic:
    """name: in the guest. model: QEMU's. zero_copy: as millrace.toml has it. options: of the device."""
    name: str
    model: str
    zero_copy: str = "auto"
    options: str = ""

    def mac(self, number):
        return f"52:54:00:00:00:{number + 1:02x}"


def link_files(nics):
    """The guest's own files: names by MAC address, one receive queue each, and networkd for the way in alone."""
    files = {"etc/hostname": "edge\n", "etc/fstab": "/dev/vda / ext4 defaults 0 1\n",
             "etc/systemd/system.conf.d/slow.conf": "[Manager]\nDefaultDeviceTimeoutSec=300\n",
             "etc/ssh/sshd_config.d/guest.conf": "PermitRootLogin yes\nUseDNS no\nUsePAM no\n",
             "root/.ssh/authorized_keys": image.key().with_suffix(".pub").read_text(),
             "etc/systemd/network/10-mgmt.link": f"[Match]\nPermanentMACAddress={image.MANAGEMENT}\n[Link]\nName=mgmt\n",
             "etc/systemd/network/10-mgmt.network":
                 f"[Match]\nName=mgmt\n[Network]\nAddress={image.GUEST}/24\nLinkLocalAddressing=no\n"}
    for number, nic in enumerate(nics):
        files[f"etc/systemd/network/10-{nic.name}.link"] = \
            f"[Match]\nPermanentMACAddress={nic.mac(number)}\n[Link]\nName={nic.name}\nCombinedChannels=1\n"
    return files


class Guest:
    """netns: QEMU's. ends: [(Netns, device)], where each NIC's wire ends: a TAP that is made there."""

    def __init__(self, netns, folder, qemu, kernel, disk, nics, ends, cpus=2, memory=1024):
        self.netns, self.dir, self.nics = netns, folder, nics
        self.qemu, self.kernel, self.disk, self.cpus, self.memory = qemu, kernel, disk, cpus, memory
        self.taps = [host.inside(lambda device=device: _tap(device)) for host, device in ends]
        self.process = None

    def argv(self):
        argv = [*self.qemu, "-nodefaults", "-display", "none", "-machine", "q35", "-accel", "tcg,thread=multi", "-cpu", "max",
                "-smp", self.cpus, "-m", self.memory, "-kernel", self.kernel.image, "-initrd", self.kernel.initrd,
                "-append", "root=/dev/vda rw console=ttyS0 panic=-1 mitigations=off",
                "-serial", f"file:{self.dir}/console", "-qmp", f"unix:{self.dir}/qmp,server=on,wait=off",
                "-drive", f"file={self.disk},format=raw,if=virtio,cache=unsafe,snapshot=on", "-device", "virtio-rng-pci",
                "-netdev", f"user,id=mgmt,net=192.168.76.0/24,hostfwd=tcp:127.0.0.1:{PORT}-{image.GUEST}:22",
                "-device", f"virtio-net-pci,netdev=mgmt,mac={image.MANAGEMENT},romfile="]
        for number, (nic, tap) in enumerate(zip(self.nics, self.taps)):
            # A root port each: two igb on one bus collide, for the slots of their virtual functions.
            argv += ["-netdev", f"tap,id={nic.name},fd={tap}",
                     "-device", f"pcie-root-port,id=port-{nic.name},chassis={number + 1}",
                     "-device", f"{nic.model},id=nic-{nic.name},netdev={nic.name},mac={nic.mac(number)},bus=port-{nic.name},romfile="
                     f"{nic.options}"]
        return [str(word) for word in argv]

    def start(self):
        """Boots it; returns how long that took."""
        begin = time.monotonic()
        with open(self.dir / "qemu.log", "ab") as log:
            self.process = self.netns.popen(*self.argv(), stdout=log, stderr=log, pass_fds=self.taps)
        self.wait_up()
        return time.monotonic() - begin

    def wait_up(self, not_boot=""):
        """Until all units are up, of another boot than that."""
        def up():
            if self.process.poll() is not None:
                raise CommandError(f"QEMU has ended: {(self.dir / 'qemu.log').read_text()[-500:]}")
            try:
                done = self.run("cat /proc/sys/kernel/random/boot_id; systemctl is-system-running", check=False, timeout=20)
            except subprocess.TimeoutExpired:
                return None
            words = done.stdout.split()
            return words if len(words) == 2 and words[0] != not_boot and words[1] in ("running", "degraded") else None
        try:
            boot, state = wait_until(up, "the guest is up", BOOT, 1)
        except TimeoutError as error:
            if not_boot:
                raise
            raise Skip(f"{error}; its console: {self.console()[-300:]}") from error
        if state == "degraded":
            raise CommandError(f"units failed: {self.run('systemctl --failed --no-legend').stdout}")
        return boot

    def reboot(self):
        boot = self.run("cat /proc/sys/kernel/random/boot_id").stdout.strip()
        self.run("systemctl reboot", check=False, timeout=30)
        begin = time.monotonic()
        self._end_ssh()
        self.wait_up(boot)
        return time.monotonic() - begin

    def console(self):
        return (self.dir / "console").read_text(errors="replace")

    def ssh(self):
        return ["ssh", "-q", "-i", str(image.key()), "-p", str(PORT), "-o", "StrictHostKeyChecking=no", "-o",
                "UserKnownHostsFile=/dev/null", "-o", "ConnectTimeout=10", "-o", "ControlMaster=auto", "-o",
                f"ControlPath={self.dir}/ssh", "-o", "ControlPersist=600", "root@127.0.0.1"]

    def run(self, *command, **kwargs):
        """In the guest: one text for its shell, or words."""
        text = command[0] if len(command) == 1 else shlex.join(map(str, command))
        check = kwargs.pop("check", True)
        done = run(self.netns.argv(*self.ssh(), text), check=False, timeout=kwargs.pop("timeout", 120), **kwargs)
        if check and done.returncode != 0:
            raise CommandError(f"in the guest: {text}: exit code {done.returncode}: {done.stderr.strip() or done.stdout.strip()}")
        return done

    def popen(self, text, **kwargs):
        return self.netns.popen(*self.ssh(), text, **kwargs)

    def put(self, text, path):
        with open(self.dir / "put", "w+", encoding="utf-8") as file:
            file.write(text)
            file.seek(0)
            self.run(f"mkdir -p $(dirname {path}) && cat > {path}", stdin=file)

    def put_file(self, source, path):
        with open(source, "rb") as file:
            self.run(f"cat > {path}", stdin=file)

    def qmp(self, execute, **arguments):
        """https://www.qemu.org/docs/master/interop/qemu-qmp-ref.html"""
        with socket.socket(socket.AF_UNIX) as s:
            s.settimeout(30)
            s.connect(str(self.dir / "qmp"))
            with s.makefile("rw") as file:
                file.readline()
                for command in ({"execute": "qmp_capabilities"}, {"execute": execute, "arguments": arguments}):
                    file.write(json.dumps(command) + "\n")
                    file.flush()
                    answer = {}
                    while "return" not in answer and "error" not in answer:  # events come in between
                        answer = json.loads(file.readline())
        if "error" in answer:
            raise CommandError(f"QEMU, {execute}: {answer['error'].get('desc')}")
        return answer["return"]

    def carrier(self, nic, up):
        self.qmp("set_link", name=f"nic-{nic}", up=up)

    def _end_ssh(self):
        run(self.netns.argv(*self.ssh()[:-1], "-O", "exit", "root@127.0.0.1"), check=False)

    def stop(self):
        if self.process is not None and self.process.poll() is None:
            self._end_ssh()
            end(self.process)
        for tap in self.taps:
            with contextlib.suppress(OSError):
                os.close(tap)
        self.taps = []


def _tap(device):
    """A descriptor of a new TAP, in the namespace of the calling thread; frames as they are on a wire."""
    fd = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(fd, TUNSETIFF, struct.pack("16sH22x", device.encode(), IFF_TAP | IFF_NO_PI))
    return fd
