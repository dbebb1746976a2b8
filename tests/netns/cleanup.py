# SPDX-License-Identifier: BSD-3-Clause
"""The lab leaves nothing behind, however it ends, and two of them can be up at once."""

import os
import pathlib
import signal
import subprocess
import sys

from lab.base import labs, remove
from lab.cases import Cases, build_dir, expect
from lab.netns import wait_until
from lab.topology import EdgeLab

# A process that has a whole lab up, FRR too, and waits.
CHILD = """
import sys, pathlib, signal
from lab.topology import EdgeLab
with EdgeLab(pathlib.Path(sys.argv[1])) as lab:
    lab.start()
    lab.start_frr()
    print(lab.name, flush=True)
    signal.pause()
"""


def traces(name):
    """All that is left of a lab."""
    found = [str(p) for folder in ("/run/netns", "/etc/frr", "/var/run/frr")
             for p in pathlib.Path(folder).glob(f"{name}-*")]
    if pathlib.Path("/run", name).exists():
        found.append(f"/run/{name}")
    with open("/proc/self/mounts", encoding="utf-8") as mounts:
        found += [line.split()[1] for line in mounts if f"/run/{name}/" in line]
    return found


def start(build):
    child = subprocess.Popen(["/usr/bin/python3", "-c", CHILD, build], stdout=subprocess.PIPE, text=True,
                             env=dict(os.environ))
    name = child.stdout.readline().strip()
    expect(name, "the lab did not come up")
    return child, name


def ended_by(cases, build, sig):
    with cases.case(f"a lab ended by {sig.name} leaves nothing behind"):
        child, name = start(build)
        expect(len(traces(name)) > 10, f"only {traces(name)} of a lab that is up")
        child.send_signal(sig)
        child.wait(30)
        child.stdout.close()
        expect(not traces(name), f"left: {traces(name)}")
        expect(child.returncode == 128 + sig, f"exit code {child.returncode}")


def main():
    cases = Cases("netns.cleanup")
    build = build_dir()
    ended_by(cases, build, signal.SIGINT)
    ended_by(cases, build, signal.SIGTERM)
    with cases.case("what a lab killed with -9 leaves is removed by the next one"):
        child, name = start(build)
        child.kill()
        child.wait()
        child.stdout.close()
        expect(traces(name), "nothing was left to remove")
        with EdgeLab(build) as lab:
            lab.start()
            expect(not traces(name), f"left: {traces(name)}")
        expect(not traces(lab.name), f"left of its own: {traces(lab.name)}")
    with cases.case("two labs at once, and a lab marked as kept is no leftover"):
        child, name = start(build)
        (pathlib.Path("/run") / name / "kept").touch()
        try:
            with EdgeLab(build) as lab:
                lab.start()
                expect(lab.name != name and traces(name), "the other lab is gone")
                expect({name, lab.name} <= {n for n, _, _ in labs()}, "they do not know of each other")
        finally:
            child.kill()
            child.wait()
            child.stdout.close()
            wait_until(lambda: not (remove(name) or traces(name)), "the kept lab is removed")
    return cases.finish()


if __name__ == "__main__":
    sys.exit(main())
