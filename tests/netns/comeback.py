# SPDX-License-Identifier: BSD-3-Clause
"""A port that goes and comes back, whatever way: it returns to the fast path by itself, and nobody else notices.

Each case runs in two labs at once, one with millrace and one with the kernel alone, with traffic between two
other ports and to the port's host.
"""

import json
import pathlib
import re
import socket
import sys
import threading
import time

from lab.cases import Cases, build_dir, expect
from lab.netns import CommandError, wait_until
from lab.star import Probe, StarLab, edge_address, host_address
from lab.traffic import Blast, ping

PPS = 2000
BLAST = 5  # s; the port is back long before
BACK = 2.0  # s, from when the port is there
# Packets to the port's host that may be lost beyond what the kernel loses: the same commands take longer in one
# of two labs than in the other.
SLACK = PPS * 0.15
AWAY = 0.3  # s, how long it stays away at least


class Pair:
    """The router with millrace, and the one with the kernel alone."""

    def __init__(self, build):
        self.build = build
        self.labs = []

    def __enter__(self):
        for _ in range(2):
            self.labs.append(StarLab(self.build).start())  # a lab's name is free until it is started
            self.labs[-1].add_netns("box")
        self.mill, self.kernel = self.labs
        return self

    def __exit__(self, *_):
        for lab in self.labs:
            lab.close()

    def both(self, change):
        threads = [threading.Thread(target=change, args=(lab,)) for lab in self.labs]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()


def row(lab, port="c0"):
    return next(r for r in lab.router.ask("ports") if r["port"] == port)


def served(lab, port="c0"):
    try:
        return row(lab, port)["state"] == "served"
    except (OSError, CommandError, ValueError):
        return False  # it is just starting again


def redirected(lab, port="c0"):
    """By the classifier's own counters: no daemon is asked."""
    status = json.loads(lab.router.steer("status", port, "--json").stdout)
    return status[0]["counters"].get("redirect", {"packets": 0})["packets"]


def forwarded(lab, port):
    return sum(r["packets"] for r in lab.router.ask("counters")
               if r["port"] == port and r["reason"] == "forwarded")


def on_fast_path(lab):
    """Three pings between a and c: each is redirected, forwarded and counted on both ports."""
    before = redirected(lab), forwarded(lab, "c0"), forwarded(lab, "a0")
    if ping(lab.netns["a"], host_address("c"), 3, wait=1)["received"] != 3:
        return False
    lab.router.settled_counters()
    grown = redirected(lab) - before[0], forwarded(lab, "c0") - before[1], forwarded(lab, "a0") - before[2]
    return all(n >= 3 for n in grown)


def exact(lab):
    """What is counted as forwarded has left, as it should."""
    with lab.netns["c"].socket(socket.AF_INET6) as heard, Probe(lab) as probe:
        heard.bind(("::", 9))  # so that the host answers nothing
        for version in (4, 6):
            spoke, frame = probe.send(host_address("c", version))
            expect(spoke == "c" and not probe.wrong("c", frame), f"IPv{version} to c came out at {spoke}")
    before = forwarded(lab, "a0")
    run = blast(lab, "c", 1)
    try:
        result = run.finish()
    finally:
        run.stop()
    counted = lab.router.settled_counters() and forwarded(lab, "a0") - before
    expect(result["lost"] == 0, f"{result['lost']} of {result['sent']} packets to c lost")
    # Where the heartbeat was late, some took the kernel's way.
    expect(result["received"] / 2 < counted <= result["received"],
           f"{counted} counted as forwarded, {result['received']} arrived")


def punts(lab):
    """The way back into the kernel of c0."""
    p = ping(lab.netns["c"], "2001:db8:250::1", 1)
    expect("No route" in p["text"] and edge_address("c", 6) in p["text"], f"no answer of the edge: {p['text']}")


