# SPDX-License-Identifier: BSD-3-Clause
"""FRR in a namespace, without systemd: zebra, staticd and bgpd, configured through vtysh."""

import json
import pathlib
import shutil
import subprocess

from .netns import CommandError, run, wait_until

LIBDIR = pathlib.Path("/usr/lib/frr")


class Frr:
    """The daemons of one router. -N gives configuration, sockets and pid files folders of their own."""

    def __init__(self, netns, log_dir, daemons=("zebra", "staticd", "bgpd"), options=None):
        """options: {daemon: more of its command line}"""
        self.netns = netns
        self.name = netns.name
        self.daemons = daemons
        self.options = options or {}
        self.log_dir = log_dir
        self.processes = {}
        self.etc = pathlib.Path("/etc/frr") / self.name
        self.run_dir = pathlib.Path("/var/run/frr") / self.name

    def start(self):
        for folder in (self.etc, self.run_dir):
            folder.mkdir(parents=True, exist_ok=True)
            shutil.chown(folder, "frr", "frr")
        (self.etc / "vtysh.conf").touch()
        for daemon in self.daemons:
            self._launch(daemon)
        for daemon in self.daemons:
            self._wait_for(daemon, self.run_dir / f"{daemon}.vty")

    def _launch(self, daemon, *more):
        log = open(self.log_dir / f"{self.name}-{daemon}.log", "a", encoding="utf-8")
        with log:
            # -P 0: no telnet port; in the foreground, so that the lab sees it end.
            self.processes[daemon] = self.netns.popen(
                LIBDIR / daemon, "-N", self.name, "-P", "0", "--log", "stdout", *self.options.get(daemon, ()), *more,
                stdout=log, stderr=subprocess.STDOUT)
        # The others connect to zebra's zserv.api as they start.
        if daemon == "zebra":
            self._wait_for(daemon, self.run_dir / "zserv.api")

    def kill(self, daemon):
        """kill -9; what it had opened stays behind."""
        self.processes[daemon].kill()
        self.processes[daemon].wait()
        for path in (self.run_dir / f"{daemon}.vty", self.run_dir / "zserv.api" if daemon == "zebra" else None):
            if path:
                path.unlink(missing_ok=True)

    def restart(self, daemon, config=""):
        """Starts a daemon that was killed, with this configuration from the beginning."""
        path = self.etc / f"{daemon}.conf"
        path.write_text(config + "\n", encoding="utf-8")
        shutil.chown(path, "frr", "frr")
        self._launch(daemon, "-f", path)
        self._wait_for(daemon, self.run_dir / f"{daemon}.vty")

    def _wait_for(self, daemon, path):
        def ready():
            if self.processes[daemon].poll() is not None:
                raise CommandError(f"{daemon} of {self.name} ended at once, see {self.log_dir}")
            return path.exists()
        wait_until(ready, f"{daemon} of {self.name} opens {path.name}", 20)

    def vtysh(self, *commands):
        argv = ["vtysh", "-N", self.name]
        for command in commands:
            argv += ["-c", command]
        done = run(argv)
        for line in done.stdout.splitlines():
            if line.startswith("% "):
                raise CommandError(f"vtysh of {self.name}: {line}")
        return done.stdout

    def configure(self, text):
        """Enters configuration lines, as typed after `configure terminal`."""
        return self.vtysh("configure terminal", *(l.strip() for l in text.splitlines() if l.strip()))

    def json(self, command):
        return json.loads(self.vtysh(command) or "{}")

    def sessions(self):
        """{neighbour address: (state, prefixes received, times dropped, remote AS)} of both families."""
        seen = {}
        detail = self.json("show bgp neighbors json")
        for address, n in detail.items():
            if not isinstance(n, dict) or "bgpState" not in n:
                continue
            families = n.get("addressFamilyInfo", {}).values()
            seen[address] = {"state": n["bgpState"], "as": n.get("remoteAs"),
                             "prefixes": sum(f.get("acceptedPrefixCounter", 0) for f in families),
                             "dropped": n.get("connectionsDropped", 0)}
        return seen

    def running(self):
        return all(p.poll() is None for p in self.processes.values())

    def stop(self):
        for process in reversed(self.processes.values()):
            if process.poll() is None:
                process.terminate()
        for process in self.processes.values():
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        for folder in (self.etc, self.run_dir):
            shutil.rmtree(folder, ignore_errors=True)
