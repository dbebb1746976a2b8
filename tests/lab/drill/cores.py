# SPDX-License-Identifier: BSD-3-Clause
"""Others want the worker's core, the kernel's configuration lock, or all that the classifier can be sent."""

import json
import random
import struct
import subprocess
import time

from .. import frames as f
from ..cases import Skip
from ..load import NOBODY, BusyLoops
from ..star import host_address
from ..topology import ANNOUNCED_B_HOST
from ..traffic import Blast
from .drill import Drill
from .rig import C_PORT, beside

WORKER_CORE = 1  # as Router.write_config() has it


class Busy(Drill):
    required = "the kernel's"
    count = 0
    scales = True
    stays_fast = True

    def prepare(self, side):
        self.loops = BusyLoops([WORKER_CORE] * self.count).__enter__()

    def settle(self, side, figures):
        self.loops.__exit__()  # takes a while: each must run to see that it was killed


class Busy8(Busy):
    title = "8 busy loops on the worker's core"
    count = 8
    brief = False


class Busy30(Busy):
    title = "30 busy loops on the worker's core"
    count = 30


# 300 veth pairs made, and deleted as a group: each deletion holds RTNL until all are gone.
HOLD_RTNL = """
while :; do
    for n in $(seq 300); do echo "link add a$n group 7 type veth peer name b$n group 7"; done | ip -batch -
    ip link del group 7
done
"""


class RtnlHeld(Drill):
    title = "RTNL held by an unprivileged user, 24 s"
    core = 0  # that the user is on
    required = "the kernel's, on the fast path"
    seconds, brief_seconds = 26, 6
    scales = True
    stays_fast = True

    def act(self, side, figures):
        waits = figures["waits"] = []

        def ask(stop):
            while not stop.is_set():
                begin = time.monotonic()
                side.lab.edge.ip("link", "set", "lo", "up")
                waits.append(time.monotonic() - begin)
                stop.wait(0.05)
        argv = [*NOBODY, "taskset", "-c", str(self.core), "unshare", "-U", "-r", "-n", "sh", "-c", HOLD_RTNL]
        with beside(ask):
            with subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as holder:
                try:
                    time.sleep(self.lasts - 2)
                    if holder.poll() is not None:
                        raise Skip("unprivileged users may make no network namespace here")
                finally:
                    # Its namespace goes with the last process in it.
                    end_session_of(holder)

    def judge(self, mill, twin, loaded):
        yield from super().judge(mill, twin, loaded)
        if max(mill.figures["waits"]) < 0.05:  # the heartbeat's timeout
            yield f"RTNL was held for {max(mill.figures['waits']):.2f} s at most: nothing was tried"

    def note(self, mill, twin):
        waits = mill.figures["waits"]
        return f"'ip link set' waited {sum(waits):.1f} s in all, {max(waits):.2f} s at most; {mill.fast:.1%} took the fast path"


class RtnlHeldHere(RtnlHeld):
    """A kernel without preemption (preempt=none) lets no real-time task onto a core before its system call ends or rests."""
    title = "RTNL held from the worker's core, 24 s"
    core = WORKER_CORE
    brief = False


def end_session_of(process):
    process.kill()
    process.wait()


PUNT_PPS = 200_000


