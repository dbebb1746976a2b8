# SPDX-License-Identifier: BSD-3-Clause
"""A running `ip -batch` in a namespace: a command costs what the kernel takes for it, not a process."""

import re
import select
import subprocess
import time

from .netns import CommandError

_FAILED = re.compile(r"^Command failed -:(\d+)$")


class IpBatch:
    def __init__(self, netns):
        self._netns = netns
        self._start()

    def _start(self):
        self._process = subprocess.Popen(["ip", "-n", self._netns.name, "-force", "-batch", "-"], stdin=subprocess.PIPE,
                                         stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        self._lines = 0
        self._running = []
        self._said = b""
        self._last = ""

    def renew(self):
        """`ip` remembers which index a name had: to be called when a device has become another one."""
        self.close()
        self._start()

    def run(self, lines, seconds=60):
        """Runs the commands, in force when this returns; returns [(command, what was said)] of those that failed."""
        self.begin(lines)
        return self.end(seconds)

    def begin(self, lines):
        """The same in two parts: for several routers at a time."""
        text = "".join(f"{line}\n" for line in lines)
        # A command that there is not fails, and that is said at once: all before it have been run.
        self._process.stdin.write((text + "done\n").encode())
        self._process.stdin.flush()
        self._running = lines

    def end(self, seconds=60):
        lines, first = self._running, self._lines + 1
        end = self._lines = self._lines + len(lines) + 1
        failed, said, give_up = [], [], time.monotonic() + seconds
        while True:
            line = self._line(give_up)
            at = _FAILED.match(line)
            if not at:
                said.append(line)
                continue
            if int(at.group(1)) == end:
                return failed
            failed.append((lines[int(at.group(1)) - first], "; ".join(said)))
            said = []

    def _line(self, give_up):
        while b"\n" not in self._said:
            if not select.select([self._process.stderr], [], [], max(0, give_up - time.monotonic()))[0]:
                raise CommandError("ip -batch does not answer")
            got = self._process.stderr.read1(65536)
            if not got:
                raise CommandError(f"ip -batch has ended, as it does at a wrong word: {self._last}")
            self._said += got
        line, self._said = self._said.split(b"\n", 1)
        self._last = line.decode(errors="replace")
        return self._last

    def close(self):
        self._process.stdin.close()
        self._process.wait(5)
        self._process.stderr.close()
