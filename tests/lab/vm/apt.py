# SPDX-License-Identifier: BSD-3-Clause
"""Packages of a Debian suite, downloaded and unpacked beside the machine's own: nothing is installed."""

import functools
import re
import time

from ..cases import Skip
from ..debian_root import cache, machine_sources
from ..netns import run

KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
FRESH = 24 * 3600  # s, for which the suites' lists are good


def mirrors():
    """(of Debian, of its security updates), as this machine's apt has them."""
    lines = [line for p in machine_sources() for line in p.read_text(errors="replace").splitlines()]
    found = re.findall(r"https?://[^\s\]]+", "\n".join(line for line in lines if not line.lstrip().startswith("#")))
    security = next(uri for uri in found if "security" in uri)
    return next(uri for uri in found if "security" not in uri), security


def sources(suite):
    """sources.list(5) of a release with its updates and backports."""
    main, security = mirrors()
    return "".join(f"deb [signed-by={KEYRING}] {uri} {name} main\n" for uri, name in
                   ((main, suite), (main, f"{suite}-updates"), (security, f"{suite}-security"), (main, f"{suite}-backports")))


class Apt:
    """One suite's, with a folder of its own in the cache."""

    def __init__(self, suite):
        self.suite = suite
        self.dir = cache() / "vm" / f"apt-{suite}"
        for folder in ("etc/apt/preferences.d", "etc/apt/apt.conf.d", "etc/apt/trusted.gpg.d", "state/lists/partial",
                       "cache/archives/partial"):
            (self.dir / folder).mkdir(parents=True, exist_ok=True)
        (self.dir / "status").touch()
        (self.dir / "etc/apt/sources.list").write_text(sources(suite))

    def _apt(self, program, *args, **kwargs):
        options = {"Dir::Etc": self.dir / "etc/apt", "Dir::State": self.dir / "state", "Dir::State::status": self.dir / "status",
                   "Dir::Cache": self.dir / "cache", "APT::Architecture": "amd64", "APT::Install-Recommends": "false",
                   "APT::Sandbox::User": "root", "Acquire::Languages": "none"}
        return run([program, *(f"-o{key}={value}" for key, value in options.items()), *map(str, args)],
                   timeout=600, **kwargs)

    @functools.cached_property
    def _updated(self):
        stamp = self.dir / "updated"
        if not stamp.exists() or time.time() - stamp.stat().st_mtime > FRESH:
            done = self._apt("apt-get", "-oAPT::Update::Error-Mode=any", "update", check=False)
            if done.returncode != 0:
                said = [line for line in done.stderr.splitlines() if line[:2] in ("E:", "W:")]
                raise Skip(f"Debian's suite {self.suite} can't be reached: {said[0] if said else done.stderr.strip()}")
            stamp.touch()
        return True

    def newest(self, pattern):
        """The name of the newest package whose name matches, by the version in it."""
        assert self._updated
        names = [line.split()[0] for line in self._apt("apt-cache", "search", "--names-only", f"^{pattern}$").stdout.splitlines()]
        if not names:
            raise Skip(f"{self.suite} and its backports have no package {pattern}")
        return max(names, key=lambda name: [int(number) for number in re.findall(r"\d+", name)])

    def needs(self, package):
        """Names of what it depends on."""
        assert self._updated
        return re.findall(r"^\s*Depends: ([^<\s]+)$", self._apt("apt-cache", "depends", package).stdout, re.M)

    def download(self, *packages):
        """Paths of these."""
        assert self._updated
        folder = self.dir / "cache/archives"
        lines = self._apt("apt-get", "download", "--print-uris", *packages).stdout.splitlines()
        self._apt("apt-get", "download", *packages, cwd=folder)
        return [folder / line.split()[1] for line in lines if line.startswith("'")]

    def download_all(self, *packages):
        """Paths of these and of all that they need."""
        assert self._updated
        install = ("install", "-y", *packages)
        listed = self._apt("apt-get", "-s", *install).stdout
        self._apt("apt-get", "--download-only", *install)
        return [self.dir / "cache/archives" / f"{name}_{version.replace(':', '%3a')}_{architecture}.deb"
                for name, version, architecture in re.findall(r"^Inst (\S+) \((\S+) .*\[(\w+)\]\)", listed, re.M)]


def unpack(packages, folder):
    """Without running anything of theirs."""
    folder.mkdir(parents=True)
    for path in packages:
        run(["dpkg-deb", "-x", path, folder], timeout=120)
