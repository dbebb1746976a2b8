# SPDX-License-Identifier: BSD-3-Clause
"""Attaching, upgrading and detaching under traffic: several at once, killed half way, to another build's classifier with
other maps and back. Nothing is lost, nothing is reordered but at the switch itself, and the daemon says what it sees."""

import contextlib
import json
import random
import re
import subprocess
import sys
import time

from lab.cases import Cases, Stolen, build_dir, expect
from lab.netns import wait_until
from lab.ports import on_fast_path, served, told
from lab.star import StarLab

PPS = 20_000
# What the dataplane still holds of a flow when the kernel has the next packet of it, or the other way round.
AT_A_SWITCH = PPS * 0.01


def stale_heartbeats(lab):
    ports = json.loads(lab.router.steer("status", "--json").stdout)
    return sum(port["counters"].get("stale_heartbeat", {"packets": 0})["packets"] for port in ports)


@contextlib.contextmanager
def traffic(lab, version, seconds, switches):
    """From host a to host b. All of it arrives; in order, but where the kernel and the fast path take turns."""
    stale = stale_heartbeats(lab)
    with lab.traffic(PPS, seconds, [version]) as results:
        yield
    result = results[0]
    print(f"     IPv{version}: {result['sent']} sent, {result['lost']} lost, {result['reordered']} reordered, "
          f"{result['duplicated']} twice, largest gap {result['largest_gap_ms']} ms", flush=True)
    expect(result["lost"] == 0 and result["sent"] > PPS, f"{result['lost']} of {result['sent']} packets lost")
    expect(result["duplicated"] == 0, f"{result['duplicated']} packets came twice")
    if stale_heartbeats(lab) > stale:
        switches += 2  # on a busy machine: to the kernel and back, whatever was attached meanwhile
    expect(result["reordered"] <= switches * AT_A_SWITCH, f"{result['reordered']} packets reordered")


def steer_of(lab, other):
    return lab.build / "tests" / "netns" / "other_steering_bpf" / "other-steer" if other else lab.router.steer_bin


def attach(lab, *ports, other=False, flags=()):
    return lab.edge.run(steer_of(lab, other), "attach", *(ports or lab.ports), *flags, "--pin-root", lab.router.pin_root)


def log_since(lab, size):
    with open(lab.router.log_path, encoding="utf-8", errors="replace") as log:
        log.seek(size)
        return log.read()


def log_size(lab):
    return lab.router.log_path.stat().st_size


def all_served(lab):
    return all(served(lab, p) for p in lab.ports)


def fresh(lab):
    """This build's classifiers and daemon, all ports on the fast path, whatever the case before has left."""
    if lab.router.process is not None and told(lab).get("state") != "served":
        lab.router.stop()
    attach(lab, flags=["--force"])
    if lab.router.process is None or lab.router.process.poll() is not None:
        lab.router.start()
    lab.resolve("a", "b", "c")
    wait_until(lambda: all_served(lab) and on_fast_path(lab), "the fast path forwards", 5)


def forwarded(lab):
    return lab.router.counters()["forwarded"]


def bpftool(lab, *args):
    return lab.edge.run("bpftool", *args).stdout


def three_at_once(cases, lab):
    with cases.case("three attach of all ports at once, five times: each says the same, nothing changes, nothing is lost",
                    Stolen()):
        begin = log_size(lab)
        with traffic(lab, 4, 6, 0):
            for _ in range(5):
                three = [lab.edge.popen(lab.router.steer_bin, "attach", *lab.ports, "--pin-root", lab.router.pin_root,
                                        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) for _ in range(3)]
                said = {one.communicate(timeout=60)[0] for one in three}
                expect(len(said) == 1 and all(line.split(" ", 1)[1].startswith("already attached")
                                              for line in said.pop().splitlines()), f"they said {said}")
        expect(log_since(lab, begin) == "", f"the daemon said: {log_since(lab, begin)}")
        expect(on_fast_path(lab), "the fast path does not forward")


def play_another_program(lab, port):
    """What a build with the same maps and another program leaves: another hash."""
    pin = lab.router.pin_root / port / "port_state"
    value = [int(v, 16) for v in json.loads(bpftool(lab, "-j", "map", "lookup", "pinned", pin, "key", "0", "0", "0", "0"))["value"]]
    value[-1] ^= 0xff
    bpftool(lab, "map", "update", "pinned", pin, "key", "0", "0", "0", "0", "value", *value)


def same_maps(cases, lab):
    for version in (4, 6):
        with cases.case(f"another program over the same maps, five times: the fast path goes on, IPv{version}", Stolen()):
            begin, counted = log_size(lab), forwarded(lab)
            with traffic(lab, version, 6, 0):
                for _ in range(5):
                    for port in lab.ports:
                        play_another_program(lab, port)
                    said = attach(lab).stdout.splitlines()
                    expect(len(said) == len(lab.ports) and all(re.match(r"\w+: upgraded in native mode \(program \d+\); its maps "
                                                                        r"stay$", line) for line in said), f"it said {said}")
            wait_until(lambda: log_since(lab, begin).count("was replaced (program") >= 5, "the daemon says so", 1)
            expect(all_served(lab) and "kernel" not in log_since(lab, begin), f"the daemon said: {log_since(lab, begin)}")
            expect(forwarded(lab) - counted > PPS * 5, "the kernel had some of it")


