# SPDX-License-Identifier: BSD-3-Clause
"""Metrics as Prometheus sees them: its text format, and Debian's server in a namespace of the lab."""

import json
import pathlib
import re
import shutil
import subprocess
import urllib.parse
import urllib.request

from .cases import Skip
from .netns import CommandError, wait_until
from .stopping import end

SOURCES = pathlib.Path(__file__).resolve().parents[2]
RULES = SOURCES / "systemd" / "prometheus" / "millrace.rules.yml"
BOARD = SOURCES / "systemd" / "prometheus" / "millrace.grafana.json"
RULES_TEST = SOURCES / "tests" / "data" / "millrace.rules.test.yml"
LISTEN = "127.0.0.1:10179"  # the daemon's default

_SAMPLE = re.compile(r'([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.*)\})? (\S+)$')
_LABEL = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\]|\\.)*)"')


def get(netns, url, timeout=10):
    """The body, fetched from inside the namespace."""
    def fetch():
        with urllib.request.urlopen(url, timeout=timeout) as answer:
            return answer.read().decode()
    return netns.inside(fetch)


def scrape(netns, listen=LISTEN):
    return get(netns, f"http://{listen}/metrics")


class Samples:
    """What a scrape said: {(name, frozenset of labels): value}"""

    def __init__(self, text):
        self.values, self.kinds = {}, {}
        for line in text.splitlines():
            if line.startswith("# TYPE "):
                _, _, name, kind = line.split()
                self.kinds[name] = kind
            elif line and not line.startswith("#"):
                name, labels, value = _SAMPLE.match(line).groups()
                key = (name, frozenset(_LABEL.findall(labels or "")))
                if key in self.values:
                    raise AssertionError(f"told twice: {line}")
                self.values[key] = float(value)

    def value(self, name, **labels):
        return self.values.get((name, frozenset(labels.items())))

    def of(self, name, label):
        """{value of the label: sample} of a metric that has it alone."""
        return {dict(labels)[label]: value for (n, labels), value in self.values.items() if n == name}


def promtool(*arguments, text=None):
    """Its exit code, and what it said."""
    if shutil.which("promtool") is None:
        raise Skip("prometheus is not installed")
    done = subprocess.run(["promtool", *map(str, arguments)], input=text, capture_output=True, text=True, timeout=60, check=False)
    return done.returncode, (done.stdout + done.stderr).strip()


class Prometheus:
    """Debian's server in a namespace, scraping the daemon there each second; its alert rules wait a second instead of longer."""

    API = "127.0.0.1:9090"

    def __init__(self, lab, netns, listen=LISTEN):
        if shutil.which("prometheus") is None:
            raise Skip("prometheus is not installed")
        self.netns, self.dir = netns, lab.dir / "prometheus"
        self.dir.mkdir()
        rules = re.sub(r"^( +for: ).*$", r"\g<1>1s", RULES.read_text(encoding="utf-8"), flags=re.M)
        (self.dir / "rules.yml").write_text(rules, encoding="utf-8")
        config = {"global": {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"},
                  "rule_files": [str(self.dir / "rules.yml")],
                  "scrape_configs": [{"job_name": "millrace", "static_configs": [{"targets": [listen]}]}]}
        (self.dir / "config.yml").write_text(json.dumps(config), encoding="utf-8")  # JSON is YAML
        self.process = None
        lab.on_close(self.stop)

    def start(self):
        with open(self.dir / "log", "wb") as log:
            self.process = self.netns.popen("prometheus", f"--config.file={self.dir}/config.yml",
                                            f"--storage.tsdb.path={self.dir}/data", f"--web.listen-address={self.API}",
                                            stdout=log, stderr=log)

        def ready():
            if self.process.poll() is not None:
                raise CommandError(f"prometheus ended: {(self.dir / 'log').read_text()[-400:]}")
            try:
                return "Ready" in get(self.netns, f"http://{self.API}/-/ready")
            except OSError:
                return False
        wait_until(ready, "prometheus is ready", 30, 0.2)
        return self

    def _ask(self, path, **arguments):
        said = json.loads(get(self.netns, f"http://{self.API}/api/v1/{path}?{urllib.parse.urlencode(arguments)}"))
        return said["data"]

    def query(self, expression):
        """[(labels, value)] now."""
        return [(row["metric"], float(row["value"][1])) for row in self._ask("query", query=expression)["result"]]

    def firing(self):
        """{(alert, port or '')}"""
        return {(a["labels"]["alertname"], a["labels"].get("port", "")) for a in self._ask("alerts")["alerts"]
                if a["state"] == "firing"}

    def target(self):
        """(health, last error) of the daemon."""
        targets = self._ask("targets")["activeTargets"]
        return targets[0]["health"], targets[0]["lastError"]

    def stop(self):
        if self.process is not None and self.process.poll() is None:
            end(self.process)


def board_queries():
    """[(panel, query)] of the Grafana board, as it asks them for all instances."""
    board = json.loads(BOARD.read_text(encoding="utf-8"))
    return [(panel["title"], target["expr"].replace("$instance", ".*").replace("$__rate_interval", "10s"))
            for panel in board["panels"] for target in panel["targets"]]


def check_rules(folder):
    """What promtool says against the rules as they are shipped, and against what tests/data expects of them; '' = nothing."""
    test = folder / RULES_TEST.name
    test.write_text(RULES_TEST.read_text(encoding="utf-8").replace("- RULES\n", f"- {RULES}\n"), encoding="utf-8")
    said = [promtool("check", "rules", RULES), promtool("test", "rules", test)]
    return "; ".join(text for code, text in said if code != 0)
