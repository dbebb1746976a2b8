# SPDX-License-Identifier: BSD-3-Clause
"""The table of behaviours: each row is a function that sends frames and says what must come of them.

How to write a row:

    @row(15, "DF and longer than the egress MTU: Fragmentation Needed with the MTU", versions=(4,))
    def too_big(lab, v):
        frame = transit(v, "p0", "p2", size=1400)
        out = lab.exchange([("p0", frame)])                     # both routers' output is equal, or this raises
        out.is_exactly(icmp_error(frame, "p0", 3, 4, mtu=1400))  # and it is what the row demands, and nothing else
        out.by(punt_too_big=1)                                   # and this is who did it, counters and all

- The function runs once for each family (v is 4 or 6), as a case of its own; versions=(None,) for what is of neither.
- lab.exchange takes all of a row's frames at once where it can: an exchange costs some milliseconds.
- lab.twins.routed("10.9.0.0/16 via 10.0.1.2") has a route in both routers, proven in force, during a `with`;
  changed(), batch(), sysctls() and settle() do the same for other things. A row leaves the routers as they were.
- lab.twins.millrace.wire.hosts and kernel.wire.hosts say who answers ARP and ND; the hosts of twins.HOSTS are permanent
  neighbours and need no answer.
- What this kernel can't do: raise lab.cases.Skip with the reason.
- Rows live in lab/oracle/rows/, in files by subject; a new file is imported in rows/__init__.py.
"""

import dataclasses
import re
import typing

from ..cases import Cases
from ..netns import wait_until
from .exchange import Exchange
from .twins import Twins


@dataclasses.dataclass
class Row:
    number: int
    title: str
    version: typing.Optional[int]
    function: typing.Callable

    @property
    def name(self):
        return f"row {self.number}: {self.title}" + (f", IPv{self.version}" if self.version else "")


ROWS = []
STAND_INS = 3
HEARTBEATS_BACK = 35  # seconds: the longest that a starved port is left to the kernel, and some


def row(number, title, versions=(4, 6)):
    def register(function):
        ROWS.extend(Row(number, title, v, function) for v in versions)
        return function
    return register


class TableLab:
    """What a row gets."""

    def __init__(self, twins):
        self.twins = twins
        self.exchange = Exchange(twins)


def chosen(only):
    """The rows whose name matches, in the table's order."""
    return sorted((r for r in ROWS if re.search(only, r.name)), key=lambda r: (r.number, r.version or 0))


def tried(lab, each):
    """The row, once more where the kernel had to stand in for a heartbeat that was late: who forwards is then no question."""
    for _ in range(STAND_INS):
        before = lab.twins.counters().get("stale_heartbeat", 0)
        try:
            return each.function(lab, each.version)
        except AssertionError as error:
            stood_in = lab.twins.counters().get("stale_heartbeat", 0) - before
            if not stood_in:
                raise
            print(f"    the kernel stood in for {stood_in} frames; again: {error}"[:200])
            wait_until(lambda: not any(r["cause"] == "heartbeat" for r in lab.twins.ask("steering") if r["kind"] == "kept"),
                       "all heartbeats are back", HEARTBEATS_BACK)
    return each.function(lab, each.version)


def run(build, only=".", generic=False):
    """Runs the rows whose name matches; returns the exit code."""
    cases = Cases("netns.conformance")
    with Twins(build, generic) as twins:
        twins.start()
        lab = TableLab(twins)
        for each in chosen(only):
            with cases.case(each.name):
                tried(lab, each)
    return cases.finish()
