# SPDX-License-Identifier: BSD-3-Clause
"""The units under systemd itself: what they leave the programs is enough, and no more than today."""

import json
import pathlib
import re
import signal
import sys
import tempfile
import time

from lab.cases import Cases, Skip, build_dir, expect
from lab.netns import CommandError, run, wait_until
from lab.prometheus import scrape
from lab.router import VETH_TELLS_TAGS
from lab.star import StarLab, edge_address, host_address
from lab.systemd import SBIN, Systemd, exposure, write_unit
from lab.traffic import ping

# What systemd-analyze 252 says today.
MOST = {"millraced.service": 3.0, "millrace-steer@.service": 2.1}
REQUIRED = {"millraced.service": 3.0}
# linux/capability.h: DAC_OVERRIDE, NET_ADMIN, NET_RAW, IPC_LOCK, SYS_ADMIN.
CAPABILITIES = sum(1 << number for number in (1, 12, 13, 14, 21))


def exposures(cases):
    for name, most in MOST.items():
        with cases.case(f"systemd-analyze security {name}: {most} at most"), tempfile.TemporaryDirectory() as folder:
            level, said = exposure(write_unit(name, pathlib.Path(folder)))
            open_ = [" ".join(line.split()[1:3]) for line in said.splitlines() if "✗" in line]
            expect(level <= min(most, REQUIRED.get(name, 10)), f"{level}; open: {', '.join(open_)}")


def hears(cases):
    with cases.case("no filter of addresses: it would keep what ICMP tells the kernel from the daemon's raw sockets"), \
            tempfile.TemporaryDirectory() as folder:
        text = write_unit("millraced.service", pathlib.Path(folder)).read_text(encoding="utf-8")
        expect(not re.search(r"^IPAddress(Deny|Allow)=|^IPIngressFilterPath=", text, re.M), "it has one")


class Box:
    def __init__(self, lab, systemd):
        self.lab, self.systemd = lab, systemd
        self.cli_bin = lab.build / "dataplane" / "millrace"

    def show(self, what):
        return json.loads(self.systemd.run(self.cli_bin, "show", what, "--json").stdout)

    def state(self, port="c0"):
        try:
            return next(r for r in self.show("ports") if r["port"] == port)["state"]
        except (CommandError, ValueError, StopIteration):
            return None

    def served(self, seconds=10):
        wait_until(lambda: all(self.state(p) == "served" for p in self.lab.ports), "all ports are served", seconds, 0.1)

    def forwarded(self):
        return sum(r["packets"] for r in self.show("counters") if r["reason"] == "forwarded")

    def fast(self):
        """Three pings over the fast path, there and back."""
        before = self.forwarded()
        p = ping(self.lab.netns["a"], host_address("c"), 3)
        return p["received"] == 3 and self.forwarded() - before >= 6

    def main_pid(self):
        """As the host counts."""
        def found():
            inside = self.systemd.property("millraced.service", "MainPID")
            for folder in pathlib.Path("/proc").glob("[0-9]*"):
                try:
                    status, groups = (folder / "status").read_text(), (folder / "cgroup").read_text()
                except OSError:  # it has ended
                    continue
                if re.search(r"^Name:\tmillraced$", status, re.M) and f"/{self.lab.dir.name}" in groups and \
                        re.search(rf"^NSpid:\t.*\t{inside}$", status, re.M):
                    return int(folder.name)
            return None
        return wait_until(found, "millraced runs", 5)

    def kill(self, signal_):
        before = self.systemd.property("millraced.service", "NRestarts")
        run(["kill", f"-{signal_.value}", str(self.main_pid())])
        wait_until(lambda: self.systemd.property("millraced.service", "NRestarts") != before, "systemd starts it again", 5)


