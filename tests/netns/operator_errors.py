# SPDX-License-Identifier: BSD-3-Clause
"""What an operator can get wrong: one clear line, an exit code, and traffic untouched."""

import re
import shutil
import subprocess
import sys

from lab.cases import Cases, build_dir, expect
from lab.netns import wait_until
from lab.star import StarLab, host_address
from lab.traffic import ping

LOG_LINE = re.compile(r"^\d{4}-\d\d-\d\d .* (trace|debug|info|warning): ")


def one_line(done, program, *words):
    """The program failed, and said so in exactly one line that has these words in it."""
    expect(done.returncode not in (0, None), f"exit code {done.returncode}: {done.stdout}")
    expect(done.returncode > 0, f"it died of signal {-done.returncode}")
    lines = [l for l in done.stderr.splitlines() if l.strip() and not LOG_LINE.match(l)]
    expect(len(lines) == 1, f"{len(lines)} lines instead of one: {lines}")
    expect(program in lines[0], f"does not say which program it is: {lines[0]}")
    missing = [w for w in words if w not in lines[0]]
    expect(not missing, f"does not mention {missing}: {lines[0]}")


def xdp_program(lab, port):
    return lab.edge.link(port).get("xdp", {}).get("prog", {}).get("id")


def traffic_flows(lab):
    p = ping(lab.netns["a"], host_address("b"), 3)
    expect(p["received"] == 3, f"{p['received']} of 3 pings from a to b came back")


GOOD = """[[port]]
name = "a0"
[[port]]
name = "b0"
[[port]]
name = "c0"
[workers]
cores = [1]
[steering]
pin_root = "{pins}"
[control]
socket = "{socket}"
"""

MISTAKE = 78  # exit status: the units don't try again
# (name, what the file says instead, words that the message must have), and whether it may be right in a moment
CONFIGS = [
    ("a key that does not exist", ("cores = [1]", "cores = [1]\ncoers = [1]"), ("coers",)),
    ("a table that does not exist", ("[workers]", "[wokers]\n[workers]"), ("wokers",)),
    ("a value that is none of those known", ("cores = [1]", 'cores = [1]\nidle = "fast"'),
     ("idle", "sleep", "spin")),
    ("a number out of range", ('name = "a0"', 'name = "a0"\nqueues = 65'), ("queues", "64")),
    ("a value of the wrong type", ("cores = [1]", 'cores = "one"'), ("cores",)),
    ("not TOML", ("[workers]", "[workers"), ("millrace-bad.toml",)),
    ("a port that does not exist", ('"a0"', '"zz9"'), ("zz9",), True),
    ("a port named twice", ('"b0"', '"a0"'), ("a0",)),
    ("a core that does not exist", ("cores = [1]", "cores = [99]"), ("99",)),
    ("a port without its classifier", ("", ""), ("a0", "millrace-steer attach"), True),
]


def daemon_errors(cases, lab):
    r = lab.router
    good = GOOD.format(pins=r.pin_root, socket=r.socket_path)
    path = lab.dir / "millrace-bad.toml"

    def daemon(*args):
        return lab.edge.run(r.daemon_bin, *args, check=False, timeout=20)

    for name, (old, new), words, *later in CONFIGS:
        with cases.case(f"millraced with {name}"):
            path.write_text(good.replace(old, new, 1) if old else good, encoding="utf-8")
            done = daemon("--config", path)
            one_line(done, "millraced", *words)
            expect(done.returncode == (1 if later else MISTAKE), f"exit status {done.returncode}")
            traffic_flows(lab)
    with cases.case("millraced --check refuses what millraced refuses"):
        path.write_text(good.replace("cores = [1]", "coers = [1]"), encoding="utf-8")
        one_line(daemon("--check", "--config", path), "millraced", "coers")
        path.write_text(good, encoding="utf-8")
        one_line(daemon("--check", "--config", path), "millraced", "a0", "millrace-steer attach")
    with cases.case("millraced --check takes a good file"):
        path.write_text(good, encoding="utf-8")
        r.attach()
        try:
            done = daemon("--check", "--config", path)
        finally:
            r.detach()
        expect(done.returncode == 0, done.stderr)
        expect("3 port(s)" in done.stdout, done.stdout)
    with cases.case("millraced without its file"):
        one_line(daemon("--config", "/nonexistent/m.toml"), "millraced", "/nonexistent/m.toml")
    with cases.case("millraced with an option that does not exist"):
        done = daemon("--confg", path)
        expect(done.returncode > 0 and "--confg" in done.stderr + done.stdout, done.stderr)