class BulkPunts(Drill):
    """To d, over a link that is no port."""
    title = "200,000 punts a second that the kernel carries on"
    required = "<= 1 % beyond the kernel's"
    seconds, brief_seconds = 6, 4
    pps = 10_000

    def prepare(self, side):
        if side.millrace:
            side.wait_nothing_punted()

    def runs(self, side):
        # As ordinary tasks: real-time ones of this rate would keep ksoftirqd from what they send.
        return side.blasts(self.lasts, self.pps, ()) + [Blast(side.lab.tools, side.sender, side.lab.netns["d"], host_address("d"),
                                                              PUNT_PPS, self.lasts, port=C_PORT)]

    def more(self, side, results, figures):
        figures["punts"] = results[0]

    def judge(self, mill, twin, loaded):
        yield from super().judge(mill, twin, loaded)
        ours, theirs = (o.figures["punts"] for o in (mill, twin))
        if ours["sent"] < PUNT_PPS * self.lasts / 2:
            yield f"only {ours['sent']} punts were sent"
        if ours["lost"] / ours["sent"] > theirs["lost"] / theirs["sent"] + 0.01:
            yield f"{ours['lost'] / ours['sent']:.2%} of the punts lost"

    def note(self, mill, twin):
        ours, theirs = (o.figures["punts"] for o in (mill, twin))
        return f"punts lost: {ours['lost'] / ours['sent']:.2%} of {ours['sent']:,}, longest gap {ours['largest_gap_ms']:.0f} ms; " \
            f"the kernel's {theirs['lost'] / theirs['sent']:.2%}, {theirs['largest_gap_ms']:.0f} ms"


def malformed(rng, to, source, version):
    """A frame that would be transit, but for one thing or two."""
    src, dst = host_address("c", version), ANNOUNCED_B_HOST[version == 6]
    kind, packet = f.packet(src, dst, f.UDP, f.udp(src, dst, 9, 9, rng.randbytes(rng.randrange(18, 200))))
    packet = bytearray(packet)
    for _ in range(rng.randint(1, 2)):
        if len(packet) < 41:
            break
        what = rng.randrange(6)
        if what == 0:
            packet[0] = rng.randrange(256)  # version, header length
        elif what == 1:
            at = 2 if version == 4 else 4  # total or payload length
            packet[at:at + 2] = struct.pack("!H", rng.choice((0, 1, 19, 21, 65535, rng.randrange(65536))))
        elif what == 2:
            packet[rng.randrange(20 if version == 4 else 40)] ^= 1 << rng.randrange(8)
        elif what == 3:
            packet = packet[:rng.randrange(1, len(packet))]
        elif what == 4:
            packet[9 if version == 4 else 6] = rng.choice((0, 43, 44, 51, 58, 60, 135, 139))  # a header that isn't there
        else:
            at = 12 if version == 4 else 8  # the source
            packet[at:at + 4] = rng.choice((b"\x7f\0\0\1", b"\xff" * 4, b"\xe0\0\0\1", bytes(4)))
    if rng.random() < 0.05:
        kind = rng.choice((0x8100, 0x88A8, 0x0806, 0, 0xFFFF))
    frame = f.ethernet(to, source, kind, bytes(packet))
    return frame if rng.random() > 0.02 else frame[:rng.randrange(14, 40)]


class Malformed(Drill):
    title = "60 s of malformed frames at full rate"
    required = "held: the kernel's, the same process"
    seconds, brief_seconds = 60, 5
    scales = True

    def act(self, side, figures):
        rng = random.Random(12)
        to, source = side.lab.edge.mac("c0"), side.lab.netns["c"].mac("eth0")
        path = side.lab.dir / "malformed"
        frames = [malformed(rng, to, source, rng.choice((4, 6))) for _ in range(4096)]
        path.write_bytes(b"".join(struct.pack("=H", len(frame)) + frame for frame in frames))
        pid = side.millrace and side.router.process.pid
        done = side.lab.netns["c"].run("taskset", "-c", "0", side.lab.tools / "frame-blast", "eth0", path, self.lasts - 2,
                                       timeout=self.lasts + 30)
        figures["frames"] = json.loads(done.stdout)["sent"]
        figures["same_process"] = not pid or side.router.process.poll() is None
        if side.millrace:
            figures["verify"] = side.router.cli("verify", check=False).returncode

    def judge(self, mill, twin, loaded):
        yield from super().judge(mill, twin, loaded)
        if not mill.figures["same_process"]:
            yield "the daemon has ended"
        if mill.figures["verify"]:
            yield "'millrace verify' finds a difference"

    def note(self, mill, twin):
        return f"{mill.figures['frames']:,} frames; beside the kernel alone {twin.figures['frames']:,}"


DRILLS = (Busy8, Busy30, RtnlHeld, RtnlHeldHere, BulkPunts, Malformed)
