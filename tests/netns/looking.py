# SPDX-License-Identifier: BSD-3-Clause
"""`millrace top` and `millrace show ... --watch`: what they say is what was sent, and they leave the terminal as it was."""

import contextlib
import fcntl
import json
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time

from lab.cases import Cases, build_dir, expect
from lab.netns import wait_until
from lab.star import StarLab, host_address

PPS, SECONDS = 1500, 3
FRAME = {4: 60, 6: 80}  # bytes of the lab's sender: headers and 18 bytes
ENTER, LEAVE = b"\x1b[?1049h", b"\x1b[?1049l"


@contextlib.contextmanager
def running(lab, *args):
    """The CLI with its output in a pipe; ended with the `with`."""
    process = lab.edge.popen(lab.router.cli_bin, "--socket", lab.router.socket_path, *args, stdout=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


class Terminal:
    """The CLI on a terminal of its own, 80 by 24, which controls it."""

    def __init__(self, lab, *args):
        self.ours, self.its = pty.openpty()
        fcntl.ioctl(self.its, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
        self.before = termios.tcgetattr(self.its)
        self.seen = b""
        self.process = lab.edge.popen(
            lab.router.cli_bin, "--socket", lab.router.socket_path, *args, stdin=self.its, stdout=self.its, stderr=self.its,
            start_new_session=True, preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0), env=dict(os.environ, TERM="xterm"))

    def read(self, seconds=0.0):
        while select.select([self.ours], [], [], seconds)[0]:
            self.seen += os.read(self.ours, 65536)
        return self.seen

    def wait_for(self, text, seconds=10):
        wait_until(lambda: re.search(text, self.read(0.05)), f"{text} on the terminal", seconds)
        return self

    def screens(self):
        return [s.decode() for s in self.read().split(b"\x1b[H")[1:]]

    def type(self, keys):
        self.seen = b""
        os.write(self.ours, keys)
        return self

    def end(self):
        """The exit code; the terminal is as it was, and the first screen is back."""
        code = self.process.wait(10)
        expect(self.read(0.1).endswith(LEAVE), f"the end is {self.seen[-40:]}")
        expect(termios.tcgetattr(self.its) == self.before, "the terminal is not as it was")
        return code

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        os.close(self.ours)
        os.close(self.its)


def lines(process, count):
    return [json.loads(process.stdout.readline()) for _ in range(count)]


def grown(told, table, key, **which):
    """What a rate stands for, all intervals together."""
    return sum(row[key] * t["seconds"] for t in told for row in t[table] if which.items() <= row.items())


def close_to(value, wanted, what):
    # The tables of one look are asked one after the other, each with its own time.
    expect(abs(value - wanted) <= 0.02 * wanted + 1, f"{what}: {value:.1f} instead of {wanted}")


def rates(cases, lab):
    with cases.case("top counts what was sent: by port, reason and worker, packets and bits"):
        with running(lab, "top", "--json", "--interval", "1") as top:
            lines(top, 1)
            with lab.traffic(PPS, SECONDS) as results:
                told = lines(top, SECONDS + 2)
            told += lines(top, 1)
        expect(all(t["state"] == "ok" for t in told), f"{[t['state'] for t in told]}")
        sent = sum(r["sent"] for r in results)
        expect(sum(r["received"] for r in results) == sent, f"packets were lost: {results}")
        frames = sum(r["sent"] * FRAME[v] for r, v in zip(results, (4, 6)))
        for table, key, wanted, which in (
                ("ports", "seen", sent, {"port": "a0"}), ("ports", "redirected", sent, {"port": "a0"}),
                ("ports", "rx_packets", sent, {"port": "a0"}), ("ports", "rx_bits", 8 * frames, {"port": "a0"}),
                ("ports", "tx_packets", sent, {"port": "b0"}), ("ports", "tx_bits", 8 * frames, {"port": "b0"}),
                ("ports", "tx_packets", 0, {"port": "c0"}),
                ("reasons", "packets", sent, {"port": "a0", "where": "worker", "reason": "forwarded"}),
                ("reasons", "packets", sent, {"port": "a0", "where": "classifier", "reason": "redirect"}),
                ("reasons", "bits", 8 * frames, {"port": "a0", "where": "classifier", "reason": "redirect"}),
                ("workers", "rx_packets", sent, {"worker": 0}), ("workers", "tx_bits", 8 * frames, {"worker": 0})):
            close_to(grown(told, table, key, **which), wanted, f"{table} {key} {which}")
        most = max(row["rx_packets"] for t in told for row in t["ports"] if row["port"] == "a0")
        expect(abs(most - 2 * PPS) < 0.2 * 2 * PPS, f"the highest rate is {most}")
        busy = [t["workers"][0]["busy"] for t in told]
        expect(max(busy) > busy[-1], f"the busy share doesn't follow the traffic: {busy}")
        expect(all(0 <= w["busy"] + w["asleep"] <= 1.01 for t in told for w in t["workers"]), "shares above the whole")
        bursts = grown(told, "workers", "bursts", worker=0)
        expect(0 < bursts <= sent * 1.02, f"{bursts} bursts for {sent} packets")


def worker_rows(cases, lab):
    with cases.case("show workers: the core, the times, and what it carried"):
        row, = lab.router.show("workers")
        expect(row["core"] == 1 and row["thread"] > 0, f"{row}")
        expect(0 < row["busy_us"] + row["asleep_us"] <= row["running_us"], f"{row}")
        age = time.monotonic() * 1000 - row["started_ms"]
        expect(abs(age - row["running_us"] / 1000) < 0.02 * age + 100, f"{age} ms old, but {row}")
        ports = lab.router.show("ports")
        expect(row["rx_packets"] == sum(p["rx_packets"] for p in ports), f"{row} {ports}")
        text = lab.router.cli("show", "workers").stdout
        expect(text.startswith("WORKER  CORE") and "%" in text, text)


def plain(cases, lab):
    with cases.case("in a pipe: a block each interval, with its time, 80 columns wide, no control characters"):
        with lab.traffic(500, 2):
            text = lab.router.cli("top", "--count", "2", "--interval", "0.5").stdout
        expect(len(re.findall(r"(?m)^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d  \d\.\d s$", text)) == 2, text)
        expect(len(re.findall(r"(?m)^a0 +classifier redirect ", text)) == 2, text)
        expect(text.isascii() and text.replace("\n", "").isprintable(), repr(text))
        expect(max(map(len, text.splitlines())) <= 80, text)
    with cases.case("sorted by name, by packets, by bits"):
        with lab.traffic(500, 4, to="c"), lab.traffic(200, 4, to="b"):
            for key in ("name", "packets", "bits"):
                told = json.loads(lab.router.cli("top", "--json", "--count", "1", "--sort", key).stdout)
                order = [row["port"] for row in told["ports"]]
                expect(order == (["a0", "b0", "c0"] if key == "name" else ["a0", "c0", "b0"]), f"by {key}: {told['ports']}")


def terminal(cases, lab):
    with cases.case("on a terminal: the whole screen, keys sort, q ends it and leaves all as it was"):
        with Terminal(lab, "top", "--interval", "0.3") as shown:
            shown.wait_for(rb"by packets[^$]*a0 +")
            expect(shown.seen.startswith(ENTER), f"{shown.seen[:40]}")
            shown.type(b"n").wait_for(rb"by name")
            shown.type(b"b").wait_for(rb"by bits")
            page = re.sub(r"\x1b\[[?0-9]*[A-Za-z]", "", shown.screens()[-1]).replace("\r", "").split("\n")
            expect(len(page) <= 24 and max(map(len, page)) <= 80, f"{page}")
            expect(shown.type(b"q").end() == 0, "q is no success")
    for how, signal_ in ((b"\x03", signal.SIGINT), (None, signal.SIGTERM)):
        with cases.case(f"{signal_.name}{' by Ctrl-C' if how else ''} ends it, and leaves the terminal as it was"):
            with Terminal(lab, "top", "--interval", "0.3") as shown:
                shown.wait_for(rb"a0 +")
                if how:
                    shown.type(how)
                else:
                    shown.process.send_signal(signal_)
                expect(shown.end() == -signal_, f"exit code {shown.process.returncode}")
    with cases.case("Ctrl-Z gives the terminal back, and it goes on when it is let"):
        with Terminal(lab, "top", "--interval", "0.3") as shown:
            shown.wait_for(rb"a0 +").type(b"\x1a").wait_for(re.escape(LEAVE) + b"$")
            wait_until(lambda: state(shown.process.pid) == "T", "it is stopped")
            expect(termios.tcgetattr(shown.its) == shown.before, "the terminal is not as it was")
            shown.seen = b""
            shown.process.send_signal(signal.SIGCONT)
            shown.wait_for(re.escape(ENTER) + rb"[^$]*a0 +")
            expect(shown.type(b"q").end() == 0, "q is no success")


def state(pid):
    with open(f"/proc/{pid}/stat", encoding="ascii") as stat:
        return stat.read().rsplit(") ", 1)[1][0]


def restarts(cases, lab):
    def until(top, *states):
        """Reads on until these have come, in this order; other lines may be between. Returns the last line."""
        line = {}
        for wanted in states:
            deadline = time.monotonic() + 15
            while line.get("state") != wanted:
                expect(time.monotonic() < deadline, f"no {wanted}, but {line}")
                line, = lines(top, 1)
        return line

    with cases.case("a daemon that is away is said to be, and its rates come again when it is back"):
        with running(lab, "top", "--json", "--interval", "0.5") as top, running(lab, "top", "--interval", "0.2") as text:
            until(top, "ok")
            lab.router.stop()
            away = until(top, "away")
            expect("millraced isn't running" in away["reason"] and "\n" not in away["reason"], f"{away}")
            time.sleep(1)
            lab.router.start()
            lab.resolve("a", "b", "c")
            back = until(top, "again", "ok")
            expect(all(r["rx_packets"] < 1000 for r in back["ports"]), f"{back['ports']}")
            text.terminate()
            said = text.communicate()[0]
            expect(said.count("millraced isn't running") == 1 and said.count("answers again") == 1, said)
    with cases.case("one that has started again between two looks is not taken for one that counts backwards"):
        with running(lab, "top", "--json", "--interval", "6") as top:
            until(top, "ok")
            lab.router.stop()
            lab.router.start()
            line, = lines(top, 1)
            expect(line["state"] == "again" and "started again" in line["reason"], f"{line}")
            expect(until(top, "ok")["seconds"] > 5, "the next interval is no whole one")
        lab.resolve("a", "b", "c")
    with cases.case("no daemon at the beginning: one line, exit status 1"):
        for args in (("top",), ("show", "ports", "--watch")):
            done = lab.edge.run(lab.router.cli_bin, "--socket", "/nowhere", *args, check=False)
            expect(done.returncode == 1 and done.stderr.count("\n") == 1 and not done.stdout, f"{done}")


def watched(cases, lab):
    with cases.case("show --watch in a pipe: one answer behind the other, each under its time"):
        with running(lab, "show", "ports", "--watch", "0.2") as shown:
            text = "".join(shown.stdout.readline() for _ in range(18))  # time, titles, three ports, nothing
        expect(len(re.findall(r"(?m)^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\nPORT +STATE .*\na0 +served ", text)) == 3, text)
    with cases.case("show --watch --json: arrays, and nothing else"):
        with running(lab, "show", "counters", "--json", "--watch=0.2") as shown:
            rest, arrays, decoder = "", [], json.JSONDecoder()
            while len(arrays) < 3:
                rest = rest.lstrip() + shown.stdout.readline()
                with contextlib.suppress(ValueError):
                    value, end = decoder.raw_decode(rest)
                    arrays.append(value)
                    rest = rest[end:]
        expect(all(isinstance(a, list) and a[0]["reason"] == "forwarded" for a in arrays), f"{arrays}")
    with cases.case("show --watch on a terminal: drawn again, follows what changes, q ends it"):
        with Terminal(lab, "show", "routes", "--via", "c0", "--watch=0.2") as shown:
            shown.wait_for(rb"millrace show routes[^$]*PREFIX")
            lab.edge.ip("route", "add", "10.77.0.0/16", "via", host_address("c"))
            try:
                shown.wait_for(rb"10\.77\.0\.0/16")
            finally:
                lab.edge.ip("route", "del", "10.77.0.0/16")
            expect(len(shown.screens()) > 1, "drawn once")
            expect(shown.type(b"q").end() == 0, "q is no success")


def main():
    cases = Cases("netns.looking")
    with StarLab(build_dir()) as lab:
        lab.start()
        lab.router.write_config(heartbeat_ms=1000)
        lab.start_router()
        lab.resolve("a", "b", "c")
        for group in (rates, worker_rows, plain, terminal, watched, restarts):
            group(cases, lab)
    return cases.finish()


if __name__ == "__main__":
    sys.exit(main())