def blast(lab, spoke, seconds):
    return Blast(lab.build / "tests" / "netns", lab.netns["a"], lab.netns[spoke], host_address(spoke), PPS, seconds,
                 port=9000 + ord(spoke)).start()


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
        limit = lost[pair.kernel, "c"] + SLACK
        expect(lost[mill, "c"] <= limit, f"{lost[mill, 'c']} packets to c lost, {lost[pair.kernel, 'c']} by the kernel")
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


# What happens to c0.

def to_box_and_back(lab):
    box = lab.netns["box"]
    lab.edge.ip("link", "set", "c0", "netns", box.name)
    box.ip("link", "set", "c0", "up")
    time.sleep(AWAY)
    box.ip("link", "set", "c0", "netns", lab.edge.name)
    lab.edge.ip("link", "set", "c0", "up")
    lab.address_edge("c")


def made_again(lab):
    lab.edge.ip("link", "del", "c0")
    time.sleep(AWAY)
    lab.connect("c")


def made_again_at_once(lab):
    """With the same index: nothing but the sockets tells that it is another one."""
    index = lab.edge.link("c0")["ifindex"]
    lab.edge.ip("link", "del", "c0")
    lab.connect("c", left_index=index)


def renamed_and_back(lab):
    edge = lab.edge
    edge.ip("link", "set", "c0", "down")
    edge.ip("link", "set", "c0", "name", "other")
    edge.ip("link", "set", "other", "up")
    time.sleep(AWAY)
    edge.ip("link", "set", "other", "down")
    edge.ip("link", "set", "other", "name", "c0")
    edge.ip("link", "set", "c0", "up")
    edge.ip("addr", "replace", f"{edge_address('c', 6)}/64", "dev", "c0", "nodad")


def another_of_its_name(lab):
    for ns, name in ((lab.edge, "c0"), (lab.netns["c"], "eth0")):
        ns.ip("link", "set", name, "down")
        ns.ip("addr", "flush", "dev", name)
        ns.ip("link", "set", name, "name", "old")
    lab.connect("c")


def attached_again(lab):
    if lab.router.process is not None:
        lab.router.steer("detach", "c0")
        time.sleep(AWAY)
        lab.router.steer("attach", "c0")


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
        begin = time.monotonic()
        start_again(lab, wait=False)
        wait_until(lambda: "attached anew" in (row(lab)["reason"] or ""), "show ports says so", BACK)
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


def start_again(lab, wait=True):
    said = lab.router.log_path.read_text().count("millraced starts again")
    lab.router.steer("detach", "c0")
    lab.router.steer("attach", "c0")
    if wait:
        wait_until(lambda: lab.router.log_path.read_text().count("millraced starts again") > said,
                   "the daemon starts again", BACK, 0.005)


# Ports that aren't there from the start, and queues.

def absent_at_start(cases, lab):
    r = lab.router
    with cases.case("a port that is missing: the others are served, and it says why"):
        r.stop()
        r.steer("detach", "c0")
        lab.edge.ip("link", "del", "c0")
        r.start()
        lab.resolve("a", "b")
        expect(served(lab, "a0") and served(lab, "b0"), "a0 and b0 are not served")
        expect(row(lab)["state"] == "kernel" and "no such netdev" in row(lab)["reason"], f"{row(lab)}")
        before = forwarded(lab, "a0")
        expect(ping(lab.netns["a"], host_address("b"), 3)["received"] == 3, "no answer from b")
        r.settled_counters()
        expect(forwarded(lab, "a0") - before == 3, "a0 is not on the fast path")
        done = lab.edge.run(r.daemon_bin, "--check", "--config", r.config_path, check=False)
        expect(done.returncode == 1 and "port c0: no such netdev" in done.stderr, f"--check: {done.stderr}")
    with cases.case("it comes, without a classifier: the kernel's, as the operator wants it"):
        lab.connect("c")
        wait_until(lambda: "no classifier attached" in (row(lab)["reason"] or ""), "show ports says so", BACK)
        expect(ping(lab.netns["a"], host_address("c"), 3)["received"] == 3, "no answer from c")
        expect(not lab.edge.link("c0").get("xdp"), "somebody attached a classifier to c0")
    with cases.case("with a classifier it is served within 2 s"):
        r.steer("attach", "c0")
        wait_until(lambda: served(lab), "c0 is served", BACK)
        wait_until(lambda: on_fast_path(lab), "a and c talk over the fast path", BACK)
        punts(lab)


