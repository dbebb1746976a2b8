# SPDX-License-Identifier: BSD-3-Clause
"""The daemon of a run that makes it start again: what it says meanwhile, and what all its lives have counted."""

import contextlib
import threading

from ..cases import expect
from ..netns import CommandError

FREE_RESTARTS = 3  # in a minute; each more waits, see millraced(8)
SPENT = 2  # a life that has so many behind it does not begin another chunk
HOLDS_RTNL = 60  # s, that others may, and an end waits for


class Life:
    def __init__(self, router):
        self.router = router
        self.forwarded_before = self.restarts_before = 0
        self._counted = {}  # {port: forwarded} when add_forwarded() was called
        self._log_read = 0  # bytes of its log, when it was started

    def fresh(self):
        """With free restarts unspent."""
        if self._restarts() < SPENT:
            return
        expect(self.router.stop(HOLDS_RTNL) == 0, f"the daemon did not end well: {self.router.log_tail()}")
        self.restarts_before += self._restarts()
        self._log_read = self.router.log_path.stat().st_size
        self.router.start()
        self._counted = {}

    def _restarts(self):
        """How often it has started itself again."""
        return self.router.log_path.read_bytes()[self._log_read:].count(b"millraced starts again")

    @property
    def restarts(self):
        return self.restarts_before + self._restarts()

    def may_wait(self):
        """Seconds, until it starts again."""
        spent = self._restarts() - FREE_RESTARTS
        return 2.0 ** min(spent, 5) if spent >= 0 else 0

    def ask(self, what, **arguments):
        """None while it starts."""
        try:
            return self.router.ask(what, **arguments)
        except (OSError, CommandError, ValueError):
            expect(self.router.process.poll() is None, f"millraced has ended: {self.router.log_tail()}")
            return None

    def ports(self):
        """{port: its state}; empty while it starts."""
        return {row["port"]: row["state"] for row in self.ask("ports") or []}

    @contextlib.contextmanager
    def served(self, ports):
        """A function: are all these served? A thread asks: a daemon that is about to end lets one wait."""
        said, ended = [False], threading.Event()

        def ask():
            while not ended.wait(0.01):
                try:
                    states = self.ports()
                    said[0] = all(states.get(p) == "served" for p in ports)
                except AssertionError as error:
                    said[0] = error
                    return

        def answer():
            if isinstance(said[0], AssertionError):
                raise said[0]
            return said[0]
        thread = threading.Thread(target=ask)
        thread.start()
        try:
            yield answer
        finally:
            ended.set()
            thread.join()

    def forwarded(self):
        """{port: packets}; None while it starts."""
        rows = self.ask("counters")
        return rows and {row["port"]: row["packets"] for row in rows if row["reason"] == "forwarded"}

    def add_forwarded(self):
        """To be called now and then: what was counted since is lost with a restart."""
        now = self.forwarded() or {}
        self.forwarded_before += max(0, sum(now.values()) - sum(self._counted.values()))
        self._counted = now
