# SPDX-License-Identifier: BSD-3-Clause
"""What runs out around the daemon: a log that nobody reads, descriptors, room under its socket, memory. Forwarding goes on."""

import fcntl
import os
import resource
import socket
import subprocess
import sys
import time

from lab.cases import Cases, build_dir, expect
from lab.netns import run, wait_until
from lab.star import StarLab, host_address

PPS = 5000


class StuckLog:
    """The daemon's stderr is a pipe, which nobody reads while the daemon starts and for as long as is wanted."""

    def __init__(self, lab):
        self.lab = lab
        self.read_end, self.write_end = os.pipe()
        fcntl.fcntl(self.write_end, fcntl.F_SETPIPE_SZ, 4096)

    def start(self):
        r = self.lab.router
        r.process = r.netns.popen(r.daemon_bin, "--config", r.config_path, stdout=subprocess.DEVNULL, stderr=self.write_end)
        os.close(self.write_end)

    def read_all(self, seconds):
        """What comes within this time."""
        os.set_blocking(self.read_end, False)
        text, end = b"", time.monotonic() + seconds
        while time.monotonic() < end:
            try:
                text += os.read(self.read_end, 65536)
            except BlockingIOError:
                time.sleep(0.02)
        return text.decode(errors="replace")


def forwards(lab, during, seconds=3):
    """Traffic of both families while during() runs: it takes the fast path, and nothing is lost."""
    before = lab.router.counters()["forwarded"]
    with lab.traffic(PPS, seconds) as results:
        during()
    sent, lost = sum(r["sent"] for r in results), sum(r["lost"] for r in results)
    return before, sent, lost


def wait_served(lab):
    wait_until(lambda: lab.router.cli("show", "ports", check=False).returncode == 0, "the daemon answers", 20, 0.2)
    lab.resolve("a", "b")


def expect_fast(lab, before, sent, lost):
    counted = lab.router.settled_counters()["forwarded"] - before
    print(f"    {lost} of {sent} lost, {counted} on the fast path")
    expect(lost <= sent // 200, f"{lost} of {sent} lost")
    expect(counted >= 0.9 * sent, f"{counted} of {sent} took the fast path")


def talk(lab, times):
    """Makes the daemon log: a request that it logs a line about, each time."""
    for _ in range(times):
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
            client.connect(str(lab.router.socket_path))
            try:
                client.sendall(b"x" * 80000)
                client.recv(10)
            except OSError:
                pass  # it hangs up


def stuck_log(cases, lab):
    log = StuckLog(lab)
    with cases.case("a log that nobody reads: the daemon starts, forwards, obeys; lost lines are counted"):
        log.start()
        wait_served(lab)
        before, sent, lost = forwards(lab, lambda: talk(lab, 1500), 5)
        expect_fast(lab, before, sent, lost)
        text = log.read_all(2)
        expect("lines of the log were lost" in text, f"{len(text)} bytes were in the pipe, the last: {text[-300:]}")
    with cases.case("SIGTERM is obeyed though the log is full again"):
        talk(lab, 300)
        begin = time.monotonic()
        code = lab.router.stop(10)
        took = time.monotonic() - begin
        print(f"    ended after {took:.2f} s")
        expect(code == 0, f"exit code {code}")
        expect(took < 2, f"it took {took:.1f} s")
    os.close(log.read_end)


def reader_gone(cases, lab):
    log = StuckLog(lab)
    with cases.case("a log whose reader has gone ends nothing"):
        log.start()
        wait_served(lab)
        os.close(log.read_end)
        talk(lab, 5)
        before, sent, lost = forwards(lab, lambda: talk(lab, 5))
        expect_fast(lab, before, sent, lost)
        expect(lab.router.stop(10) == 0, "it did not end well")


def descriptors(cases, lab):
    r = lab.router
    with cases.case("no descriptor left: forwarding and routes go on, said once, and it recovers"):
        r.stop()
        r.start()
        wait_served(lab)
        pid = r.process.pid
        used = len(os.listdir(f"/proc/{pid}/fd"))
        before_limit = resource.prlimit(pid, resource.RLIMIT_NOFILE)
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (used + 2, before_limit[1]))
        before = r.counters()["forwarded"]
        clients = []

        def exhaust():
            for _ in range(12):
                client = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
                client.connect(str(r.socket_path))
                clients.append(client)
            lab.edge.ip("route", "add", "198.51.100.0/24", "via", host_address("b"))
            time.sleep(2)
        _, sent, lost = forwards(lab, exhaust, 4)
        for client in clients:
            client.close()
        resource.prlimit(pid, resource.RLIMIT_NOFILE, before_limit)
        r.wait_route("198.51.100.0/24", outcome="forward")
        expect_fast(lab, before, sent, lost)
        said = r.log_end(400).count("no descriptor")
        expect(1 <= said <= 3, f"said {said} times")
        expect(r.stop(10) == 0, "it did not end well")


