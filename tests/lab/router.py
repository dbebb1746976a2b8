# SPDX-License-Identifier: BSD-3-Clause
"""millrace in a namespace: the classifier, the daemon, the operator's CLI."""

import json
import os
import select
import signal
import socket
import subprocess
import time

from .netns import CommandError, run, wait_until


# Before that no classifier on a veth sees a tag beside the frame, and the labs' ports would be left to the kernel.
VETH_TELLS_TAGS = tuple(int(n) for n in os.uname().release.split(".")[:2]) >= (6, 8)


class Router:
    """The three programs of one build directory, run in one namespace for some of its devices."""

    def __init__(self, netns, lab_dir, build, ports, pin_root=None):
        self.netns = netns
        self.dir = lab_dir
        self.ports = list(ports)
        self.steer_bin = build / "steering_bpf" / "millrace-steer"
        self.daemon_bin = build / "dataplane" / "millraced"
        self.cli_bin = build / "dataplane" / "millrace"
        self.pin_root = pin_root or lab_dir / "bpf" / "millrace"
        self.config_path = lab_dir / "millrace.toml"
        self.socket_path = lab_dir / "millrace.sock"
        self.log_path = lab_dir / "millraced.log"
        self.daemon_flags = []
        self.process = None
        self._notify = None

    def write_config(self, path=None, core=1, idle=None, extra="", ports=None, pin_root=None, heartbeat_ms=None,
                     vlan_tags=None):
        idle_line = f'idle = "{idle}"\n' if idle else ""
        vlan_tags = vlan_tags or ("auto" if VETH_TELLS_TAGS else "none")
        tags = f'vlan_tags = "{vlan_tags}"\n'
        text = "".join(f'[[port]]\nname = "{p}"\n{tags}\n' for p in (ports or self.ports))
        text += f"[workers]\ncores = [{core}]\n{idle_line}\n"
        text += f'[steering]\npin_root = "{pin_root or self.pin_root}"\n'
        text += f"heartbeat_timeout_ms = {heartbeat_ms}\n\n" if heartbeat_ms else "\n"
        text += f'[control]\nsocket = "{self.socket_path}"\n{extra}'
        (path or self.config_path).write_text(text, encoding="utf-8")

    # The classifier.

    def steer(self, *args, check=True):
        return self.netns.run(self.steer_bin, *args, "--pin-root", self.pin_root, check=check)

    def attach(self):
        self.steer("attach", *self.ports)

    def detach(self):
        self.steer("detach", *self.ports)

    # The daemon.

    def start(self, seconds=30):
        """Starts millraced and waits until it says READY=1, as systemd would. Returns the seconds it took."""
        notify_path = self.dir / "notify.sock"
        notify_path.unlink(missing_ok=True)
        notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        notify.bind(str(notify_path))
        begin = time.monotonic()
        with open(self.log_path, "ab") as log:
            self.process = self.netns.popen(self.daemon_bin, "--config", self.config_path,
                                            *self.daemon_flags, stdout=log, stderr=log,
                                            start_new_session=True, env=dict(os.environ, NOTIFY_SOCKET=str(notify_path)))
        try:
            while True:
                if self.process.poll() is not None:
                    raise CommandError(f"millraced ended with {self.process.returncode}: {self.log_tail()}")
                if time.monotonic() - begin > seconds:
                    raise TimeoutError(f"millraced was not ready within {seconds} s: {self.log_tail()}")
                if select.select([notify], [], [], 0.05)[0] and b"READY=1" in notify.recv(4096):
                    return time.monotonic() - begin
        finally:
            notify.close()
            notify_path.unlink(missing_ok=True)

    def log_end(self, lines):
        if not self.log_path.exists():
            return "it was not started"
        text = self.log_path.read_text(errors="replace").strip().splitlines()
        return "\n".join(text[-lines:]) or "it said nothing"

    def log_tail(self, lines=3):
        return self.log_end(lines).replace("\n", " | ")

    def signal(self, sig):
        self.process.send_signal(sig)

    def kill(self):
        """kill -9, and nothing told to anybody."""
        self.process.kill()
        self.process.wait()

    def stop(self, seconds=10):
        """SIGTERM; returns the exit code."""
        if self.process is None or self.process.poll() is not None:
            return None if self.process is None else self.process.returncode
        self.process.send_signal(signal.SIGCONT)
        self.process.terminate()
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired as error:
            self.kill()
            raise TimeoutError(f"millraced did not end within {seconds} s of SIGTERM") from error

    # The operator's CLI.

    def cli(self, *args, check=True):
        return self.netns.run(self.cli_bin, "--socket", self.socket_path, *args, check=check)

    def show(self, what, *args):
        return json.loads(self.cli("show", what, *args, "--json").stdout)

    def ask(self, what, **arguments):
        """Rows of `millrace show WHAT`, over the daemon's socket: a program for each would take too long."""
        return self._converse("show", what, arguments)

    def do(self, what, **arguments):
        """Rows of `millrace WHAT` (drain, undrain, reload), over the daemon's socket."""
        return self._converse("do", what, arguments)

    def _converse(self, kind, what, arguments):
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as conversation:
            conversation.settimeout(10)
            conversation.connect(str(self.socket_path))
            request = {kind: what, "arguments": {k: str(v) for k, v in arguments.items()}}
            conversation.sendall(json.dumps(request).encode() + b"\n")
            rows = []
            with conversation.makefile("rb") as answers:
                for line in answers:
                    answer = json.loads(line)
                    if "row" not in answer:
                        break
                    rows.append(answer["row"])
                else:
                    raise CommandError(f"millraced closed the connection: {self.log_tail()}")
        if "error" in answer:
            raise CommandError(f"{kind} {what}: {answer['error']}")
        return rows

    def routes(self):
        """{prefix: row}"""
        return {row["prefix"]: row for row in self.show("routes")}

    def count(self, **arguments):
        """How many prefixes the fast path has (with these arguments)."""
        return sum(row["routes"] for row in self.ask("routes", count="true", **arguments))

    def counters(self):
        """{reason: packets}, all ports together."""
        total = {}
        for row in self.show("counters"):
            total[row["reason"]] = total.get(row["reason"], 0) + row["packets"]
        return total

    def steering(self):
        """{reason: packets}, all ports together."""
        total = {}
        for row in self.show("steering"):
            if row["kind"] == "verdict":
                total[row["reason"]] = total.get(row["reason"], 0) + row["packets"]
        return total

    def kept(self):
        """What the kernel keeps and why: the rows of `show steering`."""
        return [row for row in self.show("steering") if row["kind"] == "kept"]

    def forwarded(self):
        return self.counters().get("forwarded", 0)

    def settled_counters(self):
        """The counters once they stand still: what is in flight has been counted."""
        last = [self.counters()]

        def still():
            now = self.counters()
            same = now == last[0]
            last[0] = now
            return same
        wait_until(still, "the counters stand still", 5, 0.1)
        return last[0]

    def wait_route(self, prefix, seconds=5, **wanted):
        """Waits until `show routes` has the prefix with the wanted values (outcome="forward")."""
        def there():
            row = self.routes().get(prefix)
            return row if row and all(row.get(k) == v for k, v in wanted.items()) else None
        said = " ".join(f"{k} {v}" for k, v in wanted.items())
        return wait_until(there, f"millrace shows {prefix} {said}", seconds, 0.05)

    def wait_no_route(self, prefix, seconds=5):
        wait_until(lambda: prefix not in self.routes(), f"millrace no longer shows {prefix}", seconds, 0.05)


def version(build):
    """What `millraced --version` says, for the record; None where it says nothing."""
    done = run([build / "dataplane" / "millraced", "--version"], check=False)
    return done.stdout.strip() or None
