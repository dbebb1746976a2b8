# SPDX-License-Identifier: BSD-3-Clause
"""Two routers with BGP across their ports, one with millrace and one with the kernel alone, and what a drill sees of them.

    peer-a (AS 65001) - a0 edge b0 - peer-b (AS 65002)        c0 - c: what comes and goes, or is slow
                               d0 is no port - d              box: where c0 may be moved to
"""

import contextlib
import json
import os
import pathlib
import threading
import time

from ..cases import expect
from ..comings import ask_soon_again
from ..netns import CommandError, wait_until
from ..star import Spokes, host_address
from ..topology import ANNOUNCED_B_HOST, EdgeLab
from ..traffic import Blast, ping

PPS = 50_000      # of each family: 100,000 together
C_PPS = 2_000     # of each family, to c
# The witnesses come before whatever else the machine has to do, on a core that is not the worker's: what they would
# lose, or be late with, is not the router's.
UNDER = ("taskset", "-c", "0", "chrt", "-f", "20")
MAIN_PORT, C_PORT = 9000, 9100


class DrillLab(Spokes, EdgeLab):
    ports = ("a0", "b0", "c0")

    def start(self):
        super().start()
        for spoke in ("c", "d", "box"):
            self.add_netns(spoke)
        for spoke in ("c", "d"):
            self.connect(spoke)
            # What waits below c is UDP alone, and a route of c's own would be a change that nobody made.
            self.netns[spoke].sysctl(net__ipv6__conf__all__accept_ra=0)
        ask_soon_again(self)
        self.router.ports = list(self.ports)
        self.router.write_config()
        self.start_frr()
        return self


class Rig:
    """Both of them, while the `with` lasts."""

    def __init__(self, build):
        self.build = build
        self.labs = []
        self.calm = {}  # by the machine's state: what the kernel alone does where nothing happens to it

    def __enter__(self):
        try:
            for _ in range(2):
                self.labs.append(DrillLab(self.build).start())
            self.mill, self.kernel = (Side(lab) for lab in self.labs)
            self.mill.lab.router.attach()
            self.mill.lab.router.start()
            for side in (self.mill, self.kernel):
                side.lab.wait_sessions()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        for lab in self.labs:
            lab.close()


class Side:
    """One of the two routers."""

    def __init__(self, lab):
        self.lab = lab
        self.router = lab.router
        self.sender = lab.netns["peer-a"]

    @property
    def millrace(self):
        return self.router.process is not None

    # Traffic.

    def blasts(self, seconds, pps=PPS, under=UNDER):
        """From peer-a to an address that peer-b announces by BGP, in both families."""
        return [Blast(self.lab.tools, self.sender, self.lab.netns["peer-b"], address, pps, seconds, port=MAIN_PORT + n,
                      under=under) for n, address in enumerate(ANNOUNCED_B_HOST)]

    def blasts_to(self, spoke, seconds, pps=C_PPS):
        return [Blast(self.lab.tools, self.sender, self.lab.netns[spoke], host_address(spoke, version), pps, seconds,
                      port=C_PORT + version, under=UNDER) for version in (4, 6)]

    def measure(self, runs, during):
        """What became of these packets while during() ran, a dict for each of the runs."""
        try:
            for run in runs:
                run.start()
            begin = time.monotonic()
            during()
            took, room = time.monotonic() - begin, min(run.seconds for run in runs)
            expect(took <= room, f"it took {took:.1f} s, and the traffic lasted {room:.1f} s only")
            return [run.finish() for run in runs]
        finally:
            for run in runs:
                run.stop()

    # What the router says.

    def redirected(self, port="a0"):
        """Packets that the classifier has given to the fast path; no daemon is asked."""
        if not self.millrace:
            return 0
        done = self.router.steer("status", port, "--json", check=False)
        rows = json.loads(done.stdout) if done.returncode == 0 else []
        return rows[0]["counters"].get("redirect", {"packets": 0})["packets"] if rows else 0

    def counts(self):
        """What may tell where packets were lost: what classifier and workers counted, the ports' rings too."""
        found = {}
        if self.millrace:
            with contextlib.suppress(OSError, CommandError, ValueError):
                for what in ("counters", "steering"):
                    for row in self.router.ask(what):
                        if "packets" in row:
                            found[f"{row['port']} {row['reason']}"] = row["packets"]
                for row in self.router.ask("ports"):
                    found.update({f"{row['port']} {k}": v for k, v in row.items() if isinstance(v, int) and
                                  k.startswith(("xsk_", "tx_dropped"))})
        return found

    def dropped(self):
        """How many times each session has gone down; a session that isn't up is down once more."""
        return {address: s["dropped"] + (s["state"] != "Established") for address, s in self.lab.sessions().items()}

    def shown(self, port):
        """The port's row of `show ports`, or an empty one while millraced starts."""
        try:
            return next(row for row in self.router.ask("ports") if row["port"] == port)
        except (OSError, CommandError, ValueError):
            return {}

    def served(self, *ports):
        return all(self.shown(port).get("state") == "served" for port in ports or self.lab.ports)

    def descriptors(self):
        return len(os.listdir(f"/proc/{self.router.process.pid}/fd"))

    def memory(self):
        """Resident bytes of the daemon."""
        return int(pathlib.Path(f"/proc/{self.router.process.pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    # To begin with: all is well.

    def ready(self):
        self.lab.wait_sessions()
        if self.router.process is None:
            self._answers()
            return
        if self.router.process.poll() is not None:
            self.router.start()
        wait_until(self.served, "all ports are served", 40, 0.05)
        self.wait_nothing_punted()
        self._answers()
        wait_until(self._fast, "peer-a and peer-b talk over the fast path", 15)

    def wait_nothing_punted(self):
        """What was punted in bulk is the kernel's for a while."""
        wait_until(lambda: not any(r["cause"] == "punts" for r in self.router.kept()), "nothing is kept for its punts", 130, 0.2)

    def _addresses(self):
        return (*ANNOUNCED_B_HOST, host_address("c"), host_address("c", 6), host_address("d"), host_address("d", 6))

    def _answers(self):
        for address in self._addresses():
            wait_until(lambda a=address: self._answer(a, 1), f"{address} answers", 20)

    def _answer(self, address, count):
        try:
            return ping(self.sender, address, count, wait=1)["received"] == count
        except CommandError:  # BGP has brought no route there yet
            return False

    def _fast(self):
        before = self.redirected()
        return all(self._answer(a, 3) for a in ANNOUNCED_B_HOST) and self.redirected() - before >= 6

    def wait_fast(self, seconds=10.0):
        """Until packets are redirected again; returns how long that took."""
        begin, before = time.monotonic(), self.redirected()
        wait_until(lambda: self.redirected() > before, "packets take the fast path again", seconds, 0.01)
        return time.monotonic() - begin


@contextlib.contextmanager
def beside(function):
    """function(stop) runs in a thread of its own until the `with` ends and sets stop; what it raises is raised here."""
    stop, errors = threading.Event(), []

    def body():
        try:
            function(stop)
        except BaseException as error:  # handed to the caller's thread
            errors.append(error)
    thread = threading.Thread(target=body)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
    if errors:
        raise errors[0]
