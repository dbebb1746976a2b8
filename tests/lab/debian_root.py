# SPDX-License-Identifier: BSD-3-Clause
"""A clean Debian of the machine's own release, in a folder: chroot into it, or let its systemd boot in a namespace.

What mmdebstrap makes is kept in $MILLRACE_CACHE (~/.cache/millrace), with the packages that are downloaded later.
"""

import hashlib
import os
import pathlib
import shutil
import signal
import subprocess
import tempfile
import time

from .cases import Skip
from .netns import CommandError, run, wait_until

INCLUDED = ("systemd", "systemd-sysv", "udev", "ca-certificates")
# What would change the machine that this runs on, or only takes time.
MASKED = ("systemd-sysctl.service", "systemd-udev-trigger.service", "systemd-modules-load.service",
          "systemd-random-seed.service", "systemd-timesyncd.service", "systemd-logind.service", "console-getty.service",
          "systemd-update-utmp.service", "apt-daily.timer", "apt-daily-upgrade.timer", "dpkg-db-backup.timer",
          "fstrim.timer", "e2scrub_all.timer")
OLDEST = 30 * 24 * 3600  # s; then the base is made anew


def cache():
    return pathlib.Path(os.environ.get("MILLRACE_CACHE") or pathlib.Path.home() / ".cache" / "millrace")


def os_release():
    pairs = (line.split("=", 1) for line in pathlib.Path("/etc/os-release").read_text().splitlines() if "=" in line)
    return {key: value.strip('"') for key, value in pairs}


def machine_sources():
    """The files of apt's sources that name Debian's own suites: of this machine, so with its mirrors."""
    found = [p for p in (pathlib.Path("/etc/apt/sources.list"), *pathlib.Path("/etc/apt/sources.list.d").glob("*"))
             if p.is_file() and "debian-security" in p.read_text(errors="replace")]
    if not found:
        raise Skip("no apt sources of Debian's suites on this machine")
    return found


def _base():
    """The tar of a minimal system; made when there is none, or it is old."""
    suite = os_release().get("VERSION_CODENAME", "")
    if os_release().get("ID") != "debian" or not suite:
        raise Skip("not a Debian: its package is built for the release that it is built on")
    sources = machine_sources()
    key = hashlib.sha256("\n".join([suite, *INCLUDED, *(p.read_text() for p in sources)]).encode()).hexdigest()[:12]
    path = cache() / f"base-{suite}-{key}.tar"
    if path.exists() and time.time() - path.stat().st_mtime < OLDEST:
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    making = path.with_suffix(f".{os.getpid()}")
    done = run(["mmdebstrap", "--mode=root", "--variant=minbase", "--format=tar",
                "--aptopt=APT::Install-Recommends \"false\"", f"--include={','.join(INCLUDED)}", suite, making,
                *map(str, sources)], check=False, timeout=600)
    if done.returncode != 0:
        making.unlink(missing_ok=True)
        said = [line for line in done.stderr.splitlines() if line.startswith("E:")] or done.stderr.splitlines()
        raise Skip(f"mmdebstrap can't make a {suite}: {said[0] if said else done.returncode}")
    making.rename(path)
    return path