def serve(cases, box):
    systemd = box.systemd
    with cases.case("the steering units attach, the daemon's says that it is ready and serves all ports"):
        for port in box.lab.ports:
            systemd.systemctl("enable", "--now", f"millrace-steer@{port}.service")
        systemd.systemctl("enable", "--now", "millraced.service")
        box.served()
        wait_until(box.fast, "the fast path forwards", 5)
        # What a systemd that may not raise limits can't give: see two cases below.
        log = "".join(line for line in systemd.log().splitlines(True) if not re.search("scheduling:|: nice -10 for", line))
        expect("warning" not in log and "not permitted" not in log and "denied" not in log, f"the log: {log[-1500:]}")
        expect("unbound work may run" not in log, f"the kernel's unbound work stays on the worker's core: {log[-1500:]}")
    with cases.case("metrics are there, at the port that the unit allows"):
        expect("millrace_build_info{" in scrape(box.lab.edge), "no metrics")
    with cases.case("as its own user, with its capabilities and no others"):
        pid = box.main_pid()
        status = dict(line.split(":\t", 1) for line in open(f"/proc/{pid}/status", encoding="ascii").read().splitlines()
                      if ":\t" in line)
        expect("0" not in status["Uid"].split() + status["Gid"].split(), f"uid {status['Uid']}, gid {status['Gid']}")
        for kind in ("CapPrm", "CapEff", "CapBnd", "CapAmb"):
            expect(int(status[kind], 16) == CAPABILITIES, f"{kind}: {status[kind]}, not {CAPABILITIES:016x}")
        expect(status["NoNewPrivs"] == "1" and status["Seccomp"] == "2", f"{status['NoNewPrivs']} {status['Seccomp']}")
    with cases.case("workers are real-time by RLIMIT_RTPRIO, other processes go first when memory is short"):
        limits = open(f"/proc/{box.main_pid()}/limits", encoding="ascii").read()
        if not re.search(r"^Max realtime priority +1 +1", limits, re.M):
            raise Skip("this machine's systemd may not raise limits (no CAP_SYS_RESOURCE)")
        expect("scheduling: real-time (SCHED_RR 1)" in systemd.log(), "they are not")
        expect("nice -10 for the process is refused" not in systemd.log(), "the process is of no better nice value")
        expect(open(f"/proc/{box.main_pid()}/oom_score_adj", encoding="ascii").read() == "-500\n", "oom_score_adj")
    with cases.case("it can't write where it has nothing to write, and its TAPs have no IPv6"):
        pid = str(box.main_pid())
        tried = run(["nsenter", "-t", pid, "-m", "-n", "sh", "-c",
                     "for f in /etc/x /usr/x /run/x /proc/sys/net/ipv4/ip_forward /sys/x; do (echo 1 > $f) 2>/dev/null && "
                     "echo $f; done; cat /proc/sys/net/ipv6/conf/mr-a0/disable_ipv6"], check=False)
        expect(tried.stdout == "1\n", f"root itself, in its mounts, could write: {tried.stdout}")


def returns(box):
    box.served()
    box.lab.edge.ip("-6", "addr", "replace", f"{edge_address('c', 6)}/64", "dev", "c0", "nodad")
    wait_until(box.fast, "the fast path forwards", 5)


def changes(cases, box):
    systemd, lab = box.systemd, box.lab
    with cases.case("the firewall's hooks are read: a rule on forward keeps IPv4, one on input doesn't"):
        for command in ("add table ip t", "add chain ip t i { type filter hook input priority 0; }",
                        "add rule ip t i ct state established accept"):
            lab.edge.run("nft", command)
        wait_until(box.fast, "the fast path forwards", 5)
        lab.edge.run("nft", "add chain ip t f { type filter hook forward priority 0; }")
        lab.edge.run("nft", "add rule ip t f counter")
        wait_until(lambda: not box.fast(), "the kernel forwards", 5)
        lab.edge.run("nft", "delete table ip t")
        wait_until(box.fast, "the fast path forwards again", 5)
    unit, device = "millrace-steer@c0.service", "sys-subsystem-net-devices-c0.device"
    with cases.case("a netdev that goes takes its steering unit along, and one that comes brings it back"):
        lab.edge.ip("link", "del", "c0")
        wait_until(lambda: systemd.property(unit, "ActiveState") == "inactive", "the unit has stopped", 5)
        lab.connect("c")
        wait_until(lambda: systemd.property(unit, "ActiveState") == "active", "the unit is there again", 5)
        returns(box)
    with cases.case("the daemon's TAPs are no devices to systemd"):
        seen = systemd.systemctl("list-units", "--all", "--plain", "--no-legend", "*.device").stdout
        expect(device in seen and "mr-" not in seen, f"its devices: {seen}")
    with cases.case("attached by hand, and the netdev made anew: the daemon attaches, pins and opens it again"):
        systemd.systemctl("disable", unit)
        systemd.systemctl("stop", unit)
        systemd.run(SBIN / "millrace-steer", "attach", "c0")
        wait_until(lambda: box.state() == "served", "c0 is served", 10)
        lab.edge.ip("link", "del", "c0")
        lab.connect("c")
        wait_until(lambda: "classifier attached to its new netdev" in systemd.log(), "the daemon attaches", 5)
        returns(box)
        systemd.systemctl("enable", "--now", unit)
    with cases.case("reload: what needs it is done by a restart as the same process"):
        pid = box.main_pid()
        systemd.run("sh", "-c", "printf '\\n[punt]\\nrate = 10000\\n' >> /etc/millrace/millrace.toml")
        systemd.systemctl("reload", "millraced.service")
        wait_until(lambda: "changed: [punt]" in systemd.log(), "it has read the file", 5)
        box.served()
        wait_until(box.fast, "the fast path forwards", 5)
        expect(box.main_pid() == pid, "another process")
    with cases.case("reload of a steering unit: another build's classifier, and this one's again"):
        other = lab.build / "tests" / "netns" / "other_steering_bpf" / "other-steer"
        for program, words in ((other, "with new maps"), (lab.build / "steering_bpf" / "millrace-steer", "keep_mac")):
            systemd.put(program, "millrace-steer")
            systemd.systemctl("reload", "millrace-steer@c0.service")
            said = [line for line in systemd.log().splitlines() if line.startswith("c0: ")][-1]
            expect("upgraded in native mode" in said and words in said, f"it said {said}")
            expect(lab.edge.link("c0").get("xdp"), "no classifier on c0")
        box.served()


