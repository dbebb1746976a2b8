# SPDX-License-Identifier: BSD-3-Clause
"""The demonstration as a test: each of its steps is a case."""

import json
import os
import pathlib
import subprocess
import sys
import tempfile

from lab.base import labs
from lab.cases import Cases, build_dir, expect

TESTS = pathlib.Path(__file__).resolve().parent.parent


def main():
    cases = Cases("netns.demo")
    before = set(os.listdir("/run/netns")) if os.path.isdir("/run/netns") else set()
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "demo.json"
        done = subprocess.run([TESTS / "demo", "--build-dir", build_dir(), "--json", path], check=False,
                              stdin=subprocess.DEVNULL)
        with cases.case("writes its result"):
            expect(path.exists(), f"no JSON file; exit code {done.returncode}")
        steps = json.loads(path.read_text(encoding="utf-8"))["steps"] if path.exists() else []
    for step in steps:
        with cases.case(step["title"]):
            expect(step["result"] == "held", step["error"])
    with cases.case("exit code says whether all steps held"):
        held = len(steps) == 7 and all(s["result"] == "held" for s in steps)
        expect((done.returncode == 0) == held, f"exit code {done.returncode}, {len(steps)} steps")
    with cases.case("leaves nothing behind"):
        left = set(os.listdir("/run/netns")) - before
        alive = {name for name, _, _ in labs()}
        ours = {n for n in left if n.rsplit("-", 2)[0] not in alive and n.rsplit("-", 1)[0] not in alive}
        expect(not ours, f"namespaces {sorted(ours)}")
    return cases.finish()


if __name__ == "__main__":
    sys.exit(main())
