# SPDX-License-Identifier: BSD-3-Clause
"""Random routes and frames in both routers, in batches; the routes change every few batches."""

import collections
import random
import textwrap
import time

from ..cases import Cases, expect, new_seed
from ..netns import wait_until
from . import decode
from .exchange import Difference, Exchange, transit
from .may_differ import about_failed_host
from .random_frames import RandomFrames
from .random_net import LINK_LOCAL, RandomNet
from .twins import DEVICES, PORTS, Twins, behind, host_mac

FRAMES = 20000
BATCH = 200
BATCHES_A_NET = 5
MOST_DIFFERENCES = 5
# A host that does not answer is given up after one question, and the errors for its packets come a moment later.
GIVEN_UP = 0.15

# Reassembly is off, so that it does not depend on time what becomes of a fragment for the router itself.
SYSCTLS = {
    "net__ipv4__ipfrag_low_thresh": 0, "net__ipv4__ipfrag_high_thresh": 0,
    "net__ipv6__ip6frag_low_thresh": 0, "net__ipv6__ip6frag_high_thresh": 0,
    "net__ipv4__route__min_pmtu": 68,
    **{f"net__ipv{v}__neigh__{p}__{key}": value for v in (4, 6) for p in PORTS
       for key, value in (("mcast_solicit", 1), ("retrans_time_ms", 20), ("unres_qlen_bytes", 8 << 20))},
}


class RandomRun:
    def __init__(self, twins, seed):
        self.twins, self.seed = twins, seed
        self.net = None
        self.exchange = Exchange(twins, lambda link, frame: self.net.member_of(link, frame), redirects=False)
        self.sent = 0
        self.differences = []
        self.left = 0
        self.lost_errors = 0
        self.moved = collections.Counter()
        twins.set_sysctls(**SYSCTLS)
        twins.batch(*(f"neigh replace {a} lladdr {host_mac(d, 9)} nud permanent dev {d}"
                      for n, d in enumerate(DEVICES) for a in (f"198.19.{n}.9", f"2001:db8:19:{n}::9", LINK_LOCAL)))

    def new_net(self, number):
        if self.net:
            self.twins.batch(*self.net.remove(), force=True)
        self.net = RandomNet(random.Random(f"{self.seed} net {number}"))
        self.twins.batch(*self.net.add())
        self.twins.set_sysctls(**self.net.sysctls)
        # The kernel has no message for all of these: that millrace follows is seen on the wire.
        # Nor can it be seen of each device, whatever the random routes are: it is asked every half second.
        time.sleep(0.7)
        wait_until(self._heeded, "both routers heed the IPv6 MTUs and reverse path filters", 5)

    def _heeded(self):
        frames = [(PORTS[i - 1], transit(6, PORTS[i - 1], to, size=self.net.sysctls[f"net__ipv6__conf__{to}__mtu"] - 47))
                  for i, to in enumerate(PORTS)]
        frames += [(into, transit(4, into, into, source=source)) for into in PORTS
                   for source in (behind("u0", 4), "192.0.2.1")]
        try:
            moved = self.exchange(frames, seconds=0.2).moved
        except Difference:
            return None
        # By the kernel alone they would be alike as well, whatever millrace knows of the MTU.
        return not moved.get("keep_family")

    def run(self, count):
        """Sends so many frames, until too many differences; what is found is in differences."""
        batch = 0
        while self.sent < count and len(self.differences) < MOST_DIFFERENCES:
            if batch % BATCHES_A_NET == 0:
                self.new_net(batch // BATCHES_A_NET)
            frames = RandomFrames(random.Random(f"{self.seed} frames {batch}"), self.net)
            # Whole batches: the frames of a seed are the same however many are asked for.
            sends = [frames.frame(self.sent + i) for i in range(BATCH)]
            last = batch % BATCHES_A_NET == BATCHES_A_NET - 1
            try:
                out = self.exchange(sends[:count - self.sent], seconds=3, linger=GIVEN_UP if last else 0)
                self.left += len(out.left)
                self.moved.update(out.moved)
            except Difference as difference:
                if difference.frames and all(about_failed_host(frame) for _, frame, _ in difference.frames):
                    self.lost_errors += len(difference.frames)
                else:
                    self.differences.append(self.explain(difference, sends))
                self.twins.drain(0.5)
            self.sent += len(sends[:count - self.sent])
            batch += 1

    def explain(self, difference, sends):
        """The difference, and which of the frames it may come from, with the way they have."""
        suspects = {}
        for _, seen, _ in difference.frames[:8]:
            for i, (device, frame) in enumerate(sends):
                if _same_origin(frame, seen, self.sent + i):
                    suspects[self.sent + i] = device, frame
        said = [f"{difference}"]
        for index, (device, frame) in list(suspects.items())[:6]:
            packed = frame[30:34] if frame[12:14] == b"\x08\0" else frame[38:54]
            route = self.net.lookup(packed) if len(packed) in (4, 16) else None
            said.append(f"frame {index} went in at {device}, the route is {route.text if route else 'none of the random'}:\n"
                        + decode.text("the way in", frame))
        said.append(f"MTUs {self.net.mtu}; repeat with: tests/conformance --random {self.sent + BATCH} --seed {self.seed}")
        return "\n".join(said)


def _same_origin(frame, seen, index):
    """The frame's mark or addresses and identification are in what was seen."""
    mark = b"#%08x " % index
    if mark in frame and mark in seen:
        return True
    four, six = frame[18:20] + frame[20:22], frame[15:18]
    if frame[12:14] == b"\x08\0" and frame[26:34] in seen and four[:2] in seen:
        return True
    return frame[12:14] == b"\x86\xdd" and frame[22:54] in seen and six in seen


def run(build, count=FRAMES, seed=None, generic=False):
    """Returns the exit code."""
    seed = new_seed() if seed is None else seed
    cases = Cases("netns.random_frames")
    with Twins(build, generic) as twins:
        twins.start()
        trial = RandomRun(twins, seed)
        begin = time.monotonic()
        with cases.case(f"{count} random frames, seed {seed}: what leaves is the kernel's, to the byte"):
            trial.run(count)
            if trial.differences:
                raise AssertionError(f"{len(trial.differences)} differences in {trial.sent} frames\n" +
                                     "\n\n".join(trial.differences))
            # Two routers that do nothing would agree as well.
            most = trial.moved.most_common()
            expect(trial.left > count / 4 and trial.moved["forwarded"] > count / 10,
                   f"{count} frames, and only {trial.left} left: {most}")
            expect(trial.lost_errors <= 10 + count / 1000, f"{trial.lost_errors} errors about failed hosts from one alone")
        print(f"{trial.sent} frames in {time.monotonic() - begin:.1f} s, {trial.left} left each router; by millrace's counters:"
              + textwrap.fill(", ".join(f"{k} {n}" for k, n in trial.moved.most_common()), 96, initial_indent="\n  ",
                              subsequent_indent="  "))
    return cases.finish()
