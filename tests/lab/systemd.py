# SPDX-License-Identifier: BSD-3-Clause
"""systemd itself as the first process of namespaces of its own, in one network namespace of the lab: with nothing but the units
that a test gives it, a /run, an /etc and a bpf filesystem of its own, and the programs where the units look for them."""

import ctypes
import os
import pathlib
import re
import shutil
import signal
import subprocess

from .cases import Skip
from .netns import run, wait_until

SYSTEMD = pathlib.Path("/lib/systemd/systemd")
SOURCES = pathlib.Path(__file__).resolve().parents[2] / "systemd"
SBIN = pathlib.Path("/usr/local/sbin")
UNITS = ("millraced.service", "millrace-steer@.service")
RULES = pathlib.Path("/lib/udev/rules.d")
CGROUPS = pathlib.Path("/sys/fs/cgroup")
TARGETS = ("sysinit.target", "basic.target", "multi-user.target", "shutdown.target", "network-pre.target")

# In the new namespaces. What is not there is made; what is private vanishes with them.
INIT = r"""
set -e
mount --make-rprivate /
mount -t proc proc /proc
# What is mounted below a folder that something is mounted over would confuse systemd.
awk '$5 ~ "^/(run|sys|etc)/" {{ print $5 }}' /proc/self/mountinfo | sort -r | xargs -r umount -l
mount -t sysfs sysfs /sys
# Nobody else's: udev sets the modes of what is in it.
mkdir -p /mnt; mount -t tmpfs -o mode=755 tmpfs /mnt
cp -a /dev/null /dev/zero /dev/full /dev/random /dev/urandom /dev/tty /dev/kmsg /dev/net /dev/fd /dev/std* /mnt/
mkdir /mnt/shm /mnt/pts /mnt/mqueue /mnt/hugepages; ln -s pts/ptmx /mnt/ptmx
mount --bind /mnt /dev; umount -l /mnt
mount -t tmpfs tmpfs /dev/shm; mount -t devpts -o newinstance,ptmxmode=0666 devpts /dev/pts
mount -t tmpfs -o mode=755 tmpfs /mnt; mkdir /mnt/etc
cp -a {lab}/units /mnt/units; cp -a /etc/. /mnt/etc/
umount -l /run 2>/dev/null || true; mount -t tmpfs -o mode=755 tmpfs /run
mkdir -p /run/lab /run/systemd/system /run/udev; touch /run/udev/control  # or systemd expects no udev
cp -a /mnt/units /run/units
mount --bind /mnt/etc /etc; umount -l /mnt
rm -rf /etc/udev /etc/systemd; mkdir -p /etc/systemd/system
cp {rules}/99-systemd.rules /run/units/; mount -t tmpfs -o mode=755 tmpfs {rules}; cp /run/units/*.rules {rules}/
mkdir -p /etc/millrace; cp /run/units/millrace.toml /etc/millrace/
mkdir -p {sbin}; mount -t tmpfs -o mode=755 tmpfs {sbin}; cp {programs} {sbin}/
systemd-sysusers /run/units/millrace.sysusers.conf
mkdir -p /sys/fs/bpf; mount -t bpf -o nosuid,nodev,noexec,mode=700 bpf /sys/fs/bpf
{cgroups}
cd /
exec env -i container=lab SYSTEMD_UNIT_PATH=/etc/systemd/system:/run/units PATH=/usr/sbin:/usr/bin:/sbin:/bin {systemd} --system --log-target=console
"""
HYBRID = r"""
mount -t tmpfs -o mode=755 tmpfs /sys/fs/cgroup
mkdir /sys/fs/cgroup/systemd /sys/fs/cgroup/unified /sys/fs/cgroup/devices
mount -t cgroup -o none,name=systemd cgroup /sys/fs/cgroup/systemd
mount -t cgroup2 cgroup2 /sys/fs/cgroup/unified
mount -t cgroup -o devices cgroup /sys/fs/cgroup/devices || rmdir /sys/fs/cgroup/devices
"""
UNIFIED = "mount -t cgroup2 cgroup2 /sys/fs/cgroup\n"


def write_unit(name, folder):
    """As an installation below the root has it."""
    text = (SOURCES / f"{name}.in").read_text(encoding="utf-8").replace("@CMAKE_INSTALL_FULL_SBINDIR@", str(SBIN))
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


