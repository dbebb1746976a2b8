# SPDX-License-Identifier: BSD-3-Clause
"""Test cases of a Python test: one printed line for each, and a JSON file that tests/run counts."""

import contextlib
import json
import os
import pathlib
import random
import sys
import time


class Skip(Exception):
    """Raised in a case that cannot run here; the text says why."""


class Stolen:
    """CPU time that the hypervisor gives to others, from here on: threads stand still longer than a heartbeat may."""

    SHARE = 0.02  # of all cores' time; with more, what needs the cores can't run here

    def __init__(self):
        self.begin, self.before = time.monotonic(), self._seconds()

    @staticmethod
    def _seconds():
        with open("/proc/stat", encoding="ascii") as stat:
            return int(stat.readline().split()[8]) / os.sysconf("SC_CLK_TCK")

    def share(self):
        return (self._seconds() - self.before) / (time.monotonic() - self.begin) / os.cpu_count()


class Cases:
    def __init__(self, name):
        self.name = name
        self.results = []

    @contextlib.contextmanager
    def case(self, title, stolen=None):
        """Runs the body as one case: an exception fails it, and the next one runs all the same.

        stolen: for one that needs the cores. If they were taken meanwhile, it does not fail, it could not run."""
        begin = time.monotonic()
        result, why = "ok", ""
        try:
            yield
        except Skip as skip:
            result, why = "skip", str(skip)
        except Exception as error:
            kind = "" if isinstance(error, AssertionError) else f"{type(error).__name__}: "
            result, why = "fail", f"{kind}{error}" or "failed"
            if stolen is not None and stolen.share() > stolen.SHARE:
                result, why = "skip", f"the hypervisor took {stolen.share():.0%} of the CPU time; {why}"
        line = {"ok": f"ok {title}", "fail": f"FAIL {title}: {why}", "skip": f"skip {title}: {why}"}[result]
        print(line, flush=True)
        self.results.append({"name": f"{self.name}: {title}", "result": result, "why": why,
                             "seconds": round(time.monotonic() - begin, 3)})

    def finish(self):
        """Writes the results where tests/run asks for them; returns the exit code."""
        folder = os.environ.get("MILLRACE_RESULTS")
        if folder:
            pathlib.Path(folder).mkdir(parents=True, exist_ok=True)
            path = pathlib.Path(folder) / f"{self.name}.json"
            path.write_text(json.dumps({"cases": self.results}), encoding="utf-8")
        ran = [r for r in self.results if r["result"] != "skip"]
        return 1 if not self.results or any(r["result"] == "fail" for r in ran) else 0


def expect(holds, text):
    if not holds:
        raise AssertionError(text)


def new_seed():
    """One for a whole run of tests/run: what fails is tried again with the same."""
    return int(os.environ.get("MILLRACE_SEED") or random.SystemRandom().randrange(1 << 32))


def build_dir():
    """The build directory: the test's only argument."""
    if len(sys.argv) != 2:
        sys.exit(f"usage: {sys.argv[0]} BUILD-DIR")
    return pathlib.Path(sys.argv[1]).resolve()
