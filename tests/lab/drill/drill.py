# SPDX-License-Identifier: BSD-3-Clause
"""What every drill has, and how one is run on both routers."""

import dataclasses
import functools
import time

from .rig import PPS

ALLOWED_LOADED = 0.001  # of all packets, beyond what the kernel loses, while the machine is loaded
FAST = 0.98             # of the packets that take the fast path where nothing keeps them from it


@dataclasses.dataclass
class Outcome:
    """What became of the traffic between peer-a and peer-b, both families together."""
    sent: int = 0
    seconds: float = 0.0
    lost: int = 0
    lost_ms: float = 0.0     # of the family that lost more, at the rate it was sent
    gap_ms: float = 0.0
    oldest_ms: float = 0.0   # the longest that a packet was on its way
    reordered: int = 0
    sessions: int = 0        # BGP sessions that went down
    fast: float = 0.0        # share that the classifier gave to the fast path
    figures: dict = dataclasses.field(default_factory=dict)  # what else the drill saw

    @staticmethod
    def of(results, pps=PPS):
        return Outcome(sent=sum(r["sent"] for r in results), seconds=max(r["send_seconds"] for r in results),
                       lost=sum(r["lost"] for r in results),
                       lost_ms=max(r["lost"] * 1000 / pps for r in results),
                       gap_ms=max(r["largest_gap_ms"] for r in results), oldest_ms=max(r["oldest_ms"] for r in results),
                       reordered=sum(r["reordered"] for r in results))

    def text(self):
        return f"{self.lost:>7} {self.gap_ms:>6.0f} {self.sessions:>4}"


class Drill:
    """To be derived from: act() is what happens, while the traffic lasts."""
    title = ""
    required = "0 lost"
    seconds, brief_seconds = 6, 3
    brief = True          # has a place in the shortened form
    twin_acts = True      # what happens, happens to the kernel's router, too
    scales = False        # its time can be chosen
    stays_fast = False    # nothing keeps the packets from the fast path
    pps = PPS

    def __init__(self, brief=False):
        self.is_brief = brief
        self.lasts = self.brief_seconds if brief else self.seconds

    def prepare(self, side):
        """Before the traffic: the router is ready."""

    def runs(self, side):
        return side.blasts(self.lasts, self.pps)

    def act(self, side, figures):
        """While it lasts; by default nothing."""
        time.sleep(self.lasts / 2)

    def settle(self, side, figures):
        """After the traffic: all is as it was before."""

    def more(self, side, results, figures):
        """results: of what runs() has beyond the two of the main flow."""

    def judge(self, mill, twin, loaded):
        """One text for each requirement that was missed."""
        yield from no_more_lost(mill, twin, loaded)
        if self.stays_fast and mill.fast < FAST:
            yield f"only {mill.fast:.1%} took the fast path"

    def note(self, mill, twin):
        """What the columns don't say."""
        return ""


def no_more_lost(mill, twin, loaded, ms=0.0):
    """Nothing beyond what the kernel lost, but for that many milliseconds' worth."""
    limit = twin.lost_ms + ms
    if loaded:
        limit += ALLOWED_LOADED * mill.seconds * 1000
    if mill.lost_ms > limit:
        yield f"{mill.lost_ms:.1f} ms' worth lost, {limit:.1f} allowed"


def run(drill, side):
    """The drill on one router; returns the Outcome."""
    acts = side.millrace or drill.twin_acts
    figures = {}
    side.ready()
    try:
        if acts:
            drill.prepare(side)
        dropped, fast, counts = side.dropped(), side.redirected(), side.counts()
        act = drill.act if acts else functools.partial(Drill.act, drill)
        results = side.measure(drill.runs(side), lambda: act(side, figures))
        fast = side.redirected() - fast
        # Of one life of the daemon: where it began another, they say less than nothing.
        figures["counts"] = {k: v - counts.get(k, 0) for k, v in side.counts().items() if v > counts.get(k, 0)}
    finally:
        if acts:
            drill.settle(side, figures)
    outcome = Outcome.of(results[:2], drill.pps)
    # Some drills have flows of their own beside these.
    outcome.fast = min(1.0, fast / sum(r["sent"] for r in results))
    outcome.figures = figures
    drill.more(side, results[2:], figures)
    now = side.dropped()
    outcome.sessions = sum(now.get(address, 1) > before for address, before in dropped.items())
    return outcome
