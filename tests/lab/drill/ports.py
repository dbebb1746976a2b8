# SPDX-License-Identifier: BSD-3-Clause
"""What happens to c0, beside the flow between the other ports and one to c."""

import time

from .. import comings, port_moves
from ..netns import wait_until
from ..star import edge_address
from .drill import Drill
from .rig import C_PPS

SLACK_MS = 100
BACK_SECONDS = 2.0


class PortChange(Drill):
    required = f"the kernel's + {SLACK_MS} ms; back in {BACK_SECONDS:g} s"
    seconds, brief_seconds = 6, 6
    brief = False

    def change(self, side):
        raise NotImplementedError

    def prepare(self, side):
        if side.millrace:  # with its free restarts unspent
            side.router.stop()
            side.router.start()
            side.ready()

    def runs(self, side):
        return super().runs(side) + side.blasts_to("c", self.lasts)

    def act(self, side, figures):
        time.sleep(0.3)
        begin = time.monotonic()
        self.change(side)
        there = time.monotonic()
        figures["took"] = there - begin
        if side.millrace:
            wait_until(lambda: side.served("c0"), "c0 is served", BACK_SECONDS + 5)
            figures["back_seconds"] = time.monotonic() - there

    def more(self, side, results, figures):
        figures["c_lost_ms"] = max(r["lost"] for r in results) * 1000 / C_PPS

    def judge(self, mill, twin, loaded):
        yield from super().judge(mill, twin, loaded)
        ours, theirs = mill.figures, twin.figures
        # The same commands may take longer in one of the two.
        limit = theirs["c_lost_ms"] + SLACK_MS + 1000 * max(0, ours["took"] - theirs["took"])
        if ours["c_lost_ms"] > limit:
            yield f"{ours['c_lost_ms']:.0f} ms lost on the way to the port, {limit:.0f} allowed"
        if ours["back_seconds"] > BACK_SECONDS:
            yield f"back after {ours['back_seconds']:.2f} s"

    def note(self, mill, twin):
        return f"to the port {mill.figures['c_lost_ms']:.0f} ms lost, the kernel's {twin.figures['c_lost_ms']:.0f} ms; back after " \
            f"{mill.figures['back_seconds']:.2f} s"


def coming(title_, change_, brief_=False):
    """What netns.comeback does to a port."""
    class Coming(PortChange):
        title = title_
        brief = brief_

        def change(self, side):
            change_(side.lab)
    return Coming


class Live(PortChange):
    """What leaves the port there all the time: nothing of the other flow is lost, and no daemon starts again."""
    times = 1

    def one(self, side, n):
        raise NotImplementedError

    def change(self, side):
        for n in range(self.times):
            self.one(side, n)


class DownAndUp(Live):
    title = "port down and up, 50 times"
    times = 50
    seconds = 10

    def one(self, side, n):
        edge = side.lab.edge
        edge.ip("link", "set", "c0", "down")
        edge.ip("link", "set", "c0", "up")
        edge.ip("-6", "addr", "replace", f"{edge_address('c', 6)}/64", "dev", "c0", "nodad")


class NewMac(Live):
    title = "another MAC address, 5 times"
    times = 5

    def one(self, side, n):
        last = 1 if n == self.times - 1 else 0x80 + n
        side.lab.edge.ip("link", "set", "c0", "address", f"02:00:00:00:03:{last:02x}")
        time.sleep(0.1)


class NewMtu(Live):
    title = "another MTU, 9 times"
    times = 9

    def one(self, side, n):
        side.lab.edge.ip("link", "set", "c0", "mtu", 1500 if n == self.times - 1 else 1300 + 10 * n)
        time.sleep(0.1)


class Queues(Live):
    title = "ethtool -L, 7 times"
    times = 7

    def _make(self, side, queues):
        lab = side.lab
        lab.connect("c", left_queues=queues, left_index=port_moves.delete(lab.edge, "c0"))
        comings.ask_soon_again(lab)
        if queues > 1:
            lab.edge.run("ethtool", "-L", "c0", "rx", 1)

    def prepare(self, side):
        self._make(side, 2)
        super().prepare(side)

    def settle(self, side, figures):
        self._make(side, 1)

    def one(self, side, n):
        side.lab.edge.run("ethtool", "-L", "c0", "rx", 2 - n % 2)
        time.sleep(0.1)


DRILLS = (coming("port deleted and made again", comings.made_again, True),
          coming("port deleted and made again at once, same index", comings.made_again_at_once),
          coming("port moved to another namespace and back", comings.to_box_and_back),
          coming("port renamed and back", comings.renamed_and_back),
          coming("classifier detached and attached again", comings.attached_again),
          DownAndUp, NewMac, NewMtu, Queues)
