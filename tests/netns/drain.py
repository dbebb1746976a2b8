# SPDX-License-Identifier: BSD-3-Clause
"""drain, undrain and reload under traffic: nothing is lost, nothing is reordered but at the switch itself."""

import contextlib
import os
import signal
import sys

from lab.cases import Cases, Stolen, build_dir, expect
from lab.netns import CommandError, wait_until
from lab.star import StarLab, edge_address, host_address
from lab.traffic import ping

PPS = 20_000


@contextlib.contextmanager
def traffic(lab, version, seconds):
    """From host a to host b; nothing of it gets lost."""
    with lab.traffic(PPS, seconds, [version]) as results:
        yield
    result = results[0]
    expect(result["lost"] == 0 and result["sent"] > PPS, f"{result['lost']} of {result['sent']} packets lost")


def forwarded(lab, sender="a"):
    """How many packets of three pings the worker forwards: six on the fast path, none while the kernel has it."""
    before = lab.router.settled_counters()["forwarded"]
    p = ping(lab.netns[sender], host_address("b"), 3)
    expect(p["received"] == 3, f"{p['received']} of 3 pings came back")
    return lab.router.settled_counters()["forwarded"] - before


def states(lab):
    return {row["port"]: (row["state"], row["reason"] or "") for row in lab.router.show("ports")}


def descriptors(lab):
    return len(os.listdir(f"/proc/{lab.router.process.pid}/fd"))


def drained(cases, lab, version, ports):
    what = ports[0] if ports else "all ports"
    with cases.case(f"drain and undrain of {what} five times: nothing lost, IPv{version}", Stolen()):
        with traffic(lab, version, 4):
            for _ in range(5):
                said = lab.router.cli("drain", *ports)
                expect(all(line.endswith(": drained; the kernel forwards") for line in said.stdout.splitlines()) and
                       len(said.stdout.splitlines()) == (len(ports) or len(lab.ports)), f"it said {said.stdout}")
                wrong = {p: s for p, s in states(lab).items()
                         if (s[0] == "kernel" and s[1].startswith("drained")) != (not ports or p in ports)}
                expect(not wrong, f"ports: {wrong}")
                said = lab.router.cli("undrain", *ports)
                expect("on the fast path" in said.stdout, f"it said {said.stdout}")
    with cases.case(f"{what} drained: the kernel has its traffic; undrained: the fast path, IPv{version}"):
        lab.router.cli("drain", *ports)
        expect(forwarded(lab) == 0, "the worker forwards")
        lab.router.cli("undrain", *ports)
        wait_until(lambda: forwarded(lab) == 6, "the fast path forwards", 5)


def reload_unchanged(cases, lab):
    with cases.case("the same file 100 times and 200 signals: nothing changes, is lost or leaks", Stolen()):
        before, counted = descriptors(lab), lab.router.counters()["forwarded"]
        with traffic(lab, 4, 4):
            for _ in range(100):
                expect(lab.router.cli("reload").stdout == "nothing has changed\n", "it changed something")
                lab.router.signal(signal.SIGHUP)
                lab.router.signal(signal.SIGHUP)
        expect(descriptors(lab) <= before, f"{descriptors(lab)} descriptors, {before} before")
        expect(lab.router.counters()["forwarded"] > counted + PPS, "it was started again, or did not forward")


def reload_keep(cases, lab):
    with cases.case("[keep] is applied at once", Stolen()):
        counted = lab.router.counters()["forwarded"]
        with traffic(lab, 6, 3):
            lab.router.write_config(extra='\n[keep]\nprefixes = ["10.0.2.0/24"]\nprotocols = ["esp"]\n')
            expect(lab.router.cli("reload").stdout == "changed: [keep]\n", "it says something else")
            expect(forwarded(lab) < 2, "what is kept is forwarded")  # the other flow shares the counter
        lab.router.write_config()
        lab.router.signal(signal.SIGHUP)
        wait_until(lambda: forwarded(lab) == 6, "the fast path forwards", 5)
        expect(lab.router.counters()["forwarded"] > counted + PPS, "it was started again")


