# SPDX-License-Identifier: BSD-3-Clause
"""Ports that are not there, or not as configured: the others are served, and it is said why."""

import sys
import time

from lab.cases import Cases, build_dir, expect
from lab.netns import CommandError, wait_until
from lab.ports import blast, forwarded, on_fast_path, punts, row, served
from lab.star import StarLab, host_address
from lab.traffic import ping

BACK = 2.0  # s, from when the port is there


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
    cases = Cases("netns.absent")
    with StarLab(build_dir()) as lab:
        lab.start().start_router()
        absent_at_start(cases, lab)
        queues(cases, lab)
        altname(cases, lab)
    return cases.finish()


if __name__ == "__main__":
    sys.exit(main())
