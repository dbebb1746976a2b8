# SPDX-License-Identifier: BSD-3-Clause
"""Busy loops of an unprivileged user: they take nothing from the fast path, and hold up no start."""

import os
import pathlib
import sys

from lab.cases import Cases, Skip, Stolen, build_dir, expect
from lab.load import BusyLoops, Load
from lab.star import StarLab

WORKER_CORE = 1  # as Router.write_config() has it
PPS = 10000      # of each family
SECONDS = 4
START_SECONDS = 2.0  # as the fast path must be back after a kill


def traffic(lab):
    """Lost and sent of both families at once."""
    everywhere = os.sched_getaffinity(0)
    # Sender and counter are kept off that core: what they would lose there is not the router's.
    os.sched_setaffinity(0, everywhere - {WORKER_CORE})
    try:
        with lab.traffic(PPS, SECONDS) as results:
            pass  # nothing but that
    finally:
        os.sched_setaffinity(0, everywhere)
    return sum(r["lost"] for r in results), sum(r["sent"] for r in results)


def real_time(lab):
    """Is a thread of the daemon of a real-time class (man 5 proc_pid_stat: policy, field 41)?"""
    tasks = f"/proc/{lab.router.process.pid}/task"
    policies = []
    for task in os.listdir(tasks):
        with open(f"{tasks}/{task}/stat", encoding="ascii", errors="replace") as stat:
            policies.append(int(stat.read().rsplit(")", 1)[1].split()[38]))
    return any(p in (os.SCHED_FIFO, os.SCHED_RR) for p in policies)


def starved(cases, lab, count):
    stolen = Stolen()
    with cases.case(f"{count} busy loops on the worker's core: nothing is lost", stolen):
        if not real_time(lab):
            raise Skip(f"the kernel gives the worker no real-time class here: {lab.router.log_tail(20)}")
        lab.router.stop()
        with BusyLoops([WORKER_CORE] * count):
            twin_lost, twin_sent = traffic(lab)
        lab.router.start()
        lab.resolve("a", "b")
        before = lab.router.settled_counters()["forwarded"]
        with BusyLoops([WORKER_CORE] * count):
            lost, sent = traffic(lab)
        forwarded = lab.router.settled_counters()["forwarded"] - before
        print(f"    {lost} of {sent} lost, {forwarded} on the fast path; with the kernel alone {twin_lost} of {twin_sent}")
        expect(lost <= twin_lost + sent // 1000, f"{lost} of {sent} lost; with the kernel alone {twin_lost}")
        expect(forwarded >= 0.98 * sent, f"{forwarded} of {sent} took the fast path")


def starts(cases, lab):
    """After a kill -9, for instance: until then the kernel forwards."""
    with cases.case("busy loops on all cores and a compiler: it starts within 2 s all the same", Stolen()):
        took = []
        with Load():
            for _ in range(5):
                lab.router.kill()
                took.append(lab.router.start())
        took.sort()
        stat = pathlib.Path(f"/proc/{lab.router.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        print(f"    after {', '.join(f'{seconds:.2f}' for seconds in took)} s, at nice {stat[16]}")
        expect(took[len(took) // 2] <= START_SECONDS, f"after {took} s")
        expect(stat[16] == "-10", f"it runs at nice {stat[16]}")
        autogroup = pathlib.Path(f"/proc/{lab.router.process.pid}/autogroup")
        if autogroup.exists():
            expect(autogroup.read_text().endswith("nice -10\n"), f"its session: {autogroup.read_text()}")


def main():
    cases = Cases("netns.starved")
    if os.cpu_count() < 2:
        with cases.case("busy loops on the worker's core"):
            raise Skip("there is one core only")
        return cases.finish()
    with StarLab(build_dir()) as lab:
        lab.start().start_router()
        lab.resolve("a", "b")
        for count in (8, 30):
            starved(cases, lab, count)
        starts(cases, lab)
    return cases.finish()


if __name__ == "__main__":
    sys.exit(main())
