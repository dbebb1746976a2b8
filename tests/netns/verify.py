# SPDX-License-Identifier: BSD-3-Clause
"""`millrace verify` and the audit in the background: what is planted is found, what is in flight is no difference."""

import json
import re
import subprocess
import sys
import threading

from lab.cases import Cases, Stolen, build_dir, expect
from lab.netns import wait_until
from lab.star import StarLab, host_address
from lab.traffic import Blast

ROUTES4, ROUTES6 = 16_000, 4_000
VICTIM4, VICTIM6 = "20.0.77.0/24", "2a00:77::/32"
KINDS = {"fib": "fast path", "fib-group": "fast path", "mirror": "mirror", "mirror-route": "mirror"}


def verify(lab, *args):
    """(exit code, the object of --json)"""
    done = lab.router.cli("verify", "--json", *args, check=False)
    expect(done.returncode in (0, 1), f"exit code {done.returncode}: {done.stderr.strip()}")
    return done.returncode, json.loads(done.stdout)


def expect_equal(lab, *args):
    code, said = verify(lab, *args)
    expect(code == 0 and said["differences"] == 0 and not said["list"], f"exit code {code}: {said}")
    return said


def batch(lab, lines):
    subprocess.run(["ip", "-n", lab.edge.name, "-force", "-batch", "-"], input="\n".join(lines) + "\n", text=True,
                   capture_output=True, check=False, timeout=60)


def load(lab):
    via4, via6 = f"via {host_address('b')}", f"via {host_address('b', 6)}"
    batch(lab, [f"nexthop add id 1 {via4} dev b0", f"nexthop add id 2 via {host_address('c')} dev c0"])
    batch(lab, [f"route add 20.{n >> 8}.{n & 255}.0/24 " + (f"nhid {1 + n % 2}" if n % 4 else via4)
                for n in range(ROUTES4)])
    batch(lab, [f"route add 2a00:{n:x}::/32 {via6}" for n in range(ROUTES6)])
    batch(lab, ["route add blackhole 21.0.0.0/8", "route add unreachable 22.0.0.0/8", f"route add 20.0.0.0/8 {via4}",
                f"route add 20.0.1.0/24 {via4} metric 50", f"route add 2a00::/16 {via6}"])
    wait_until(lambda: lab.router.show("sync")[0]["prefixes"] > ROUTES4 + ROUTES6, "millrace has the routes", 20, 0.1)


class Churn:
    """Routes that come, change and go as fast as `ip -batch` puts them, until the end of the with block."""

    def __init__(self, lab):
        self.lab = lab
        self.stop = threading.Event()
        self.rounds = 0
        self.thread = threading.Thread(target=self.run)

    def run(self):
        b4, c4 = f"via {host_address('b')}", f"via {host_address('c')}"
        b6, c6 = f"via {host_address('b', 6)}", f"via {host_address('c', 6)}"
        prefixes = [(f"30.{n >> 8}.{n & 255}.128/25", b4, c4) for n in range(1500)]
        prefixes += [(f"2600:{n:x}::/48", b6, c6) for n in range(1500)]
        while not self.stop.is_set():
            batch(self.lab, [f"route replace {p} {first}" for p, first, _ in prefixes] +
                  [f"route replace {p} {second}" for p, _, second in prefixes] +
                  [f"route del {p}" for p, _, _ in prefixes])
            self.rounds += 1

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.stop.set()
        self.thread.join()


def equal(lab):
    said = expect_equal(lab)
    expect(said["routes4"] > ROUTES4 and said["routes6"] > ROUTES6, f"too few routes were compared: {said}")
    expect(said["nexthops"] == 2 and said["neighbors"] >= 4 and said["prefixes"] > ROUTES4 + ROUTES6, str(said))
    text = lab.router.cli("verify").stdout
    expect(re.fullmatch(r"verified [\d,]+ IPv4 and [\d,]+ IPv6 routes, 2 nexthops, [\d,]+ neighbors in [\d.]+ s: "
                        r"no difference\n", text), f"it said {text!r}")


def planted(lab, kind, prefix):
    before = lab.router.routes()[prefix]
    lab.router.cli("debug", "plant", kind, prefix)
    code, said = verify(lab)
    found = [(d["subject"], d["where"]) for d in said["list"]]
    expect(code == 1 and said["differences"] == 1 and found == [(prefix, KINDS[kind])], f"exit code {code}: {said}")
    lab.router.wait_route(prefix, outcome=before["outcome"], nexthop_id=before["nexthop_id"])
    expect_equal(lab)


def sampled(lab):
    said = expect_equal(lab, "--sample", "500")
    expect(said["routes4"] + said["routes6"] == 500, f"not 500 prefixes: {said}")
    expect(said["not_asked"] < 50, f"too many were not asked for: {said}")
    lab.router.cli("debug", "plant", "mirror-route", VICTIM4)
    code, said = verify(lab, "--sample", "100000")
    expect(code == 1 and [d["subject"] for d in said["list"]] == [VICTIM4], f"exit code {code}: {said}")
    wait_until(lambda: verify(lab, "--sample", "100000")[0] == 0, "the resync has repaired it", 5)


