# SPDX-License-Identifier: BSD-3-Clause
"""The Debian package as an operator uses it: installed in a clean Debian, configured, started, upgraded, removed, purged."""

import contextlib
import json
import re
import shutil
import sys
import time

from lab.base import Lab
from lab.cases import Cases, Stolen, build_dir, expect
from lab.debian_root import DebianRoot
from lab.netns import run, veth, wait_until
from lab.router import VETH_TELLS_TAGS
from lab.traffic import Blast, ping

PPS = 2000
PROGRAMS = ("/usr/bin/millrace", "/usr/sbin/millraced", "/usr/sbin/millrace-steer")
CONFIG = "etc/millrace/millrace.toml"
PORTS = ("a0", "b0")
UNITS = ("millraced.service", *(f"millrace-steer@{p}.service" for p in PORTS))
HOSTS = {"a": "10.0.1", "b": "10.0.2"}


class PackageLab(Lab):
    """Hosts a and b around the edge, in whose namespace the Debian runs."""

    def start(self):
        super().start()
        self.edge = self.add_netns("edge")
        for host, net in HOSTS.items():
            ns = self.add_netns(host)
            veth(self.edge, f"{host}0", ns, "eth0")
            self.edge.ip("addr", "add", f"{net}.1/24", "dev", f"{host}0")
            ns.ip("addr", "add", f"{net}.2/24", "dev", "eth0")
            ns.ip("route", "add", "default", "via", f"{net}.1")
        return self

    def xdp(self):
        return {p: self.edge.link(p).get("xdp", {}).get("prog", {}).get("id") for p in PORTS}

    def flows(self, count=3):
        p = ping(self.netns["a"], f"{HOSTS['b']}.2", count)
        expect(p["received"] == count, f"{p['received']} of {count} pings from a to b came back")


def make(build, release):
    """The package's path. Another release is the same programs, with a higher version."""
    folder = build / "package"
    for old in folder.glob(f"millrace_*-{release}+*.deb"):
        old.unlink()
    run(["cmake", "--build", build, "--target", "deb"], timeout=600)
    found = list(folder.glob(f"millrace_*-{release}+*.deb"))
    expect(len(found) == 1, f"packages in {folder}: {found}")
    return found[0]


def repack(build, deb, release):
    """Another release of the same programs."""
    version = run(["dpkg-deb", "-f", deb, "Version"]).stdout.strip()
    debian = re.fullmatch(r".*-\d+(\+.*)", version)[1]
    run(["cpack", "--config", build / "CPackConfig.cmake", "-D", f"CPACK_DEBIAN_PACKAGE_RELEASE={release}{debian}"],
        cwd=build, timeout=120)
    return next((build / "package").glob(f"millrace_*-{release}{debian}_*.deb"))


def contents(cases, deb):
    with cases.case("lintian finds no error"):
        done = run(["lintian", "--fail-on", "error", deb], check=False, timeout=120)
        expect(done.returncode == 0, done.stdout.strip())
    with cases.case("it has programs, manuals, units, the configuration and examples"):
        listed = run(["dpkg-deb", "-c", deb]).stdout
        for path in (*PROGRAMS, "/" + CONFIG, "/usr/share/man/man1/millrace.1.gz", "/usr/share/man/man8/millraced.8.gz",
                     "/usr/share/man/man8/millrace-steer.8.gz", "/usr/lib/systemd/system/millraced.service",
                     "/usr/lib/systemd/system/millrace-steer@.service", "/usr/lib/tmpfiles.d/millrace.conf",
                     "/usr/share/doc/millrace/examples/millrace.toml",
                     "/usr/share/doc/millrace/examples/60-millrace.conf",
                     "/usr/share/doc/millrace/examples/millrace.rules.yml",
                     "/usr/share/doc/millrace/examples/millrace.grafana.json",
                     "/usr/share/bash-completion/completions/millrace"):
            expect(f" .{path}\n" in listed, f"{path} is not in it")
        expect("sysctl.d" not in listed, "it sets sysctls")


def completed(root, *words):
    """What bash proposes for the last of these words."""
    line = " ".join(f"'{w}'" for w in words)
    script = (f"source /usr/share/bash-completion/completions/{words[0]}; COMP_WORDS=({line}); "
              f"COMP_CWORD={len(words) - 1}; _millrace; echo ${{COMPREPLY[*]}}")
    return root.chroot("bash", "-c", script).stdout.split()