def other_maps(cases, lab, version, drain):
    how = "drained" if drain else "as it is"
    with cases.case(f"to another build with other maps and back, {how}: nothing lost, IPv{version}", Stolen()):
        fresh(lab)
        begin = log_size(lab)
        with traffic(lab, version, 14, 4):
            if drain:
                lab.router.cli("drain")
            said = attach(lab, other=True).stdout.splitlines()
            switched = time.monotonic()
            expect(len(said) == len(lab.ports) and all("upgraded in native mode" in line and "with new maps" in line
                                                       for line in said), f"it said {said}")
            wait_until(lambda: ("drained" if drain else "another build's") in (told(lab).get("reason") or ""),
                       "show ports says so", 1, 0.02)
            wait_until(lambda: drain or log_since(lab, begin).count("another build's") == len(lab.ports),
                       "the log says so", 1 - (time.monotonic() - switched), 0.02)
            time.sleep(1)
            expect("starts again" not in log_since(lab, begin), "the daemon started itself again for maps that aren't its own")
            expect(lab.router.stop() == 0, lab.router.log_tail())
            said = attach(lab).stdout
            expect(said.count("upgraded in native mode") == len(lab.ports) and said.count("keep_mac") == len(lab.ports),
                   f"it said {said}")
            lab.router.start()
            lab.resolve("a", "b", "c")
            before = forwarded(lab)
            wait_until(lambda: forwarded(lab) > before + PPS / 2, "the fast path forwards", 4)
        expect(not any((lab.router.pin_root / p / "keep_mac").exists() for p in lab.ports), "the other's map is left")


def killed_half_way(cases, lab):
    with cases.case("forty attach of two builds in turn, killed half way: the next one ends what was begun, nothing lost",
                    Stolen()):
        lab.router.stop()
        begin = time.monotonic()
        attach(lab, "a0", other=True)
        takes = time.monotonic() - begin
        dice = random.Random(7)
        half = 0
        with traffic(lab, 4, 20, 0):
            ends = time.monotonic() + 18
            for turn in range(40):
                one = lab.edge.popen(steer_of(lab, turn % 2 == 0), "attach", "a0", "--pin-root", lab.router.pin_root,
                                     stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
                time.sleep(takes * dice.uniform(0.4, 1.1))
                one.kill()
                half += one.wait() < 0
                expect(lab.edge.link("a0").get("xdp"), "a0 has no classifier")
                if time.monotonic() > ends:
                    break
        print(f"     killed: {half} of {turn + 1}", flush=True)
        expect(half > 3, f"{half} of {turn + 1} were killed before they ended")
        fresh(lab)


def unknown_pins(cases, lab):
    stray = lab.router.pin_root / "c0" / "stray"
    with cases.case("pins of another version are named and refused, --force removes them, detach always works"):
        fresh(lab)
        number = lab.edge.link("c0")["xdp"]["prog"]["id"]
        bpftool(lab, "prog", "pin", "id", number, stray)
        refused = lab.router.steer("attach", "c0", check=False)
        expect(refused.returncode == 1 and refused.stderr.count("\n") == 1 and "doesn't know: stray;" in refused.stderr,
               f"it said {refused.stderr}")
        expect(on_fast_path(lab), "the fast path does not forward")
        said = lab.router.steer("attach", "c0", "--force").stdout
        expect("already attached" in said and "removed pins of another version: stray" in said, f"it said {said}")
        bpftool(lab, "prog", "pin", "id", number, stray)
        said = lab.router.steer("detach", "c0").stdout
        expect(said == "c0: detached; removed pins of another version: stray\n", f"it said {said}")
        expect(not stray.parent.exists() and not lab.edge.link("c0").get("xdp"), "something is left")
        lab.router.steer("attach", "c0")
        wait_until(lambda: served(lab), "c0 is served", 5)
        lab.resolve("a", "c")
        wait_until(lambda: on_fast_path(lab), "the fast path forwards", 5)


def noticed(cases, lab):
    def takes_off(title, words, command):
        with cases.case(f"{title}: noticed within a second, and said"):
            fresh(lab)
            begin = log_size(lab)
            command()
            wait_until(lambda: told(lab).get("state") == "kernel" and words in (told(lab).get("reason") or ""),
                       f"show ports says '{words}'", 1, 0.02)
            expect(words in log_since(lab, begin), f"the log says {log_since(lab, begin)}")
            lab.router.steer("attach", "c0")
            wait_until(lambda: served(lab), "c0 is served", 10)
            lab.resolve("a", "c")
            wait_until(lambda: on_fast_path(lab), "the fast path forwards", 5)

    link = lab.router.pin_root / "c0" / "link"
    takes_off("detached by millrace-steer", "no classifier attached", lambda: lab.router.steer("detach", "c0"))
    takes_off("the link detached by another tool", "its classifier was detached",
              lambda: bpftool(lab, "link", "detach", "pinned", link))
    takes_off("replaced by another build's", "another build's", lambda: attach(lab, "c0", other=True))


def main():
    cases = Cases("netns.upgrade")
    with StarLab(build_dir()) as lab:
        lab.start()
        lab.start_router()
        lab.resolve("a", "b", "c")
        three_at_once(cases, lab)
        same_maps(cases, lab)
        for version in (4, 6):
            for drain in (False, True):
                other_maps(cases, lab, version, drain)
        unknown_pins(cases, lab)
        noticed(cases, lab)
        killed_half_way(cases, lab)
    return cases.finish()


if __name__ == "__main__":
    sys.exit(main())