def many(lab):
    """More than a screen of them: all counted, all repaired."""
    prefixes = [f"20.1.{n}.0/24" for n in range(60)]
    for prefix in prefixes:
        lab.router.cli("debug", "plant", "fib", prefix)
    code, said = verify(lab)
    expect(code == 1 and sorted(d["subject"] for d in said["list"]) == sorted(prefixes), f"exit code {code}: {said}")
    log = lab.router.log_path.read_text()
    expect("40 more differences" in log, "the log does not say how many more")
    expect_equal(lab)


def churned(lab):
    resyncs = lab.router.show("sync")[0]["resyncs"]
    with Churn(lab) as churn:
        runs = 0
        while runs < 4 or (churn.rounds < 3 and runs < 20):
            expect_equal(lab)
            expect_equal(lab, "--sample", "300")
            runs += 1
    expect_equal(lab)
    expect(lab.router.show("sync")[0]["resyncs"] == resyncs, "a resync was needed")


def traffic(lab):
    """The control thread is not away for long, and no packet takes another way. (What a busy machine's rings lose is
    no matter of verify.)"""
    before, stale = lab.router.settled_counters(), lab.router.steering().get("stale_heartbeat", 0)
    run = Blast(lab.build / "tests" / "netns", lab.netns["a"], lab.netns["b"], host_address("b"), 20_000, 4).start()
    try:
        for _ in range(3):
            expect_equal(lab)
        result = run.finish()
    finally:
        run.stop()
    after = lab.router.settled_counters()
    moved = {reason: n - before.get(reason, 0) for reason, n in after.items() if n != before.get(reason, 0)}
    expect(moved.get("forwarded", 0) >= result["received"] > 0, f"{result} but {moved}")
    expect(set(moved) == {"forwarded"}, f"other outcomes: {moved}")
    expect(lab.router.steering().get("stale_heartbeat", 0) == stale, "the heartbeat went stale")


def differences_logged(lab):
    return re.findall(r"warning: audit: (\S+): (.*); (?:repaired|a resync repairs it)", lab.router.log_path.read_text())


def background(lab):
    r = lab.router
    r.stop()
    r.log_path.unlink()
    r.write_config(extra="\n[audit]\ncpu_percent = 50\n")
    r.start()
    wait_until(lambda: r.show("sync")[0]["prefixes"] > ROUTES4 + ROUTES6, "millrace has the routes", 20, 0.1)
    for kind, prefix in (("fib", VICTIM4), ("fib-group", VICTIM6), ("mirror", VICTIM6), ("mirror-route", VICTIM4)):
        before = r.routes()[prefix]
        count = len(differences_logged(lab))
        r.cli("debug", "plant", kind, prefix)
        wait_until(lambda: len(differences_logged(lab)) > count, f"the audit finds '{kind}' of {prefix}", 20, 0.1)
        subject, what = differences_logged(lab)[-1]
        expect(subject == prefix and what.startswith(KINDS[kind]), f"it found {subject}: {what}")
        r.wait_route(prefix, outcome=before["outcome"], nexthop_id=before["nexthop_id"])
    expect_equal(lab)


def background_churned(lab):
    count = len(differences_logged(lab))
    with Churn(lab) as churn:
        wait_until(lambda: churn.rounds >= 5, "five rounds of changes", 60, 0.1)
    found = differences_logged(lab)[count:]
    expect(not found, f"false differences: {found[:5]}")


def refused(lab):
    done = lab.router.cli("debug", "plant", "fib", VICTIM4, check=False)
    expect(done.returncode == 2 and done.stderr == "millrace: millraced was started without --debug-hooks\n",
           f"exit code {done.returncode}: {done.stderr}")


def main():
    cases = Cases("netns.verify")
    with StarLab(build_dir()) as lab:
        lab.start()
        lab.router.daemon_flags = ["--debug-hooks"]
        lab.router.write_config(extra="\n[audit]\ncpu_percent = 0\n")
        lab.start_router()
        lab.resolve("a", "b", "c")
        load(lab)
        with cases.case("no difference"):
            equal(lab)
        for prefix in (VICTIM4, VICTIM6):
            for kind in KINDS:
                with cases.case(f"{kind} of {prefix} is found, and repaired"):
                    planted(lab, kind, prefix)
        with cases.case("--sample"):
            sampled(lab)
        with cases.case("many differences"):
            many(lab)
        with cases.case("what changes meanwhile is no difference"):
            churned(lab)
        with cases.case("no packet is lost while it runs", stolen=Stolen()):
            traffic(lab)
        with cases.case("the audit in the background finds and repairs"):
            background(lab)
        with cases.case("the audit in the background takes no change for a difference"):
            background_churned(lab)
        with cases.case("nothing is planted without --debug-hooks"):
            lab.router.stop()
            lab.router.daemon_flags = []
            lab.router.start()
            refused(lab)
    return cases.finish()


if __name__ == "__main__":
    sys.exit(main())
