# SPDX-License-Identifier: BSD-3-Clause
"""summary.py ROOT RESULTS: counts the cases of all the tests that ran, by label.

GoogleTest programs wrote PROGRAM.xml, the Python tests NAME.json, ctest ctest.xml, all in RESULTS/TREE. A
program that left no file counts as one case; one that died has one failed case more. RESULTS/TREE/again-N has the same of
what failed and was run again: its last run counts, and what failed before is told.
"""

import collections
import json
import pathlib
import re
import subprocess
import sys
import xml.etree.ElementTree as ET

ORDER = ["style", "unit", "bpf", "dataplane", "fuzz", "netns", "package"]
# Tests whose every case is printed: what the product promises, and by which names.
SHOWN = {"netns.conformance": "The conformance table, against a router of the kernel alone:",
         "netns.random_frames": "Random routes and frames, against the same:",
         "netns.soak": "The soak:"}


TOLD = {"skip": "skipped", "again": "at first", "fail": "FAILED"}


class Label:
    def __init__(self):
        self.passed = self.failed = self.skipped = 0
        self.seconds = 0.0


class Summary:
    def __init__(self):
        self.labels = collections.defaultdict(Label)
        self.lines = []
        self.shown = collections.defaultdict(list)
        self.again = []  # tests that were run more than once

    def case(self, label, name, result, why=""):
        row = self.labels[label]
        if result == "ok":
            row.passed += 1
            return
        if result == "skip":
            row.skipped += 1
        else:
            row.failed += 1
        self.tell(result, name, why)

    def tell(self, result, name, why):
        """A line about what did not pass; result: skip, again (it failed, and was run again) or fail."""
        said = [l.strip() for l in why.splitlines() if l.strip()] or ["no reason given"]
        # GoogleTest's first line of a failure is only its place in the source.
        lines = said[:1] if result == "skip" else said[:6]
        self.lines.append((result, f"{TOLD[result]:<9}{name}: " + "\n    ".join(lines)))


def gtest_cases(path):
    for case in ET.parse(path).getroot().iter("testcase"):
        name = f"{case.get('classname')}.{case.get('name')}"
        failure, skipped = case.find("failure"), case.find("skipped")
        if failure is not None:
            yield name, "fail", failure.get("message") or failure.text or ""
        elif skipped is not None or case.get("result") == "skipped":
            # The message begins with the place in the source; the reason is its last line.
            text = (skipped.get("message") or skipped.text or "") if skipped is not None else ""
            yield name, "skip", "\n".join(reversed(text.strip().splitlines()))
        elif case.get("status") == "run":
            yield name, "ok", ""


def python_cases(path):
    for case in json.loads(path.read_text(encoding="utf-8"))["cases"]:
        yield case["name"], case["result"], case.get("why", "")


def add_tree(summary, build, results):
    listing = subprocess.run(["ctest", "--test-dir", build, "--show-only=json-v1"], capture_output=True,
                             text=True, check=True)
    known = {}
    for test in json.loads(listing.stdout)["tests"]:
        labels = next((p["value"] for p in test.get("properties", []) if p["name"] == "LABELS"), ["?"])
        command = test.get("command") or [test["name"]]
        label = next((l for l in labels if l in ORDER), labels[0])
        known[test["name"]] = (label, pathlib.Path(command[0]).name)
    runs = collections.defaultdict(list)
    for folder in (results, *sorted(results.glob("again-*"))):
        for run in ET.parse(folder / "ctest.xml").getroot().iter("testcase"):
            runs[run.get("name")].append((folder, run))
    for name, tries in runs.items():
        label, program = known[name]
        failed = set()
        for folder, run in tries:
            is_last = run is tries[-1][1]
            summary.labels[label].seconds += float(run.get("time") or 0)
            for case, result, why in cases_of(name, program, folder, run):
                if result == "skip" and case in failed:
                    result, why = "fail", f"it failed, and could not run again: {why}"
                if is_last:
                    summary.case(label, case, result, why)
                    if name in SHOWN and case != name:
                        summary.shown[name].append((case.removeprefix(f"{name}: "), result, why))
                elif result == "fail":
                    failed.add(case)
                    summary.tell("again", case, why)
        if len(tries) > 1:
            summary.again.append(name)


def cases_of(name, program, results, run):
    """What a run of a test says: (case, result, why) of each."""
    cases = []
    try:
        if (results / f"{name}.json").exists():
            cases = list(python_cases(results / f"{name}.json"))
        elif (results / f"{program}.xml").exists():
            cases = list(gtest_cases(results / f"{program}.xml"))
    except (ET.ParseError, ValueError, KeyError):
        pass  # it died while writing; counted below
    passed = run.get("status") == "run"
    if not passed and not any(result == "fail" for _, result, _ in cases):
        # ctest marks as skipped both what said so itself and what could not be started: only the first is.
        skipped = run.find("skipped")
        why = skipped.get("message", "") if skipped is not None else "it failed; its output is above"
        skip = run.get("status") == "disabled" or why.startswith("SKIP_")
        cases.append((name, "skip" if skip else "fail", why))
    elif passed and not cases:
        cases.append((name, "ok", ""))
    return cases


def row_number(case):
    found = re.match(r"row (\d+):", case)
    return int(found[1]) if found else 0


def main():
    root, results = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])
    summary = Summary()
    checks = results / "style" / "checks"
    if checks.exists():
        for line in checks.read_text().splitlines():
            result, seconds, name = line.split()
            summary.case("style", name, result, "its output is above")
            summary.labels["style"].seconds += float(seconds)
    for tree in ("build-debug", "build"):
        if (results / tree / "ctest.xml").exists():
            add_tree(summary, root / tree, results / tree)

    for name, title in SHOWN.items():
        if summary.shown[name]:
            print(f"\n{title}")
        for case, result, why in sorted(summary.shown[name], key=lambda c: row_number(c[0])):
            said = {"ok": "passed", "skip": "skipped", "fail": "FAILED"}[result]
            print(f"  {said:<8}{case}" + (f": {why}" if result == "skip" else ""))
    print()
    for _, line in sorted(summary.lines, key=lambda x: list(TOLD).index(x[0])):
        print(line)
    if summary.again:
        print(f"\nRun again alone, since they failed: {', '.join(summary.again)}")
    print(f"\n{'label':<12}{'passed':>8}{'failed':>8}{'skipped':>8}{'seconds':>9}")
    total = Label()
    for name in sorted(summary.labels, key=lambda n: ORDER.index(n) if n in ORDER else 99):
        row = summary.labels[name]
        print(f"{name:<12}{row.passed:>8}{row.failed:>8}{row.skipped:>8}{row.seconds:>9.0f}")
        total.passed += row.passed
        total.failed += row.failed
        total.skipped += row.skipped
    print(f"\n{total.passed} passed, {total.failed} failed, {total.skipped} skipped")
    tests = sum(r.passed + r.failed for n, r in summary.labels.items() if n != "style")
    if tests == 0:
        print("error: no test ran", file=sys.stderr)
    return 1 if total.failed or tests == 0 else 0


if __name__ == "__main__":
    sys.exit(main())
