# SPDX-License-Identifier: BSD-3-Clause
"""By whose hand a packet goes on, and what `show steering` says that the kernel keeps."""

import contextlib
import time

from .cases import expect
from .netns import wait_until


def target(n, version):
    """(prefix, an address in it)"""
    return (f"10.100.{n}.0/24", f"10.100.{n}.9") if version == 4 else (f"2001:db8:{n}::/48", f"2001:db8:{n}::9")


def family(version):
    return f"IPv{version}"


class Bench:
    def __init__(self, lab, probe):
        self.lab, self.probe, self.router, self.edge = lab, probe, lab.router, lab.edge

    def sent(self, address, **options):
        """(where, frame, counters that moved) of one packet from host a."""
        before = self.router.settled_counters()
        where, frame = self.probe.send(address, **options)
        after = self.router.settled_counters()
        return where, frame, {k: v - before.get(k, 0) for k, v in after.items() if v != before.get(k, 0)}

    def fast(self, address, spoke="b"):
        where, frame, moved = self.sent(address)
        expect(where == spoke, f"a packet to {address} came out at {where} instead of {spoke}: {moved}")
        expect(not self.probe.wrong(spoke, frame), self.probe.wrong(spoke, frame))
        expect(moved.get("forwarded") == 1, f"not by the fast path: {moved}")

    def by_kernel(self, address, spoke="b", punt=None):
        """It comes out there, and the worker has not sent it; punt: the worker's reason, none = never had it."""
        where, frame, moved = self.sent(address)
        expect(where == spoke, f"a packet to {address} came out at {where} instead of {spoke}: {moved}")
        expect(not self.probe.wrong(spoke, frame), self.probe.wrong(spoke, frame))
        self.not_fast(moved, punt)

    def lost(self, address, punt=None):
        where, _, moved = self.sent(address, seconds=0.4)
        expect(where is None, f"a packet to {address} came out at {where}: {moved}")
        self.not_fast(moved, punt)

    @staticmethod
    def not_fast(moved, punt):
        wanted = {punt: 1} if punt else {}
        expect(moved == wanted, f"the worker's counters moved by {moved}, not {wanted}")

    def rows(self, cause):
        return [(r["port"], r["what"], r["text"]) for r in self.router.kept() if r["cause"] == cause]

    @contextlib.contextmanager
    def kept(self, begin, end, cause, *rows, seconds=2):
        """begin() makes exactly these rows appear, end() makes them go again."""
        others = self.rows(cause)
        begin()
        try:
            wanted = sorted([*others, *rows], key=str)
            try:
                wait_until(lambda: sorted(self.rows(cause), key=str) == wanted, f"kept: {rows}", seconds)
            except TimeoutError as error:
                raise AssertionError(f"{error}; shown: {self.rows(cause)}") from error
            yield
        finally:
            end()
        wait_until(lambda: sorted(self.rows(cause), key=str) == sorted(others, key=str),
                   f"no longer kept: {rows}", seconds)

    def unmoved(self, begin, end, seconds=0.3):
        """begin() keeps nothing: no row for as long as notifications take, many times over."""
        before = self.router.kept()
        begin()
        try:
            deadline = time.monotonic() + seconds
            while time.monotonic() < deadline:
                expect(self.router.kept() == before, f"shown: {self.router.kept()}")
        finally:
            end()

    def ip(self, version, *args):
        return self.edge.ip(f"-{version}", *args)
