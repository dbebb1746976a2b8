# SPDX-License-Identifier: BSD-3-Clause
"""Network namespaces and the veth pairs between them."""

import ctypes
import json
import os
import signal
import socket
import subprocess
import threading
import time

CLONE_NEWNET = 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)


class CommandError(RuntimeError):
    """A command of the lab that failed: its text is one line for the user."""


def run(argv, check=True, timeout=60, **kwargs):
    """Runs a command to its end and returns it with its output as text."""
    done = subprocess.run(argv, stdin=kwargs.pop("stdin", subprocess.DEVNULL), capture_output=True,
                          text=True, timeout=timeout, check=False, **kwargs)
    if check and done.returncode != 0:
        said = (done.stderr.strip() or done.stdout.strip()).replace("\n", "; ")
        raise CommandError(f"{' '.join(map(str, argv))}: exit code {done.returncode}: {said[:400]}")
    return done


def wait_until(condition, what, seconds=10.0, every=0.02):
    """Calls condition until it returns something true, and returns that; the deadline is an error."""
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what}: not within {seconds:g} s")
        time.sleep(every)


class Netns:
    """One namespace. Commands enter it with nsenter: `ip netns exec` would mount a /sys without bpffs."""

    def __init__(self, name):
        self.name = name
        self.path = f"/run/netns/{name}"

    def create(self):
        run(["ip", "netns", "add", self.name])
        self.ip("link", "set", "lo", "up")

    def argv(self, *command):
        return ["nsenter", f"--net={self.path}", *map(str, command)]

    def run(self, *command, **kwargs):
        return run(self.argv(*command), **kwargs)

    def popen(self, *command, **kwargs):
        kwargs.setdefault("stdin", subprocess.DEVNULL)
        return subprocess.Popen(self.argv(*command), **kwargs)

    def ip(self, *args, **kwargs):
        return run(["ip", "-n", self.name, *map(str, args)], **kwargs)

    def ip_json(self, *args):
        return json.loads(run(["ip", "-n", self.name, "-j", *map(str, args)]).stdout or "[]")

    def sysctl(self, **values):
        """sysctl(net__ipv4__ip_forward=1): a double underscore stands for the dot."""
        self.run("sysctl", "-qw", *(f"{k.replace('__', '.')}={v}" for k, v in values.items()))

    def link(self, device):
        return self.ip_json("-s", "-d", "link", "show", "dev", device)[0]

    def mac(self, device):
        return self.link(device)["address"]

    def inside(self, function):
        """Returns function() as called by a thread that is in this namespace."""
        result = []

        def enter():
            try:
                fd = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
                try:
                    if _libc.setns(fd, CLONE_NEWNET) != 0:
                        raise OSError(ctypes.get_errno(), f"setns {self.name}")
                finally:
                    os.close(fd)
                result.append((function(), None))
            except BaseException as error:  # handed to the caller's thread
                result.append((None, error))

        # A thread of its own: setns changes the calling thread only, and that thread then ends.
        thread = threading.Thread(target=enter)
        thread.start()
        thread.join()
        value, error = result[0]
        if error is not None:
            raise error
        return value

    def socket(self, family=socket.AF_INET, kind=socket.SOCK_DGRAM, protocol=0):
        return self.inside(lambda: socket.socket(family, kind, protocol))

    def pids(self):
        done = run(["ip", "netns", "pids", self.name], check=False)
        return [int(p) for p in done.stdout.split()]

    def destroy(self):
        """Ends whatever runs in the namespace (only the lab starts anything there) and removes it."""
        for sig, seconds in ((signal.SIGTERM, 3), (signal.SIGKILL, 5)):
            for pid in self.pids():
                try:
                    os.kill(pid, signal.SIGCONT)
                    os.kill(pid, sig)
                except ProcessLookupError:
                    pass
            deadline = time.monotonic() + seconds
            while self.pids() and time.monotonic() < deadline:
                time.sleep(0.05)
        run(["ip", "netns", "del", self.name], check=False)


def veth(left, left_name, right, right_name, left_mac=None, right_mac=None, mtu=1500, left_index=None, left_queues=1,
         before_up=lambda: None):
    """A veth pair between two namespaces, both ends up; with one queue, but where the left end has more. before_up: called
    when both are there.

    Offloads are off: a checksum left for hardware that is not there would be wrong once a packet leaves by
    AF_XDP, and merged or oversized frames would not be what a wire carries.
    """
    argv = ["link", "add", left_name, "mtu", mtu, "numtxqueues", 1, "numrxqueues", left_queues]
    argv += ["index", left_index] if left_index else []
    argv += ["address", left_mac] if left_mac else []
    argv += ["type", "veth", "peer", "name", right_name, "mtu", mtu, "numtxqueues", 1, "numrxqueues", 1]
    argv += ["address", right_mac] if right_mac else []
    left.ip(*argv, "netns", right.name)
    for ns, name in ((left, left_name), (right, right_name)):
        ns.run("ethtool", "-K", name, "tx", "off", "tso", "off", "gso", "off", "gro", "off", "txvlan", "off")
    before_up()
    for ns, name in ((left, left_name), (right, right_name)):
        ns.ip("link", "set", name, "up")
