# SPDX-License-Identifier: BSD-3-Clause
"""A memory cgroup in which the kernel runs out of memory, and kills whom it is told to prefer."""

import contextlib
import os
import pathlib
import subprocess
import time

from .cases import Skip

V1, V2 = pathlib.Path("/sys/fs/cgroup/memory"), pathlib.Path("/sys/fs/cgroup")
ROOM = 32 << 20  # more than what is in use
# Takes far more than that, and touches it.
HOG = "echo -900 > /proc/self/oom_score_adj; exec python3 -c 'x = bytearray(512 << 20)'"


class OomGroup:
    """Made by `with`; Skip where the machine lets nobody make one."""

    def __init__(self, name):
        self.name = name

    def __enter__(self):
        if (V1 / "memory.limit_in_bytes").exists():
            self.folder, self.limit, self.usage = V1 / self.name, "memory.limit_in_bytes", "memory.usage_in_bytes"
        elif "memory" in _read(V2 / "cgroup.subtree_control").split():
            self.folder, self.limit, self.usage = V2 / self.name, "memory.max", "memory.current"
        else:
            raise Skip("no memory cgroup can be made here")
        try:
            self.folder.mkdir()
        except OSError as error:
            raise Skip(f"no memory cgroup can be made here: {error}") from error
        return self

    def __exit__(self, *_):
        deadline = time.monotonic() + 5
        while True:  # the last process leaves it some time after its end
            try:
                self.folder.rmdir()
                return
            except OSError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)

    def no_limit(self):
        (self.folder / self.limit).write_text("-1" if self.limit == "memory.limit_in_bytes" else "max")

    @contextlib.contextmanager
    def born_inside(self):
        """Processes started meanwhile are charged to the group."""
        before = _own_group(self.folder.parent == V1)
        procs = self.folder.parent / before.lstrip("/") / "cgroup.procs"
        (self.folder / "cgroup.procs").write_text(str(os.getpid()))
        try:
            yield
        finally:
            procs.write_text(str(os.getpid()))

    def run_out(self, victim):
        """The group is full, the kernel looks for somebody to kill, and the victim comes first."""
        pathlib.Path(f"/proc/{victim}/oom_score_adj").write_text("1000")
        usage = int(_read(self.folder / self.usage))
        (self.folder / self.limit).write_text(str(usage + ROOM))
        join = f"echo $$ > {self.folder}/cgroup.procs; {HOG}"
        with subprocess.Popen(["sh", "-c", join], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                              stderr=subprocess.DEVNULL) as hog:
            try:
                deadline = time.monotonic() + 5
                while _alive(victim) and hog.poll() is None and time.monotonic() < deadline:
                    time.sleep(0.002)
            finally:
                hog.kill()
        self.no_limit()


def _alive(pid):
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] not in ("Z", "X")
    except FileNotFoundError:
        return False


def _read(path):
    try:
        return path.read_text()
    except OSError:
        return ""


def _own_group(v1):
    for line in pathlib.Path("/proc/self/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        if ("memory" in controllers.split(",")) if v1 else controllers == "":
            return path
    return "/"
