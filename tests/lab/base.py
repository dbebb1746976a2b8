# SPDX-License-Identifier: BSD-3-Clause
"""What every lab has: a name of its own, a folder for its state, and a way to leave nothing behind."""

import atexit
import os
import pathlib
import re
import shutil
import signal
import sys

from .netns import Netns, run

RUN = pathlib.Path("/run")
PREFIX = "mrlab-"
UNBOUND = pathlib.Path("/sys/devices/virtual/workqueue/cpumask")


class Lab:
    """Namespaces mrlab-PID-ROLE and the folder /run/mrlab-PID (sockets, logs, bpffs)."""

    def __init__(self, name=None):
        self.name = name or unique_name()
        self.dir = RUN / self.name
        self.netns = {}
        self.keep = False
        self._closers = []

    def start(self):
        reap_leftovers()
        self.dir.mkdir(mode=0o755)
        (self.dir / "pid").write_text(f"{os.getpid()} {_start_time(os.getpid())}\n")
        atexit.register(self.close)
        for sig in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(sig, _leave)
        # A bpffs of the lab's own: the host need not have one, and one umount removes all pins.
        self.bpffs.mkdir()
        run(["mount", "-t", "bpf", "-o", "mode=700", "bpf", str(self.bpffs)])
        return self

    @property
    def bpffs(self):
        return self.dir / "bpf"

    def add_netns(self, role):
        ns = Netns(f"{self.name}-{role}")
        self.netns[role] = ns
        ns.create()
        return ns

    def on_close(self, function):
        self._closers.append(function)

    def mark_kept(self):
        self.keep = True
        (self.dir / "kept").touch()

    def close(self):
        atexit.unregister(self.close)
        if self.keep:
            return
        for closer in reversed(self._closers):
            try:
                closer()
            except Exception as error:  # the rest must still be cleaned
                print(f"clean-up: {error}", file=sys.stderr)
        self._closers.clear()
        remove(self.name)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def unique_name():
    """mrlab-PID, or mrlab-PID-N for a process's further labs."""
    name, n = f"{PREFIX}{os.getpid()}", 1
    while (RUN / name).exists():
        n += 1
        name = f"{PREFIX}{os.getpid()}x{n}"
    return name


def _leave(signum, _frame):
    sys.exit(128 + signum)  # runs the atexit clean-up


def _start_time(pid):
    """The process's start time, so that a reused pid is not taken for it; '' when it is gone."""
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[19]
    except (FileNotFoundError, ProcessLookupError):
        return ""


def remove(name):
    """Removes all that a lab of this name can have made, however far it came."""
    folder = RUN / name
    netns_dir = pathlib.Path("/run/netns")
    if netns_dir.is_dir():
        for path in netns_dir.iterdir():
            if path.name.startswith(f"{name}-"):
                Netns(path.name).destroy()
    if os.path.ismount(folder / "bpf"):
        run(["umount", str(folder / "bpf")], check=False)
    for parent in ("/etc/frr", "/var/run/frr"):
        for path in pathlib.Path(parent).glob(f"{name}-*"):
            shutil.rmtree(path, ignore_errors=True)
    give_back_cores(folder)
    shutil.rmtree(folder, ignore_errors=True)


def give_back_cores(folder):
    """What a daemon that was killed could not give back: cores for the kernel's unbound work."""
    for record in folder.glob("*.unbound"):
        mask = int(UNBOUND.read_text(encoding="ascii").replace(",", ""), 16)
        UNBOUND.write_text(f"{mask | int(record.read_text(encoding='ascii').replace(',', ''), 16):x}", encoding="ascii")


def labs():
    """(name, kept, alive) of each lab on this machine."""
    for folder in RUN.glob(f"{PREFIX}*"):
        if not re.fullmatch(rf"{PREFIX}\d+(x\d+)?", folder.name):
            continue
        try:
            pid, start = (folder / "pid").read_text().split()
        except (FileNotFoundError, ValueError):
            pid, start = "0", "?"
        yield folder.name, (folder / "kept").exists(), _start_time(int(pid)) == start


def reap_leftovers():
    """Removes labs whose process was killed before it could clean up. A kept lab is no leftover."""
    for name, kept, alive in list(labs()):
        if not kept and not alive:
            remove(name)


def remove_kept():
    """For `demo --clean`."""
    names = [name for name, kept, alive in labs() if kept or not alive]
    for name in names:
        remove(name)
    return names