def queues(cases, lab):
    def served_queues():
        try:
            return row(lab)["queues"] if served(lab) else 0
        except (OSError, CommandError):
            return 0

    r = lab.router
    with cases.case("ethtool -L: more queues than configured change nothing, and fewer again neither"):
        r.stop()
        lab.edge.ip("link", "del", "c0")
        lab.connect("c", left_queues=2)
        lab.edge.run("ethtool", "-L", "c0", "rx", 1)
        r.steer("attach", "c0")
        r.start()
        lab.resolve("a", "c")
        run = blast(lab, "c", 3)
        try:
            for count in (2, 1):
                lab.edge.run("ethtool", "-L", "c0", "rx", count)
                time.sleep(0.6)
                expect(served_queues() == 1 and on_fast_path(lab), f"with {count} queues: {row(lab)}")
            result = run.finish()
        finally:
            run.stop()
        expect(result["lost"] == 0, f"{result['lost']} packets to c lost")
    with cases.case("fewer queues than configured: those that are there are served, and more once they are"):
        r.stop()
        text = r.config_path.read_text()
        more = text.replace('name = "c0"\n', 'name = "c0"\nqueues = 2\n') + "[sizes]\nmbufs = 32768\n"
        r.config_path.write_text(more)
        try:
            r.start()
            expect(served_queues() == 1, f"{row(lab)}")
            lab.edge.run("ethtool", "-L", "c0", "rx", 2)
            wait_until(lambda: served_queues() == 2, "both queues are served", BACK)
            wait_until(lambda: on_fast_path(lab), "a and c talk over the fast path", BACK)
        finally:
            r.config_path.write_text(text)


def altname(cases, lab):
    """A name that the kernel's messages do not tell."""
    r = lab.router
    lab.edge.ip("link", "property", "add", "dev", "c0", "altname", "uplink")
    text = r.config_path.read_text()
    bad = lab.dir / "altname.toml"
    bad.write_text(text.replace('name = "c0"', 'name = "uplink"'))
    with cases.case("an altname is refused, naming the device: millrace-steer, millraced --check"):
        done = r.steer("attach", "uplink", check=False)
        expect(done.returncode == 1 and "'c0'" in done.stderr, f"{done.returncode}: {done.stderr}")
        done = lab.edge.run(r.daemon_bin, "--check", "--config", bad, check=False)
        expect(done.returncode == 1 and "use 'c0'" in done.stderr, f"{done.returncode}: {done.stderr}")
    with cases.case("millraced leaves a port with an altname to the kernel, and says so"):
        r.stop()
        r.config_path.write_text(bad.read_text())
        try:
            r.start()
            expect(row(lab, "uplink")["state"] == "kernel" and "use 'c0'" in row(lab, "uplink")["reason"],
                   f"{row(lab, 'uplink')}")
            expect(ping(lab.netns["a"], host_address("c"), 3)["received"] == 3, "no answer from c")
        finally:
            r.config_path.write_text(text)


def main():
    cases = Cases("netns.comeback")
    with Pair(build_dir()) as pair:
        pair.mill.router.attach()
        cases_of_coming_back(cases, pair)
        restarts(cases, pair.mill)
        absent_at_start(cases, pair.mill)
        queues(cases, pair.mill)
        altname(cases, pair.mill)
    return cases.finish()


if __name__ == "__main__":
    sys.exit(main())
