# SPDX-License-Identifier: BSD-3-Clause
"""Steps of a demonstration: printed as they happen, with what was seen, and kept for --json."""

import contextlib
import json
import sys
import textwrap
import time


class StepFailed(Exception):
    """A check of a step did not hold; the text says what was expected and what was seen."""


class Step:
    def __init__(self, number, title):
        self.number = number
        self.title = title
        self.result = "running"
        self.error = None
        self.seconds = 0.0
        self.checks = []
        self.figures = {}

    def note(self, text):
        print(textwrap.fill(text, 96, initial_indent="      ", subsequent_indent="        "), flush=True)

    def figure(self, name, value):
        self.figures[name] = value
        return value

    def check(self, holds, what, seen=""):
        """Prints what was seen where it holds; ends the step where it does not."""
        text = f"{what}: {seen}" if seen != "" else what
        self.checks.append({"what": what, "seen": str(seen), "holds": bool(holds)})
        if not holds:
            raise StepFailed(text)
        mark = textwrap.fill(text, 94, initial_indent="  ok  ", subsequent_indent="        ")
        print(mark, flush=True)

    def as_json(self):
        return {"step": self.number, "title": self.title, "result": self.result, "error": self.error,
                "seconds": round(self.seconds, 3), "checks": self.checks, "figures": self.figures}


class Steps:
    def __init__(self):
        self.all = []

    @contextlib.contextmanager
    def step(self, title):
        step = Step(len(self.all) + 1, title)
        self.all.append(step)
        print(f"\n{step.number}. {title}", flush=True)
        start = time.monotonic()
        try:
            yield step
            step.result = "held" if step.checks else "failed"
            step.error = None if step.checks else "nothing was checked"
        except (StepFailed, TimeoutError, RuntimeError, OSError, KeyError, ValueError) as error:
            step.result = "failed"
            kind = "" if isinstance(error, (StepFailed, TimeoutError, RuntimeError)) else \
                f"{type(error).__name__}: "
            step.error = kind + str(error)
        except BaseException:
            step.result, step.error = "failed", "interrupted"
            raise
        finally:
            step.seconds = time.monotonic() - start
        if step.result != "held":
            print(f" FAIL {step.error}", flush=True)

    @property
    def failed(self):
        return [s for s in self.all if s.result != "held"]

    def summary(self):
        print()
        for s in self.all:
            print(f"  {s.result:<6}  {s.number}. {s.title}  ({s.seconds:.1f} s)")
        held = len(self.all) - len(self.failed)
        print(f"\n{held} of {len(self.all)} steps held", flush=True)

    def write_json(self, path, extra):
        document = dict(extra, steps=[s.as_json() for s in self.all],
                        result="held" if self.all and not self.failed else "failed")
        with (sys.stdout if path == "-" else open(path, "w", encoding="utf-8")) as out:
            json.dump(document, out, indent=2)
            out.write("\n")