def ends(cases, box):
    systemd, lab = box.systemd, box.lab
    with cases.case("kill -9, four times: it is back within two seconds or so, no wait"):
        for _ in range(4):
            box.kill(signal.SIGKILL)
            begin = time.monotonic()
            box.served()
            expect(time.monotonic() - begin < 5, "it took longer")
        expect("in a row" not in systemd.log(), "kills were taken for crashes")
    with cases.case("one that hangs is ended by the watchdog and started again; the kernel forwards meanwhile"):
        before = systemd.property("millraced.service", "NRestarts")
        run(["kill", "-STOP", str(box.main_pid())])
        time.sleep(1)
        expect(ping(lab.netns["a"], host_address("c"), 3)["received"] == 3, "the kernel does not forward")
        wait_until(lambda: systemd.property("millraced.service", "NRestarts") != before, "systemd starts it again", 20, 0.1)
        box.served()
        systemd.systemctl("restart", "millraced.service")  # ends the row that this one began
        box.served()
    with cases.case("three crashes in a row: the ports stay in the kernel for a while, and it says so"):
        for _ in range(3):
            box.kill(signal.SIGSEGV)
        wait_until(lambda: "crashed 3 times in a row" in systemd.log(), "the log says so", 5)
        expect("crashed 3 times in a row" in systemd.property("millraced.service", "StatusText"), "its status doesn't say so")
        expect(ping(lab.netns["a"], host_address("c"), 3)["received"] == 3, "the kernel does not forward")
        time.sleep(3)
        expect(box.state() is None, "it serves")
    with cases.case("stop and start end that"):
        systemd.systemctl("stop", "millraced.service")
        systemd.systemctl("start", "millraced.service")
        box.served()
        wait_until(box.fast, "the fast path forwards", 5)
    with cases.case("stop: ends well, nothing is left in /run; the steering units take the classifiers off"):
        systemd.systemctl("stop", "millraced.service")
        expect(systemd.property("millraced.service", "Result") == "success", "it failed")
        expect(systemd.run("ls", "-A", "/run/millrace", check=False).stdout == "", "something is left")
        for port in lab.ports:
            systemd.systemctl("stop", f"millrace-steer@{port}.service")
            expect(not lab.edge.link(port).get("xdp"), f"{port} has a classifier")


def config(lab):
    lab.router.pin_root = "/sys/fs/bpf/millrace"
    lab.router.write_config()
    text = lab.router.config_path.read_text(encoding="utf-8")
    return re.sub(r"\[control\]\nsocket = .*\n", "", text)


def main():
    cases = Cases("netns.units")
    build = build_dir()
    exposures(cases)
    hears(cases)
    with StarLab(build) as lab:
        lab.start()
        systemd = None
        with cases.case(f"systemd runs in the lab (tags {'seen' if VETH_TELLS_TAGS else 'not seen'})"):
            systemd = Systemd(lab, lab.edge, build, config(lab)).start()
        if systemd is not None and systemd.first:
            with cases.case("systemd-analyze verify finds no fault in the units"):
                said = systemd.run("systemd-analyze", "verify", "--man=no", "/run/units/millraced.service",
                                   "/run/units/millrace-steer@a0.service", check=False)
                expect(said.returncode == 0 and said.stderr == "", said.stderr)
            box = Box(lab, systemd)
            serve(cases, box)
            changes(cases, box)
            ends(cases, box)
    return cases.finish()


if __name__ == "__main__":
    sys.exit(main())