def install(cases, root, deb):
    """In a chroot, where no systemd runs. Returns the files that were there before."""
    root.update()
    shutil.copy(deb, root.dir / "root")
    needs = run(["dpkg-deb", "-f", deb, "Depends"]).stdout.strip()
    root.chroot("apt-get", "satisfy", "-y", "--no-install-recommends", needs)
    before = root.files()
    with cases.case("apt installs it in a clean root, and dpkg takes it off again without a trace"):
        root.chroot("apt-get", "install", "-y", f"/root/{deb.name}")
        root.chroot("apt-get", "purge", "-y", "millrace")
        left = root.files() ^ before
        expect(not left, f"left or lost: {sorted(left)[:10]}")
    with cases.case("nothing that its programs need is missing, by its own dependencies alone"):
        root.chroot("apt-get", "install", "-y", "--no-install-recommends", f"/root/{deb.name}")
        for program in PROGRAMS:
            said = root.chroot("ldd", program).stdout
            expect("not found" not in said, said)
            root.chroot(program, "--version")
        expect("routes" in completed(root, "millrace", "show", "r"), completed(root, "millrace", "show", "r"))
        expect("attach" in completed(root, "millrace-steer", ""), completed(root, "millrace-steer", ""))
        expect(root.chroot("dpkg", "--verify", "millrace").stdout == "", "dpkg --verify finds a difference")
    return before


def inactive(lab, root):
    """What of it runs or would, at the next boot, too."""
    active = [u for u in UNITS if root.run("systemctl", "is-active", u, check=False).stdout.strip() != "inactive"]
    enabled = [u for u in UNITS if root.run("systemctl", "is-enabled", u, check=False).stdout.strip() == "enabled"]
    forwards = root.run("sysctl", "-n", "net.ipv4.ip_forward").stdout.strip()
    attached = {p: i for p, i in lab.xdp().items() if i}
    taps = [link["ifname"] for link in lab.edge.ip_json("link") if link["ifname"].startswith("mr-")]
    return f"active {active}, enabled {enabled}, ip_forward {forwards}, XDP {attached}, TAPs {taps}"


NOTHING = "active [], enabled [], ip_forward 0, XDP {}, TAPs []"


def configure(root):
    """As README says, for two ports."""
    tags = "auto" if VETH_TELLS_TAGS else "none"
    text = "".join(f'[[port]]\nname = "{p}"\nvlan_tags = "{tags}"\n\n' for p in PORTS)
    text += '[keep]\nprotocols = ["esp"]\n'
    (root.dir / CONFIG).write_text(text)
    root.run("cp", "/usr/share/doc/millrace/examples/60-millrace.conf", "/etc/sysctl.d/")
    # 'sysctl --system' would set those of the whole machine as well.
    root.run("sysctl", "-qp", "/etc/sysctl.d/60-millrace.conf")
    return text


def forwarded(root):
    rows = json.loads(root.run("millrace", "show", "counters", "--json").stdout)
    return sum(r["packets"] for r in rows if r["reason"] == "forwarded")


def on_fast_path(lab, root):
    """Three pings from a to b and back, once the neighbours are resolved."""
    def all_six():
        before = forwarded(root)
        lab.flows()
        return forwarded(root) - before >= 6
    wait_until(all_six, "three pings and their answers take the fast path", 10, 0.2)


def journal(root, unit):
    return root.run("journalctl", "-u", unit, "-o", "cat", "--no-pager", "-n", 20).stdout.strip()


def state(root):
    """Of millraced's unit: its state, and how often it was started again by itself."""
    said = root.run("systemctl", "show", "-p", "ActiveState,NRestarts", "millraced").stdout.splitlines()
    told = dict(line.split("=", 1) for line in said)
    return told["ActiveState"], int(told["NRestarts"])


def main_pid(root):
    return int(root.run("systemctl", "show", "-P", "MainPID", "millraced").stdout)