class Systemd:
    """With the build's units, and udev for the namespace's netdevs."""

    def __init__(self, lab, netns, build, config):
        if not SYSTEMD.exists() or not (RULES / "99-systemd.rules").exists() or not shutil.which("systemd-sysusers"):
            raise Skip("systemd is not installed")
        self.hybrid = (CGROUPS / "systemd").is_dir()
        if not self.hybrid and not (CGROUPS / "cgroup.procs").exists():
            raise Skip(f"no cgroups below {CGROUPS}")
        self.lab, self.netns, self.build = lab, netns, build
        self.dir = lab.dir / "systemd"
        self.log_path = self.dir / "log"
        self.process = self.first = None
        self._units(config)

    def _units(self, config):
        units = self.dir / "units"
        units.mkdir(parents=True)
        for name in UNITS:
            write_unit(name, units)
            drop = units / f"{name}.d"
            drop.mkdir()
            (drop / "log.conf").write_text("[Service]\nStandardOutput=append:/run/lab/log\nStandardError=append:/run/lab/log\n"
                                           "LimitCORE=0\n", encoding="utf-8")
        for name in TARGETS:
            (units / name).write_text("[Unit]\nDefaultDependencies=no\n", encoding="utf-8")
        (units / "default.target").write_text("[Unit]\nDefaultDependencies=no\nAllowIsolate=yes\n", encoding="utf-8")
        (units / "udev.service").write_text("[Unit]\nDefaultDependencies=no\n[Service]\nType=notify\nStandardError=append:"
                                            "/run/lab/udev\nExecStart=/lib/systemd/systemd-udevd\n", encoding="utf-8")
        (units / "millrace.toml").write_text(config, encoding="utf-8")
        for name in ("millrace.sysusers.conf", "99-zz-millrace-tap.rules"):
            shutil.copy(SOURCES / name, units)

    def start(self):
        programs = [self.build / "dataplane" / "millraced", self.build / "steering_bpf" / "millrace-steer"]
        script = INIT.format(lab=self.dir, sbin=SBIN, programs=" ".join(map(str, programs)), systemd=SYSTEMD, rules=RULES,
                             cgroups=HYBRID if self.hybrid else UNIFIED)
        (self.dir / "init").write_text(script, encoding="utf-8")
        groups = [CGROUPS / h / self.lab.dir.name for h in (("systemd", "unified", "devices") if self.hybrid else ("",))]
        self.groups = [g for g in groups if g.parent.is_dir()]
        for group in self.groups:
            group.mkdir()

        def join():
            for group in self.groups:
                (group / "cgroup.procs").write_text(str(os.getpid()), encoding="ascii")
            ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
        with open(self.log_path, "wb") as log:
            self.process = self.netns.popen("unshare", "-m", "-p", "-u", "-i", "-C", "--fork", "--kill-child", "bash",
                                            self.dir / "init", stdout=log, stderr=log, preexec_fn=join)
        self.lab.on_close(self.close)
        children = pathlib.Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")

        def booted():
            if self.process.poll() is not None:
                raise Skip(f"systemd can't be the first process of namespaces here: {self.log_path.read_text()[-300:]}")
            self.first = children.read_text().strip() if children.exists() else None
            return self.first and self.run("systemctl", "is-active", "default.target", check=False).returncode == 0
        wait_until(booted, "systemd runs", 20, 0.1)
        self.systemctl("start", "udev.service")
        self.run("udevadm", "trigger", "-s", "net", "--action=add")
        self.run("udevadm", "settle", "-t", 10)
        return self

    def run(self, *command, check=True):
        return run(["nsenter", "-t", self.first, "-m", "-p", "-n", "-C", *map(str, command)], check=check)

    def systemctl(self, *args, check=True):
        return self.run("systemctl", *args, check=check)

    def property(self, unit, name):
        return self.systemctl("show", "-P", name, unit).stdout.strip()

    def log(self):
        return self.run("cat", "/run/lab/log", check=False).stdout

    def put(self, program, name):
        """Another build of a program in the place of the installed one, as a package does it."""
        with open(program, "rb") as source:
            run(["nsenter", "-t", self.first, "-m", "sh", "-c", f"cat > {SBIN}/new && chmod 755 {SBIN}/new && "
                 f"mv {SBIN}/new {SBIN}/{name}"], stdin=source)

    def close(self):
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        for group in self.groups:
            folders = sorted((p for p in group.rglob("*") if p.is_dir()), key=lambda p: -len(p.parts))

            def gone(folder):
                try:
                    folder.rmdir()
                except OSError:
                    return not folder.exists()
                return True
            for folder in [*folders, group]:
                wait_until(lambda f=folder: gone(f), f"{folder} is empty", 5)


def exposure(unit):
    """What `systemd-analyze security` makes of a unit file, 0.0 to 10.0, and what it says."""
    if shutil.which("systemd-analyze") is None:
        raise Skip("systemd-analyze is not installed")
    done = subprocess.run(["systemd-analyze", "security", "--offline=true", "--no-pager", str(unit)], capture_output=True,
                          text=True, timeout=60, check=False)
    said = re.search(r"Overall exposure level for \S+: ([0-9.]+)", done.stdout)
    if not said:
        raise Skip(f"systemd-analyze can't judge unit files here: {done.stderr.strip()[:200]}")
    return float(said[1]), done.stdout
