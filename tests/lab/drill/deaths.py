# SPDX-License-Identifier: BSD-3-Clause
"""Nothing happens; the daemon dies again and again; all of it or one thread stands still."""

import contextlib
import signal
import statistics
import time

from ..cases import Skip, expect
from ..netns import wait_until
from ..oom import OomGroup
from ..star import host_address
from ..stopping import stopped, stopped_thread, thread
from ..topology import ANNOUNCED_B_HOST
from .drill import Drill, no_more_lost
from .rig import C_PPS

EACH_MS = 10        # lost for each death
BACK_SECONDS = 2.0
STOP_MS = 60        # lost while it stands still
HEARTBEAT_MS = 50  # [steering] heartbeat_timeout_ms, by default


class Nothing(Drill):
    title = "nothing happens"
    required = "0; loaded: the kernel's + 0.1 %"
    seconds, brief_seconds = 10, 4
    stays_fast = True


class Death(Drill):
    """The daemon dies, and is started again as a supervisor would."""
    required = f"<= {EACH_MS} ms each, back in {BACK_SECONDS:g} s"
    times, brief_times, period = 21, 3, 20 / 21
    twin_acts = False

    def __init__(self, brief=False):
        super().__init__(brief)
        self.count = self.brief_times if brief else self.times
        self.lasts = self.count * self.period + 4

    def die(self, side):
        raise NotImplementedError

    def start(self, side):
        side.router.start()

    def act(self, side, figures):
        backs = figures["back_seconds"] = []
        begin, length = time.monotonic(), self.count * self.period
        for n in range(self.count):
            time.sleep(max(0, begin + n * self.period - time.monotonic()))
            if time.monotonic() > begin + length:
                break  # starting takes longer than it should: not all fit into the time that the traffic has
            died = time.monotonic()
            self.die(side)
            side.router.process.wait()
            before = side.redirected()
            self.start(side)
            wait_until(lambda b=before: side.redirected() > b, "packets take the fast path again", 10, 0.02)
            backs.append(time.monotonic() - died)

    def judge(self, mill, twin, loaded):
        backs = mill.figures["back_seconds"]
        yield from no_more_lost(mill, twin, loaded, EACH_MS * len(backs))
        if len(backs) < self.count * 0.6:
            yield f"only {len(backs)} deaths of {self.count} fitted into the time"
        if max(backs) > BACK_SECONDS:
            yield f"back on the fast path after {max(backs):.2f} s at worst"

    def note(self, mill, twin):
        backs = mill.figures["back_seconds"]
        return f"{len(backs)} times, {mill.lost_ms / len(backs):.1f} ms each; back after {statistics.median(backs):.2f} s, " \
            f"{max(backs):.2f} s at most"


class Kill(Death):
    title = "kill -9"

    def die(self, side):
        side.router.process.send_signal(signal.SIGKILL)


class Abort(Death):
    title = "abort()"
    brief = False

    def die(self, side):
        side.router.process.send_signal(signal.SIGABRT)


class OutOfMemory(Death):
    title = "killed by the OOM killer"
    brief_times = 1

    def prepare(self, side):
        self.group = OomGroup(f"{side.lab.name}-oom")
        self.group.__enter__()
        side.router.stop()
        self.start(side)
        side.ready()

    def start(self, side):
        with self.group.born_inside():
            side.router.start()

    def die(self, side):
        self.group.run_out(side.router.process.pid)
        code = side.router.process.wait(5)
        expect(code == -signal.SIGKILL, f"it was not killed: {code}")

    def settle(self, side, figures):
        side.router.stop()
        with contextlib.suppress(AttributeError):  # where it could not be made
            self.group.__exit__()
        side.router.start()


class Stop(Drill):
    required = f"<= {STOP_MS} ms, none older than {HEARTBEAT_MS} ms"
    seconds, brief_seconds = 8, 3.6
    twin_acts = False

    def stop(self, side):
        raise NotImplementedError

    def act(self, side, figures):
        time.sleep(1)
        with self.stop(side):
            self.meanwhile(side, figures)
        time.sleep(0.5)

    def meanwhile(self, side, figures):
        time.sleep(self.lasts - 3)

    def judge(self, mill, twin, loaded):
        yield from no_more_lost(mill, twin, loaded, STOP_MS)
        if mill.gap_ms > STOP_MS + twin.gap_ms:
            yield f"a gap of {mill.gap_ms:.0f} ms"
        if mill.oldest_ms > HEARTBEAT_MS + twin.oldest_ms:
            yield f"a packet came {mill.oldest_ms:.0f} ms late"

    def note(self, mill, twin):
        return f"{mill.lost_ms:.0f} ms lost; the oldest packet came {mill.oldest_ms:.0f} ms late, the kernel's " \
            f"{twin.oldest_ms:.0f} ms"