def without_root(cases, lab):
    """As nobody. The programs are copied: a checkout under /root is closed to others."""
    r = lab.router
    folder = lab.dir / "bin"
    folder.mkdir()
    for binary in (r.daemon_bin, r.steer_bin):
        shutil.copy(binary, folder)
    nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--inh-caps=-all"]
    with cases.case("millraced without root"):
        r.write_config()
        done = lab.edge.run(*nobody, folder / "millraced", "--config", r.config_path, check=False, timeout=20)
        one_line(done, "millraced", "root")
    with cases.case("millrace-steer without root"):
        done = lab.edge.run(*nobody, folder / "millrace-steer", "attach", "a0", "--pin-root", r.pin_root,
                            check=False)
        one_line(done, "millrace-steer")
        expect(xdp_program(lab, "a0") is None, "it attached something")


def steer_errors(cases, lab):
    r = lab.router
    with cases.case("millrace-steer attach to a port that does not exist"):
        one_line(r.steer("attach", "zz9", check=False), "millrace-steer", "zz9")
    with cases.case("millrace-steer detach of a port that has no classifier"):
        one_line(r.steer("detach", "a0", check=False), "millrace-steer", "a0")
    with cases.case("a port that carries somebody else's XDP program keeps it"):
        pass_ = lab.build / "tests" / "benchmarks" / "bench-traffic"
        other = lab.edge.popen(pass_, "pass", "a0", stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        try:
            expect(other.stdout.readline() == "ready\n", "the other program did not attach")
            theirs = xdp_program(lab, "a0")
            expect(theirs is not None, "no program on a0")
            one_line(r.steer("attach", "a0", check=False), "millrace-steer", "a0")
            r.write_config()
            done = lab.edge.run(r.daemon_bin, "--config", r.config_path, check=False, timeout=20)
            one_line(done, "millraced", "a0")
            expect(xdp_program(lab, "a0") == theirs, "its program is gone")
            traffic_flows(lab)
        finally:
            other.stdin.close()
            other.wait()
            other.stdout.close()
        wait_until(lambda: xdp_program(lab, "a0") is None, "the other program is gone")


def cli_errors(cases, lab):
    r = lab.router
    with cases.case("millrace without a daemon"):
        one_line(r.cli("show", "routes", check=False), "millrace", str(r.socket_path))
    with cases.case("millrace show of something unknown"):
        done = r.cli("show", "nonsense", check=False)
        expect(done.returncode > 0 and "nonsense" in done.stderr, f"{done.returncode}: {done.stderr}")
    with cases.case("a second daemon for the same ports is refused, and the first goes on"):
        r.write_config()
        lab.start_router()
        second = lab.dir / "second.toml"
        second.write_text(r.config_path.read_text().replace("millrace.sock", "second.sock"))
        done = lab.edge.run(r.daemon_bin, "--config", second, check=False, timeout=20)
        one_line(done, "millraced", "a0")
        expect(r.process.poll() is None, "the first has ended")
        lab.resolve("a", "b")
        before = r.settled_counters()["forwarded"]
        traffic_flows(lab)
        counted = r.settled_counters()["forwarded"] - before
        expect(counted >= 6, f"only {counted} of 6 packets took the fast path afterwards")


def main():
    cases = Cases("netns.operator_errors")
    with StarLab(build_dir()) as lab:
        lab.start()
        traffic_flows(lab)
        daemon_errors(cases, lab)
        without_root(cases, lab)
        steer_errors(cases, lab)
        cli_errors(cases, lab)
    return cases.finish()


if __name__ == "__main__":
    sys.exit(main())