class DebianRoot:
    """One such system; gone with close()."""

    def __init__(self):
        base = _base()
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="millrace-root-", dir="/var/tmp"))
        self.debs = cache() / "debs"
        self.debs.mkdir(exist_ok=True)
        self.container = self.init = None
        run(["tar", "-xpf", base, "-C", self.dir], timeout=120)
        for unit in MASKED:
            (self.dir / "etc/systemd/system" / unit).symlink_to("/dev/null")
        # Names are looked up as this machine does.
        shutil.copyfile("/etc/resolv.conf", self.dir / "etc/resolv.conf")

    # Without systemd.

    def chroot(self, *command, **kwargs):
        """Runs a command in the root, in a mount namespace of its own with /proc and /dev; downloads are kept."""
        # What is mounted there ends with the command.
        script = ('mount -t proc proc "$0/proc" && mount --rbind /dev "$0/dev" && '
                  'mount --bind "$1" "$0/var/cache/apt/archives" && shift && exec chroot "$0" "$@"')
        environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8", "HOME": "/root",
                       "DEBIAN_FRONTEND": "noninteractive"}
        return run(["unshare", "--mount", "--propagation", "private", "sh", "-c", script, self.dir, self.debs,
                    *map(str, command)], env=environment, timeout=kwargs.pop("timeout", 300), **kwargs)

    def update(self):
        """apt-get update; a machine without a way to the mirrors skips."""
        done = self.chroot("apt-get", "-o", "APT::Update::Error-Mode=any", "update", check=False)
        if done.returncode != 0:
            said = [line for line in done.stderr.splitlines() if line[:2] in ("E:", "W:")]
            raise Skip(f"Debian's suites can't be reached: {said[0] if said else done.stderr.strip()}")

    def files(self):
        """All there is but what apt, dpkg and systemd write about themselves."""
        left_out = ("proc", "dev", "sys", "run", "tmp", "root", "var/log", "var/cache", "var/lib/apt", "var/lib/dpkg",
                    "var/lib/systemd", "var/tmp")
        prune = [word for path in left_out for word in ("-path", f"./{path}", "-o")][:-1]
        found = run(["find", ".", "(", *prune, ")", "-prune", "-o", "-print"], cwd=self.dir).stdout
        return set(found.splitlines())

    # With systemd.

    def boot(self, netns, bpffs):
        """Its systemd and udev, in that network namespace: devices there have their units."""
        log = open(self.dir.with_suffix(".log"), "ab")
        environment = os.environ | {"SYSTEMD_NSPAWN_API_VFS_WRITABLE": "1"}
        self.container = netns.popen(
            "systemd-nspawn", "--quiet", "--register=no", "--keep-unit", f"--directory={self.dir}", "--capability=all",
            "--system-call-filter=@known",  # bpf() too
            f"--bind={bpffs}:/sys/fs/bpf", "--console=pipe", "--boot", stdout=log, stderr=log, env=environment)
        log.close()
        self.init = wait_until(self._init, "systemd starts", 30)
        state = wait_until(self._state, "systemd is up", 60, 0.1)
        if state != "running":
            raise CommandError(f"systemd is {state}: {self.run('systemctl', '--failed', '--no-legend').stdout}")
        # In a container it looks for udev once, before that can be there.
        self.run("systemctl", "daemon-reexec")
        # The service that does it for all devices is masked: of those, the namespace's alone are its own.
        self.run("udevadm", "trigger", "--settle", "--subsystem-match=net")

    def _init(self):
        if self.container.poll() is not None:
            raise Skip("systemd-nspawn can't run here: "
                       f"{self.dir.with_suffix('.log').read_text(errors='replace').strip()[-200:]}")
        said = run(["pgrep", "-P", str(self.container.pid)], check=False).stdout.split()
        return int(said[0]) if said else None

    def _state(self):
        said = self.run("systemctl", "is-system-running", check=False).stdout.strip()
        return said if said in ("running", "degraded", "maintenance") else None

    def run(self, *command, **kwargs):
        """In the booted system."""
        environment = ["env", "-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C.UTF-8", "HOME=/root",
                       "DEBIAN_FRONTEND=noninteractive"]
        return run(["nsenter", "-t", str(self.init), "-a", "-r", "-w", *environment, *map(str, command)], **kwargs)

    def power_off(self):
        if self.container is None:
            return
        if self.container.poll() is None and self.init:
            self.run("systemctl", "poweroff", check=False)
            try:
                self.container.wait(20)
            except subprocess.TimeoutExpired:
                os.kill(self.init, signal.SIGKILL)  # with it, all in its pid namespace
        if self.container.poll() is None:
            self.container.terminate()
            self.container.wait(20)
        self.container = self.init = None

    def close(self):
        self.power_off()
        shutil.rmtree(self.dir, ignore_errors=True)
        self.dir.with_suffix(".log").unlink(missing_ok=True)
