# SPDX-License-Identifier: BSD-3-Clause
"""A port that goes and comes back, whatever way: it returns to the fast path by itself, and nobody else notices.

Each case runs in two labs at once, one with millrace and one with the kernel alone, with traffic between two
other ports and to the port's host.
"""

import pathlib
import re
import sys
import threading
import time

from lab import port_moves
from lab.cases import Cases, build_dir, expect
from lab.comings import (another_of_its_name, ask_soon_again, attached_again, made_again, made_again_at_once,
                         renamed_and_back, to_box_and_back)
from lab.netns import wait_until
from lab.ports import PPS, blast, exact, on_fast_path, punts, served, told
from lab.star import StarLab, host_address
from lab.traffic import ping

BLAST = 5  # s; the port is back long before
BACK = 2.0  # s, from when the port is there
# Packets to the port's host that may be lost beyond what the kernel loses, and those of the time that the same
# commands took longer.
SLACK = PPS * 0.15


class Pair:
    """The router with millrace, and the one with the kernel alone."""

    def __init__(self, build):
        self.build = build
        self.labs = []
        self.took = {}  # seconds that the last change took in each lab

    def __enter__(self):
        for _ in range(2):
            lab = StarLab(self.build).start()  # a lab's name is free until it is started
            self.labs.append(lab)
            lab.add_netns("box")
            ask_soon_again(lab)
        self.mill, self.kernel = self.labs
        return self

    def __exit__(self, *_):
        for lab in self.labs:
            lab.close()

    def both(self, change):
        def timed(lab):
            begin = time.monotonic()
            change(lab)
            self.took[lab] = time.monotonic() - begin
        threads = [threading.Thread(target=timed, args=(lab,)) for lab in self.labs]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()


def comes_back(cases, pair, title, change, again=True):
    """change(lab): what happens to c0; when it returns, the port is there. again: the daemon starts again for it."""
    with cases.case(title):
        mill = pair.mill
        fresh_daemon(mill)
        lives = mill.router.log_path.read_text().count("millraced starts again")
        runs = {(lab, spoke): blast(lab, spoke, BLAST) for lab in pair.labs for spoke in "bc"}
        try:
            time.sleep(0.3)
            pair.both(change)
            there = time.monotonic()
            wait_until(lambda: served(mill), "c0 is served", BACK)
            took = time.monotonic() - there
            wait_until(lambda: on_fast_path(mill), "a and c talk over the fast path", BACK + 3 - took)
            lost = {key: run.finish()["lost"] for key, run in runs.items()}
        finally:
            for run in runs.values():
                run.stop()
        expect(lost[mill, "b"] <= lost[pair.kernel, "b"], f"{lost[mill, 'b']} packets between other ports lost")
        # The classifier's coming and going costs nothing at all.
        longer = 0 if change is attached_again else max(0, pair.took[mill] - pair.took[pair.kernel])
        limit = lost[pair.kernel, "c"] + SLACK + PPS * longer
        expect(lost[mill, "c"] <= limit, f"{lost[mill, 'c']} packets to c lost, {lost[pair.kernel, 'c']} by the kernel; the "
               f"change took {longer * 1000:.0f} ms longer")
        starts = mill.router.log_path.read_text().count("millraced starts again") - lives
        expect(starts == (1 if again else 0), f"the daemon started again {starts} times")
        wait_until(lambda: all(ping(mill.netns["a"], host_address("c", v), 1)["received"] for v in (4, 6)),
                   "host c answers over both families", 10)
        mill.resolve("c")
        exact(mill)
        punts(mill)


def fresh_daemon(lab):
    """With its free restarts unspent, and all ports served."""
    if lab.router.process is not None:
        expect(lab.router.stop() == 0, f"the daemon did not end well: {lab.router.log_tail()}")
    lab.router.start()
    lab.resolve("a", "b", "c")
    wait_until(lambda: all(served(lab, p) for p in lab.ports), "all ports are served", 5)