class StopDaemon(Stop):
    title = "SIGSTOP of the daemon, 5 s"

    def stop(self, side):
        return stopped(side.router.process.pid)


class StopWorker(Stop):
    title = "one worker thread stopped, 5 s"

    def stop(self, side):
        pid = side.router.process.pid
        return stopped_thread(pid, thread(pid, "rte-worker"))


class StopPunter(Stop):
    """What it has to hand back goes to d, over a link that is no port."""
    title = "the punting thread stopped, 5 s"
    required = f"<= {STOP_MS} ms, of the punts too"

    def runs(self, side):
        return super().runs(side) + side.blasts_to("d", self.lasts)

    def stop(self, side):
        pid = side.router.process.pid
        return stopped_thread(pid, thread(pid, "millrace-punt"))

    def more(self, side, results, figures):
        figures["punts_lost_ms"] = max(r["lost"] for r in results) * 1000 / C_PPS
        figures["punts_oldest_ms"] = max(r["oldest_ms"] for r in results)

    def judge(self, mill, twin, loaded):
        yield from super().judge(mill, twin, loaded)
        lost, oldest = mill.figures["punts_lost_ms"], mill.figures["punts_oldest_ms"]
        if lost > STOP_MS + twin.figures.get("punts_lost_ms", 0):
            yield f"{lost:.0f} ms of punts lost"
        if oldest > HEARTBEAT_MS + twin.figures.get("punts_oldest_ms", 0):
            yield f"a punt came {oldest:.0f} ms late"

    def note(self, mill, twin):
        return f"{super().note(mill, twin)}; punts: {mill.figures['punts_lost_ms']:.0f} ms lost, the oldest " \
            f"{mill.figures['punts_oldest_ms']:.0f} ms late"


class StopWhileRoutesChange(StopDaemon):
    """What goes to peer-b goes to c from then on, which drops it."""
    title = "SIGSTOP of the daemon, 5 s, a route changes"
    required = "0 by the old table after SIGCONT"

    def routes(self, side, verb):
        for version, address in zip((4, 6), ANNOUNCED_B_HOST):
            side.lab.edge.ip(f"-{version}", "route", verb, address, "via", host_address("c", version), "dev", "c0",
                             check=verb == "replace")

    def meanwhile(self, side, figures):
        time.sleep((self.lasts - 3) / 2)
        self.routes(side, "replace")
        time.sleep((self.lasts - 3) / 2)
        figures["at_peer_b"] = udp_received(side.lab.netns["peer-b"])

    def settle(self, side, figures):
        self.routes(side, "del")

    def more(self, side, results, figures):
        if "at_peer_b" in figures:
            figures["by_the_old_table"] = udp_received(side.lab.netns["peer-b"]) - figures.pop("at_peer_b")

    def judge(self, mill, twin, loaded):
        if mill.figures["by_the_old_table"]:
            yield f"{mill.figures['by_the_old_table']} packets by the old table"

    def note(self, mill, twin):
        return f"{mill.figures['by_the_old_table']} packets by the old table after SIGCONT (what goes by the new one counts " \
            "as lost)"


class ZeroCopy(Drill):
    """In copy mode the classifier has buffers of the netdev's own; what can be seen is that both sizes are told."""
    title = "zero-copy port, SIGSTOP under a burst"
    required = "as in copy mode"
    seconds, brief_seconds = 2, 2
    twin_acts = False

    def act(self, side, figures):
        for row in side.router.ask("ports"):
            expect(row["fill_buffers"] >= row["rx_ring"] > 0, f"{row['port']}: {row['rx_ring']} descriptors to receive, "
                   f"{row['fill_buffers']} buffers")
        raise Skip("no driver here has zero-copy sockets; that a full receive ring leaves 1,024 of the 2,048 buffers to the NIC is "
                   "asserted by unit test Rings.AFullReceiveRingLeavesWhatTheNicNeeds")


def udp_received(netns):
    """Datagrams of both families that came to the namespace, whether somebody listened or not."""
    text = netns.run("cat", "/proc/thread-self/net/snmp").stdout.splitlines()
    names, values = [line.split()[1:] for line in text if line.startswith("Udp:")]
    four = dict(zip(names, map(int, values)))
    six = dict(line.split() for line in netns.run("cat", "/proc/thread-self/net/snmp6").stdout.splitlines())
    return four["InDatagrams"] + four["NoPorts"] + int(six["Udp6InDatagrams"]) + int(six["Udp6NoPorts"])


DRILLS = (Nothing, Kill, Abort, OutOfMemory, StopDaemon, StopWorker, StopPunter, StopWhileRoutesChange, ZeroCopy)
