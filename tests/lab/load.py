# SPDX-License-Identifier: BSD-3-Clause
"""What else a machine has to do: busy loops and a compiler, all of an unprivileged user."""

import os
import signal
import subprocess

NOBODY = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups")
COMPILE = "while :; do echo '#include <regex>' | g++ -O2 -x c++ -c -o /dev/null -; done"


class Busy:
    """These commands run while the `with` lasts, each in a session of its own: the scheduler shares cores by session."""

    def __init__(self, commands):
        self.commands = commands

    def __enter__(self):
        self.running = [subprocess.Popen((*NOBODY, *command), start_new_session=True, stdin=subprocess.DEVNULL,
                                         stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) for command in self.commands]
        return self

    def __exit__(self, *_):
        for process in self.running:
            os.killpg(process.pid, signal.SIGKILL)
        for process in self.running:
            process.wait()


class BusyLoops(Busy):
    """One for each core that is named, as often as it is."""

    def __init__(self, cores):
        super().__init__([("taskset", "-c", str(core), "sh", "-c", "while :; do :; done") for core in cores])


class Load(Busy):
    """A busy loop for each core, and one compiler."""

    def __init__(self):
        super().__init__([*BusyLoops(range(os.cpu_count())).commands, ("sh", "-c", COMPILE)])
