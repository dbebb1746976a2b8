# SPDX-License-Identifier: BSD-3-Clause
"""Killed 21 times in 20 s at steady traffic, by kill -9 and abort(): what is lost, and for how long."""

import json
import pathlib
import signal
import sys
import time

from lab.cases import Cases, Stolen, build_dir, expect
from lab.neighbours import all_managed
from lab.netns import wait_until
from lab.star import StarLab

PPS = 20000  # of each family
KILLS, SECONDS = 21, 20
MOST_MS = 10        # lost for each death, at the sent rate
BACK_SECONDS = 2
DPDK = pathlib.Path("/run/dpdk")


def redirected(lab):
    """Packets that the classifier of a0 has given to the fast path; no daemon is asked."""
    port = json.loads(lab.router.steer("status", "--json").stdout)[0]
    return port["counters"]["redirect"]["packets"]


def traffic(lab, seconds, during):
    """[result of each family] of steady traffic while during() runs."""
    with lab.traffic(PPS, seconds) as results:
        during()
    return results


def ms(result):
    return result["lost"] * 1000 / PPS


def text(results):
    return ", ".join(f"IPv{v} {ms(r):.1f} ms, longest gap {r['largest_gap_ms']:.0f} ms" for v, r in zip((4, 6), results))


def kill_again_and_again(lab, kill, count, backs):
    """Kills the daemon, starts it again as a supervisor would, and waits until packets are redirected again."""
    period = SECONDS / KILLS
    begin = time.monotonic()
    for n in range(count):
        wait_until(lambda n=n: time.monotonic() >= begin + n * period, "the next kill is due", 10, 0.01)
        if time.monotonic() > begin + count * period:
            break  # starting takes longer than it should: not all fit into the time that the traffic has
        before = redirected(lab)
        died = time.monotonic()
        kill()
        lab.router.process.wait()
        lab.router.start()
        wait_until(lambda b=before: redirected(lab) > b, "packets take the fast path again", 5, 0.02)
        backs.append(time.monotonic() - died)


def deaths(cases, lab, what, kill, count=KILLS):
    stolen = Stolen()
    with cases.case(f"{what}, {count} times: {MOST_MS} ms lost each at most, {BACK_SECONDS} s until the next", stolen):
        seconds = count * SECONDS / KILLS + 1
        lab.router.stop()
        twin = traffic(lab, seconds, lambda: None)
        lab.router.start()
        lab.resolve("a", "b")
        backs = []
        results = traffic(lab, seconds + 8, lambda: kill_again_and_again(lab, kill, count, backs))
        died = len(backs)
        print(f"    {died} times; lost: {text(results)}; with the kernel alone: {text(twin)}; back after "
              f"{sorted(backs)[len(backs) // 2]:.2f} s, {max(backs):.2f} s at most")
        for result, alone in zip(results, twin):
            expect(ms(result) - ms(alone) <= MOST_MS * died, f"{ms(result) / died:.1f} ms lost at each death")
        expect(died > count / 2, f"only {died} deaths in {seconds} s")
        expect(sorted(backs)[len(backs) // 2] <= BACK_SECONDS, f"back on the fast path after {backs} s")
        expect("its timeout must" not in lab.router.log_tail(10000), "it is not told of its end")


def left_behind(lab):
    """What a daemon makes outside of itself, by kind."""
    pins = sorted(str(p.relative_to(lab.router.pin_root)) for p in lab.router.pin_root.rglob("*") if p.is_file())
    return {"neighbour entries kept": all_managed(lab.edge), "pins": pins,
            "TAPs": [row["ifname"] for row in lab.edge.ip_json("link", "show") if row["ifname"].startswith("mr-")],
            "links": [row["ifname"] for row in lab.edge.ip_json("link", "show")]}


def nothing_left(cases, lab):
    """Two more kills, each with entries that the kernel keeps for the daemon; then one life that ends well."""
    with cases.case("what killed daemons leave is taken over, and taken away at an orderly end"):
        lab.router.stop()
        before, folders = left_behind(lab), set(DPDK.iterdir()) if DPDK.exists() else set()
        for _ in range(2):
            lab.router.start()
            lab.resolve("a", "b")
            traffic(lab, 1, lambda: None)
            wait_until(lambda: all_managed(lab.edge), "the kernel keeps entries for the daemon", 5)
            lab.router.kill()
        expect(all_managed(lab.edge), "a killed daemon has left nothing to take over")
        lab.router.start()
        lab.resolve("a", "b")
        expect(lab.router.stop() == 0, lab.router.log_tail())
        after = left_behind(lab)
        expect(after == before, f"left: {after}, before: {before}")
        # A second daemon's folder is the first one's.
        more = set(DPDK.iterdir()) - folders - {DPDK / "millrace"}
        expect(not more, f"left by DPDK: {sorted(map(str, more))}")


def main():
    cases = Cases("netns.killed")
    with StarLab(build_dir()) as lab:
        lab.start().start_router()
        lab.resolve("a", "b")
        deaths(cases, lab, "kill -9", lambda: lab.router.process.send_signal(signal.SIGKILL))
        deaths(cases, lab, "abort()", lambda: lab.router.process.send_signal(signal.SIGABRT), 5)
        nothing_left(cases, lab)
    return cases.finish()


if __name__ == "__main__":
    sys.exit(main())
