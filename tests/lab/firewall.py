# SPDX-License-Identifier: BSD-3-Clause
"""Firewalls on two routers at once: is what the kernel alone would do done, and by whose hand?"""

import contextlib
import time

from .cases import expect
from .netns import wait_until
from .oracle.stream import LANES, Stream

KERNEL, MILLRACE = "kernel", "millrace"
BACK = 1.0  # seconds until what nothing filters is on the fast path again
TICKS = 25


class Firewall:
    """The lanes of a Stream, sent all the time; commands run in both routers."""

    def __init__(self, twins, stream):
        self.twins, self.stream, self.router = twins, stream, twins.router
        self.since = None  # from this number on the routers must do the same

    def nft(self, text, flags=()):
        """A file of nft in both routers; `since` then says which frames were sent after both had it."""
        return self.both("nft", *flags, "-f", "-", text=text)

    def both(self, *command, text=None, check=True):
        for twin in (self.twins.kernel, self.twins.millrace):
            twin.netns.run(*command, check=check, **({"stdin": None, "input": text} if text is not None else {}))
        self.since = self.stream.mark()

    def counters(self):
        """{(port, verdict): packets} of the classifiers."""
        return {(row["port"], row["reason"]): row["packets"] for row in self.twins.ask("steering")
                if row["kind"] == "verdict"}

    def settled(self):
        last = self.counters()
        while (now := self.counters()) != last:
            last = now
        return last

    def phase(self, ticks=TICKS):
        """The stream rests, and so many frames of each lane are sent: (numbers, {(port, verdict): packets}).

        All that was sent since the last change must have come out alike too."""
        self.stream.pause()
        begin, self.since = self.since, None
        try:
            before = self.settled()
            sent = self.stream.send(ticks)
            moved = {k: v - before.get(k, 0) for k, v in self.settled().items() if v != before.get(k, 0)}
            checked = range(sent.start if begin is None else begin, sent.stop)
            told = self.stream.differences(checked)
            expect(not told, f"{len(told)} of {len(checked)} frames not as in the kernel: {'; '.join(told[:3])}")
        finally:
            self.run()
        self.since = sent.stop
        return sent, moved

    def run(self):
        self.stream.run()

    @staticmethod
    def hands(moved, kept, ticks, reason="keep_netfilter"):
        """'' where the classifiers have kept the lanes `kept`, each under the reason, and redirected the others."""
        said = []
        for port in ("p0", "p1", "p2"):
            lanes = [lane for lane in LANES if lane.into == port]
            wanted = {reason: ticks * sum(lane in kept for lane in lanes),
                      "redirect": ticks * sum(lane not in kept for lane in lanes)}
            for verdict, packets in wanted.items():
                if (seen := moved.get((port, verdict), 0)) != packets:
                    said.append(f"{port}: {verdict} {seen} instead of {packets}")
        return ", ".join(said)

    def is_kept(self, *kept, drops=None, rows=True, reason="keep_netfilter"):
        """The lanes are the kernel's, the others fast; drops: those of which nothing passes (None: none is dropped)."""
        sent, moved = self.phase()
        said = self.hands(moved, kept, len(sent) // len(LANES), reason)
        expect(not said, said)
        for lane, packets in self.stream.passed(KERNEL, sent).items():
            wanted = 0 if lane in (drops or ()) else len(sent) // len(LANES)
            expect(packets == wanted, f"{lane}: {packets} of {wanted} came out of the kernel's router")
        shown = self.rows()
        expect(bool(shown) == bool(kept) or not rows, f"shown: {shown}")
        return sent

    def is_fast(self):
        return self.is_kept()

    def comes_back(self, kept=(), seconds=BACK, rows=True):
        """Within that time, all lanes but these are on the fast path, with nobody's help."""
        begin, said = time.monotonic(), "?"
        while said:
            sent, moved = self.phase(5)
            said = self.hands(moved, kept, len(sent) // len(LANES))
            took = time.monotonic() - begin
            expect(not said or took < seconds + 1, f"not back within {seconds} s: {said}; shown: {self.rows()}")
        # Each look takes 0.2 s: the frames of the one before were too early.
        expect(took < seconds + 0.5, f"it took {took:.1f} s")
        self.is_kept(*kept, rows=rows)

    def rows(self, cause="netfilter"):
        return [(r["port"], r["what"], r["text"]) for r in self.router.kept() if r["cause"] == cause]

    def shows(self, *texts, seconds=2):
        """For each text there is a row that contains it."""
        def missing():
            rows = [f"{port or 'all'} {what}: {text}" for port, what, text in self.rows()]
            return [text for text in texts if not any(text in row for row in rows)]
        try:
            wait_until(lambda: not missing(), f"shown: {texts}", seconds)
        except TimeoutError as error:
            raise AssertionError(f"{error}; shown: {self.rows()}") from error

    @contextlib.contextmanager
    def ruleset(self, text, undo="flush ruleset"):
        """It is in force at once for what is sent from now on, and the fast path is back when it has gone."""
        self.nft(text)
        try:
            yield
        finally:
            self.nft(undo)
        self.comes_back()


def lanes(version=None, into=None, out_of=None):
    return tuple(lane for lane in LANES if version in (None, lane.version) and into in (None, lane.into)
                 and out_of in (None, lane.out_of))


@contextlib.contextmanager
def firewalls(twins):
    with Stream(twins) as stream:
        bench = Firewall(twins, stream)
        bench.run()
        yield bench
