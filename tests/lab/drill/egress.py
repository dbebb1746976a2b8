# SPDX-License-Identifier: BSD-3-Clause
"""A port that is slow, or takes nothing at all, beside the flow to another one."""

import contextlib
import subprocess
import time

from ..netns import wait_until
from ..slow_link import below_bytes, put_below, take_away
from ..star import host_address
from .drill import Drill

SLOW_PPS, SIZE = 40_000, 200
DROPPED = 10_000  # at the slow port, at least: what is sent there for a quarter of a second
TERM_SECONDS = 1.0


class SlowEgress(Drill):
    title = "egress of 10 Mbit/s beside a fast flow"
    required = "the other's: the kernel's; its own counted"
    rate = "10mbit"
    seconds, brief_seconds = 6, 4
    scales = True

    def prepare(self, side):
        put_below(side.lab, self.rate)

    @contextlib.contextmanager
    def flood(self, side, seconds):
        lab = side.lab
        argv = ("taskset", "-c", "0", lab.tools / "udp-blast", host_address("c"), 9001, SLOW_PPS, seconds, SIZE)
        process = side.sender.popen(*argv, stdout=subprocess.DEVNULL)
        try:
            yield process
        finally:
            process.kill()
            process.wait()

    def act(self, side, figures):
        before, below = side.shown("c0").get("tx_dropped", 0), below_bytes(side.lab)
        begin = time.monotonic()
        with self.flood(side, self.lasts):
            time.sleep(self.lasts - 1)
        figures["mbits"] = (below_bytes(side.lab) - below) * 8e-6 / (time.monotonic() - begin)
        figures["dropped"] = side.shown("c0").get("tx_dropped", 0) - before

    def settle(self, side, figures):
        take_away(side.lab)

    def judge(self, mill, twin, loaded):
        yield from super().judge(mill, twin, loaded)
        if mill.figures["dropped"] < DROPPED:
            yield f"{mill.figures['dropped']} counted as dropped at the slow port"

    def note(self, mill, twin):
        return f"the slow link carried {mill.figures['mbits']:.1f} Mbit/s, the kernel's {twin.figures['mbits']:.1f}; counted as " \
            f"dropped there: {mill.figures['dropped']:,}"


class NoEgress(SlowEgress):
    title = "egress that takes nothing; SIGTERM"
    required = f"the other's: the kernel's; ends in {TERM_SECONDS:g} s"
    rate = "8bit"
    stays_fast = True

    def settle(self, side, figures):
        if side.millrace:
            with self.flood(side, 30):
                time.sleep(0.5)
                begin = time.monotonic()
                figures["exit_code"] = side.router.stop(15)
                figures["term_seconds"] = time.monotonic() - begin
        # What waits below c holds the socket that sent it, ended or not.
        take_away(side.lab)
        if side.millrace:
            side.router.start()
            wait_until(side.served, "all ports are served", 40, 0.1)

    def judge(self, mill, twin, loaded):
        yield from super().judge(mill, twin, loaded)
        if mill.figures["exit_code"] != 0 or mill.figures["term_seconds"] > TERM_SECONDS:
            yield f"SIGTERM: exit code {mill.figures['exit_code']} after {mill.figures['term_seconds']:.2f} s"

    def note(self, mill, twin):
        return f"ended {mill.figures['term_seconds']:.2f} s after SIGTERM; {mill.fast:.1%} took the fast path"


DRILLS = (SlowEgress, NoEgress)