def reload_again(cases, lab):
    with cases.case("what needs it: a drained restart, and a drained port stays drained", Stolen()):
        lab.router.cli("drain", "c0")
        before = lab.router.counters()["forwarded"]
        with traffic(lab, 4, 5):
            lab.router.write_config(extra="\n[punt]\nrate = 10000\n")
            said = lab.router.cli("reload").stdout
            expect(said == "changed: [punt]; millraced starts again, the kernel forwards meanwhile\n", f"it said {said}")
            # Another life: a new one counts from zero.
            wait_until(lambda: 0 < forwarded_so_far(lab) < before, "it serves again", 10)
        expect(states(lab)["c0"][1].startswith("drained"), f"c0: {states(lab)['c0']}")
        expect(forwarded(lab, "c") == 0, "the worker forwards what comes from c")
        lab.router.cli("undrain", "c0")
        lab.resolve("a", "b", "c")
        wait_until(lambda: forwarded(lab) == 6, "the fast path forwards", 5)
        wait_until(lambda: forwarded(lab, "c") == 6, "the fast path forwards what comes from c", 5)
    with cases.case("what happens to a drained port counts when it is undrained"):
        lab.router.cli("drain", "c0")
        lab.edge.ip("link", "set", "c0", "down")
        wait_until(lambda: not [row for row in lab.router.show("ports") if row["port"] == "c0" and row["usable"]],
                   "millrace knows that it is down", 5)
        lab.router.cli("undrain", "c0")
        lab.router.cli("drain", "c0")
        lab.edge.ip("link", "set", "c0", "up")
        lab.edge.ip("-6", "addr", "replace", f"{edge_address('c', 6)}/64", "dev", "c0", "nodad")
        wait_until(lambda: [row for row in lab.router.show("ports") if row["port"] == "c0" and row["usable"]],
                   "millrace knows that it is up", 5)
        lab.router.cli("undrain", "c0")
        lab.resolve("c")
        wait_until(lambda: forwarded(lab, "c") == 6, "the fast path forwards what comes from c", 5)


def forwarded_so_far(lab):
    try:
        return lab.router.counters()["forwarded"]
    except CommandError:  # it starts again
        return 0


def mistakes(cases, lab):
    def refused(said, *words):
        lines = said.stderr.splitlines()
        expect(said.returncode == 1 and len(lines) == 1 and all(w in lines[0] for w in words), f"{said.returncode}: {lines}")

    with cases.case("a file with a mistake: one line, and all stays as it was"):
        lab.router.write_config()
        good = lab.router.config_path.read_text()
        two_cores = good.replace("cores = [1]", "cores = [0, 1]").replace("[[port]]\n", "[[port]]\nqueues = 2\n")
        two_cores += "\n[sizes]\nmbufs = 32768\n"
        nowhere = good.replace(str(lab.router.socket_path), "/proc/nowhere/m.sock")
        for text, words in ((good + "\n[punt]\nrat = 1\n", ("rat", "unknown key")), ("", ("no port",)),
                            (two_cores, ("a0", "queue", "ethtool -L")), (nowhere, ("/proc/nowhere/m.sock",)),
                            (good.replace("a0", "x0").replace("b0", "x1").replace("c0", "x2"), ("x0", "attach"))):
            lab.router.config_path.write_text(text)
            refused(lab.router.cli("reload", check=False), *words)
            lab.router.signal(signal.SIGHUP)
            wait_until(lambda: words[0] in lab.router.log_tail(5), "the log says so", 2)
        lab.router.config_path.write_text(good)
        expect(forwarded(lab) == 6, "the fast path does not forward")
    with cases.case("a port that is none: one line that names it"):
        for verb in ("drain", "undrain"):
            refused(lab.router.cli(verb, "eth9", check=False), "eth9", "show ports")


def main():
    cases = Cases("netns.drain")
    with StarLab(build_dir()) as lab:
        lab.start()
        lab.start_router()
        lab.resolve("a", "b", "c")
        for version in (4, 6):
            for ports in (("a0",), ("b0",), ()):
                drained(cases, lab, version, ports)
        reload_unchanged(cases, lab)
        reload_keep(cases, lab)
        reload_again(cases, lab)
        mistakes(cases, lab)
    return cases.finish()


if __name__ == "__main__":
    sys.exit(main())