def full_run(cases, lab):
    r = lab.router
    run_dir = lab.dir / "run"
    run_dir.mkdir()
    run(["mount", "-t", "tmpfs", "-o", "size=64k,nr_inodes=8", "none", run_dir])
    old = r.socket_path
    try:
        with cases.case("no room under the control socket: one line, the kernel forwards, and the next start does"):
            r.stop()
            r.socket_path = run_dir / "m.sock"
            r.write_config()
            for n in range(10):
                try:
                    (run_dir / f"fill{n}").write_bytes(b"x")
                except OSError:
                    break
            done = r.netns.run(r.daemon_bin, "--config", r.config_path, check=False, timeout=30)
            lines = [line for line in done.stderr.splitlines() if line.startswith("millraced:")]
            expect(done.returncode == 1 and len(lines) == 1 and "m.sock" in lines[0], f"{done.returncode}: {done.stderr}")
            for n in range(10):
                (run_dir / f"fill{n}").unlink(missing_ok=True)
            r.start()
            wait_served(lab)
        with cases.case("what lies under /run fills up while it runs: forwarding goes on, and so does its socket"):
            def fill():
                with open(run_dir / "filled", "wb") as file:
                    try:
                        file.write(b"x" * 200000)
                    except OSError:
                        pass
            before, sent, lost = forwards(lab, fill)
            expect_fast(lab, before, sent, lost)
            expect(r.stop(10) == 0, "it did not end well")
    finally:
        r.stop()
        run(["umount", "-l", run_dir])
        r.socket_path = old
        r.write_config()


def memory(cases, lab):
    r = lab.router
    with cases.case("no more memory: it goes on, or dies and the kernel forwards; never in between"):
        r.stop()
        r.start()
        wait_served(lab)
        pid = r.process.pid
        with open(f"/proc/{pid}/statm", encoding="ascii") as statm:
            pages = int(statm.read().split()[0])
        before = r.counters()["forwarded"]

        def squeeze():
            resource.prlimit(pid, resource.RLIMIT_AS, (pages * 4096 + (1 << 20), resource.RLIM_INFINITY))
            batch = "".join(f"route add 100.{64 + n // 250}.{n % 250}.0/24 via {host_address('b')}\n" for n in range(8000))
            path = lab.dir / "routes"
            path.write_text(batch)
            lab.edge.run("ip", "-batch", path)
            time.sleep(1)
        _, sent, lost = forwards(lab, squeeze, 4)
        alive = r.process.poll() is None
        print(f"    {lost} of {sent} lost; the daemon {'lives' if alive else f'ended with {r.process.returncode}'}")
        expect(lost <= sent // 100, f"{lost} of {sent} lost")
        if alive:
            resource.prlimit(pid, resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
            wait_until(lambda: r.count() >= 8000, "all routes are there once there is memory", 20, 0.2)
            expect(r.counters()["forwarded"] > before, "nothing took the fast path")
            expect(r.stop(10) == 0, "it did not end well")


def main():
    cases = Cases("netns.exhausted")
    with StarLab(build_dir()) as lab:
        lab.start()
        lab.router.attach()
        stuck_log(cases, lab)
        reader_gone(cases, lab)
        descriptors(cases, lab)
        full_run(cases, lab)
        memory(cases, lab)
    return cases.finish()


if __name__ == "__main__":
    sys.exit(main())