def start(cases, lab, root):
    with cases.case("installed, it runs nothing, attaches nothing, and makes no router of the machine"):
        expect(inactive(lab, root) == NOTHING, inactive(lab, root))
        done = root.run("millraced", "--check", check=False)
        expect(done.returncode == 78 and "no port" in done.stderr, f"{done.returncode}: {done.stderr}")
    with cases.case("a configuration with a mistake is not tried again; one whose ports are not there yet is"):
        root.run("systemctl", "start", "millraced", check=False)
        time.sleep(2.5)
        expect(state(root) == ("failed", 0), f"{state(root)}")
        text = (root.dir / CONFIG).read_text()
        (root.dir / CONFIG).write_text('[[port]]\nname = "late0"\n')
        root.run("systemctl", "--no-block", "start", "millraced")
        wait_until(lambda: state(root)[1] >= 2, "it is tried again", 10, 0.2)
        root.run("systemctl", "stop", "millraced")
        (root.dir / CONFIG).write_text(text)
    with cases.case("configured and enabled as README says, it forwards"):
        configure(root)
        for unit in (*UNITS[1:], UNITS[0]):
            done = root.run("systemctl", "enable", "--now", unit, check=False)
            expect(done.returncode == 0, f"{unit}: {journal(root, unit)}")
        root.run("millraced", "--check")
        expect(all(lab.xdp().values()), f"classifiers: {lab.xdp()}")
        on_fast_path(lab, root)
    with cases.case("systemctl reload is understood"):
        root.run("systemctl", "reload", "millraced")
        wait_until(lambda: "nothing has changed" in journal(root, "millraced"), "the log says so", 5)


@contextlib.contextmanager
def traffic(lab, seconds):
    """From a to b; nothing of it gets lost."""
    blast = Blast(lab.build / "tests" / "netns", lab.netns["a"], lab.netns["b"], f"{HOSTS['b']}.2", PPS, seconds)
    try:
        yield blast.start()
        result = blast.finish()
    finally:
        blast.stop()
    expect(result["lost"] == 0 and result["sent"] >= PPS, f"{result['lost']} of {result['sent']} packets lost")


def upgrade(cases, lab, root, newer):
    with cases.case("upgraded under traffic: nothing lost, the new programs run, the configuration stays", Stolen()):
        shutil.copy(newer, root.dir / "root")
        config, old, classifiers = (root.dir / CONFIG).read_text(), main_pid(root), lab.xdp()
        with traffic(lab, 12):
            root.run("dpkg", "-i", f"/root/{newer.name}")
            expect(main_pid(root) not in (0, old), "millraced was not started again")
            on_fast_path(lab, root)
        expect((root.dir / CONFIG).read_text() == config, "the configuration was changed")
        exe = root.run("readlink", f"/proc/{main_pid(root)}/exe").stdout.strip()
        expect(exe == "/usr/sbin/millraced", f"it runs {exe}")
        expect(all(lab.xdp().values()), f"classifiers {classifiers} became {lab.xdp()}")


def remove(cases, lab, root, before):
    with cases.case("removed under traffic: every port is its kernel's, nothing lost, the configuration stays", Stolen()):
        with traffic(lab, 8):
            root.run("apt-get", "remove", "-y", "millrace")
        found = inactive(lab, root)
        expect(found.endswith("ip_forward 1, XDP {}, TAPs []") and found.startswith("active [],"), found)
        expect(not list((lab.bpffs / "millrace").glob("*")), "there are pins left")
        expect((root.dir / CONFIG).exists(), "the configuration is gone")
        offload = [lab.edge.run("ethtool", "-k", p).stdout for p in PORTS]
        expect(all("rx-vlan-offload: on" in said for said in offload), "an offload stayed off")
    with cases.case("purged: nothing of it is left"):
        root.run("apt-get", "purge", "-y", "millrace")
        root.run("rm", "/etc/sysctl.d/60-millrace.conf")  # the operator's
        # systemd's own; and a system's user stays, as Debian has it.
        own = re.compile(r"\./etc/(machine-id|\.updated|(passwd|shadow|group|gshadow)-|\.pwd\.lock)|\./var/\.updated")
        left = {p for p in root.files() - before if not own.match(p)}
        expect(not left, f"left: {sorted(left)[:10]}")
        expect(not (root.run("ls", "/run").stdout.split().count("millrace")), "/run/millrace is left")
        lab.flows()


def main():
    cases = Cases("package.debian")
    build = build_dir()
    deb = None
    with cases.case("the build makes it"):
        deb = make(build, 1)
    if deb is None:
        return cases.finish()
    contents(cases, deb)
    root = None
    try:
        with cases.case("a clean root of this Debian"):
            root = DebianRoot()
            before = install(cases, root, deb)
        if root is not None and (root.dir / CONFIG).exists():
            with PackageLab() as lab:
                lab.build = build
                lab.start()
                with cases.case("its systemd boots"):
                    root.boot(lab.edge, lab.bpffs)
                if root.init:
                    start(cases, lab, root)
                    upgrade(cases, lab, root, repack(build, deb, 2))
                    remove(cases, lab, root, before)
                root.power_off()
    finally:
        if root is not None:
            root.close()
    return cases.finish()


if __name__ == "__main__":
    sys.exit(main())