def cases_of_coming_back(cases, pair):
    comes_back(cases, pair, "moved to another namespace and back", to_box_and_back)
    comes_back(cases, pair, "deleted and made again", made_again)
    comes_back(cases, pair, "deleted and made again at once, with the same ifindex", made_again_at_once)
    comes_back(cases, pair, "renamed and back", renamed_and_back, again=False)
    comes_back(cases, pair, "another netdev takes its name", another_of_its_name)
    with cases.case("the netdev that lost its name has lost the classifier"):
        for lab in pair.labs:
            expect(not lab.edge.link("old").get("xdp"), "it is still there")
            lab.edge.ip("link", "del", "old")
    comes_back(cases, pair, "the classifier detached and attached again", attached_again)


def restarts(cases, lab):
    r = lab.router
    with cases.case("a restart leaves nothing open behind, and keeps process and CPUs"):
        fresh_daemon(lab)

        def process():
            folder = pathlib.Path(f"/proc/{r.process.pid}")
            status = (folder / "status").read_text()
            return (len(list((folder / "fd").iterdir())), re.search(r"Cpus_allowed_list:\t(.*)", status)[1],
                    re.search(r"Name:\t(.*)", status)[1])
        before = process()
        for _ in range(3):
            start_again(lab)
            wait_until(lambda: served(lab), "c0 is served", BACK)
        now = process()
        expect(now[1:] == before[1:], f"CPUs and name: {before} before, {now} now")
        # A conversation or two of the test's come and go; three sockets a restart would stay.
        expect(now[0] <= before[0] + 2, f"{before[0]} descriptors before, {now[0]} now")
        expect(before[2] == "millraced", before[2])
    with cases.case("after three restarts in a minute the next one waits, and show ports goes on saying why"):
        # The first wait, of a second, may be over by the time that a slow start is; the next is two seconds long.
        start_again(lab)
        wait_until(lambda: served(lab), "c0 is served", BACK)
        begin = time.monotonic()
        start_again(lab, wait=False)
        wait_until(lambda: "attached anew" in (told(lab).get("reason") or ""), "show ports says so", BACK)
        expect(ping(lab.netns["a"], host_address("c"), 3)["received"] == 3, "no answer from c")
        wait_until(lambda: served(lab), "c0 is served", 5)
        expect(time.monotonic() - begin > 0.9, "it did not wait")
    with cases.case("SIGTERM while it starts again ends it"):
        for delay in (0, 0.05, 0.15, 0.3):
            fresh_daemon(lab)
            start_again(lab)
            time.sleep(delay)
            expect(r.stop() == 0, f"{delay} s after: {r.log_tail()}")
            expect(not r.socket_path.exists(), "its socket is still there")


def others_program(cases, lab):
    """An XDP program of somebody else, on a netdev that was a port, is not the daemon's to take away."""

    def attach_theirs():
        lab.edge.ip("link", "set", "dev", "c0", "xdp", "obj", lab.build / "steering_bpf" / "classifier.bpf.o",
                    "sec", "xdp.frags")
        return lab.edge.link("c0")["xdp"]["prog"]["id"]

    def made_anew():
        lab.connect("c", left_index=port_moves.delete(lab.edge, "c0"))

    for title, change in (("detached from", lambda: None), ("made anew with the same ifindex", made_anew)):
        with cases.case(f"a port {title}: another's XDP program stays when the daemon ends"):
            lab.router.start()
            lab.router.steer("detach", "c0")
            change()
            theirs = attach_theirs()
            wait_until(lambda: not served(lab), "c0 is left to the kernel", BACK)
            expect(lab.router.stop() == 0, lab.router.log_tail())
            expect(lab.edge.link("c0").get("xdp", {}).get("prog", {}).get("id") == theirs, "it is gone")
            lab.edge.ip("link", "set", "dev", "c0", "xdp", "off")
            lab.router.steer("attach", "c0")


def start_again(lab, wait=True):
    said = lab.router.log_path.read_text().count("millraced starts again")
    lab.router.steer("detach", "c0")
    lab.router.steer("attach", "c0")
    if wait:
        wait_until(lambda: lab.router.log_path.read_text().count("millraced starts again") > said,
                   "the daemon starts again", BACK, 0.005)


def main():
    cases = Cases("netns.comeback")
    with Pair(build_dir()) as pair:
        pair.mill.router.attach()
        cases_of_coming_back(cases, pair)
        restarts(cases, pair.mill)
        others_program(cases, pair.mill)
    return cases.finish()


if __name__ == "__main__":
    sys.exit(main())
