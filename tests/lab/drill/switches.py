# SPDX-License-Identifier: BSD-3-Clause
"""What an operator does: restart, drain, reload, attach."""

import contextlib
import random
import signal
import subprocess
import time

from ..cases import expect
from ..netns import wait_until
from .drill import Drill

RING = 2048  # frames that one switch may reorder at most: what a ring holds while the other way is open already


class Switch(Drill):
    required = "0 lost, reordered at the switch alone"
    times = 2      # switches from one way to the other
    twin_acts = False
    brief = False

    def judge(self, mill, twin, loaded):
        yield from super().judge(mill, twin, loaded)
        if mill.reordered > twin.reordered + self.times * RING:
            yield f"{mill.reordered} packets reordered"

    def note(self, mill, twin):
        return f"{mill.reordered} reordered by {self.times} switches, the kernel's {twin.reordered} by none"


class Restart(Switch):
    title = "stopped and started"
    brief = True

    def act(self, side, figures):
        time.sleep(0.5)
        expect(side.router.stop() == 0, side.router.log_tail())
        side.router.start()
        side.wait_fast()


class ReloadRestart(Switch):
    title = "a restart that reload asks for"

    def act(self, side, figures):
        time.sleep(0.5)
        pid = side.router.process.pid
        side.router.write_config(extra="\n[punt]\nrate = 10000\n")
        said = side.router.cli("reload").stdout
        expect("starts again" in said, f"it said {said}")
        time.sleep(0.3)
        wait_until(side.served, "all ports are served", 10, 0.05)
        side.wait_fast()
        expect(side.router.process.pid == pid and side.router.process.poll() is None, "it is another process")

    def settle(self, side, figures):
        side.router.write_config()
        side.router.cli("reload")
        time.sleep(0.5)


class DrainAll(Switch):
    title = "drain and undrain, 5 times"
    brief = True
    times = 10

    def act(self, side, figures):
        for _ in range(self.times // 2):
            side.router.do("drain")
            time.sleep(0.1)
            side.router.do("undrain")
            time.sleep(0.1)


class Reload(Drill):
    title = "reload 1,000 times and 2,000 SIGHUP"
    required = "0 lost, nothing leaks"
    twin_acts = False
    seconds, brief_seconds = 16, 4
    count, brief_count = 1000, 100
    LEAK = 2 << 20

    def act(self, side, figures):
        router, count = side.router, self.brief_count if self.is_brief else self.count
        router.do("reload")
        before = side.descriptors(), side.memory(), router.process.pid
        for _ in range(count):
            router.do("reload")
            for _ in range(2):
                router.signal(signal.SIGHUP)
        router.do("reload")
        expect(router.process.poll() is None, f"it has ended: {router.log_tail()}")
        with contextlib.suppress(TimeoutError):  # conversations of a moment ago may be open yet
            wait_until(lambda: side.descriptors() <= before[0], "no more descriptors than before", 1)
        figures["descriptors"] = side.descriptors() - before[0]
        figures["memory"] = side.memory() - before[1]

    def judge(self, mill, twin, loaded):
        yield from super().judge(mill, twin, loaded)
        if mill.figures["descriptors"] > 0 or mill.figures["memory"] > self.LEAK:
            yield "something leaks"

    def note(self, mill, twin):
        return f"{mill.figures['descriptors']:+d} descriptors, {mill.figures['memory'] / 1024:+.0f} kB of memory"


class Attach(Drill):
    """On c0, which nobody uses."""
    title = "three attaches at once; attach killed half way"
    required = "works; 0 lost"
    twin_acts = False
    brief = False
    seconds = 20
    ROUND_SECONDS = 6  # one takes up to this on a busy machine: as many as the traffic has time for

    def _popen(self, side, *what):
        router = side.router
        return router.netns.popen(router.steer_bin, *what, "c0", "--pin-root", router.pin_root, stdout=subprocess.DEVNULL,
                                  stderr=subprocess.PIPE, text=True)

    def act(self, side, figures):
        router, edge, rng = side.router, side.lab.edge, random.Random(12)
        bad = figures["bad"] = []

        def attached():
            return bool(edge.link("c0").get("xdp"))

        def steer(what, then):
            done = router.steer(what, "c0", check=False)
            if done.returncode != 0 or attached() != then:
                bad.append(f"{what}: {done.stderr.strip() or 'it says yes, and it is not so'}")

        figures["rounds"], end = 0, time.monotonic() + self.lasts - self.ROUND_SECONDS
        while time.monotonic() < end:
            figures["rounds"] += 1
            steer("detach", False)
            runs = [self._popen(side, "attach") for _ in range(3)]
            said = [(run.communicate()[1].strip(), run.returncode) for run in runs]
            if not attached() or all(code for _, code in said) or any(code and len(text.splitlines()) != 1 for text, code in said):
                bad.append(f"three at once: attached {attached()}, {said}")
            steer("detach", False)
            with self._popen(side, "attach") as killed:
                time.sleep(rng.uniform(0, 0.06))
                killed.kill()
            steer("attach", True)

    def settle(self, side, figures):
        side.router.steer("attach", "c0", check=False)

    def judge(self, mill, twin, loaded):
        yield from super().judge(mill, twin, loaded)
        if mill.figures["bad"]:
            yield f"{len(mill.figures['bad'])} times: {mill.figures['bad'][0]}"

    def note(self, mill, twin):
        return f"{len(mill.figures['bad'])} wrong in {mill.figures['rounds']} rounds"


DRILLS = (Restart, ReloadRestart, DrainAll, Reload, Attach)
