# SPDX-License-Identifier: BSD-3-Clause
"""tests/vm runs this as `python3 -m lab.vm`."""

import argparse
import dataclasses
import pathlib
import platform
import sys
import time

from ..cases import Cases, Skip
from ..netns import CommandError, run
from . import cases as tried
from . import image
from .guest import Nic
from .lab import VmLab

IGB = "igb"
VIRTIO = "virtio-net-pci"
DMA = ",iommu_platform=on,disable-legacy=on"  # virtio has zero-copy with the DMA API alone


@dataclasses.dataclass(frozen=True)
class Setup:
    """A guest that is tried."""
    name: str
    kernel: str
    nics: tuple
    zero_copy: bool = False  # what its sockets are


SETUPS = (
    Setup("zero-copy", "6.18", (Nic("p0", IGB), Nic("p1", IGB, "always"), Nic("p2", VIRTIO, "always", DMA)), zero_copy=True),
    Setup("copy", "6.12", (Nic("p0", IGB), Nic("p1", IGB, "never"), Nic("p2", VIRTIO))),
    Setup("oldest", "6.1", (Nic("p0", IGB), Nic("p1", IGB), Nic("p2", VIRTIO))),
    Setup("drivers", "6.12", (Nic("p0", "e1000e"), Nic("p1", "vmxnet3"), Nic("p2", VIRTIO))),
)
BRIEF = SETUPS[0]


def package(build):
    run(["cmake", "--build", build, "--target", "deb"], timeout=600)
    return max((build / "package").glob("millrace_*.deb"), key=lambda p: p.stat().st_mtime)


def try_all(setup, deb, debian, cases, keep, brief):
    """All cases in a guest of that kind."""
    begin = time.monotonic()
    with VmLab(setup, debian, run(["dpkg-deb", "-f", deb, "Depends"]).stdout.strip()) as lab:
        with cases.case("it is made, and boots"):
            lab.start()
            print(f"    Linux {lab.guest.kernel.version}, up after {lab.guest.start():.0f} s")
        if cases.results[-1]["result"] != "ok":
            return
        tried.install(cases, lab, deb)
        if cases.results[-1]["result"] == "ok":
            tried.modes(cases, lab)
            tried.exact(cases, lab)
            if setup.zero_copy:
                tried.generic(cases, lab)
            tried.deaths(cases, lab)
            tried.restart_under_traffic(cases, lab)
            if not brief:
                tried.nic_events(cases, lab)
            tried.comes_and_goes(cases, lab)
            tried.reboot(cases, lab)
        if keep:
            lab.mark_kept()
            print(f"kept; log in: {' '.join(lab.guest.netns.argv(*lab.guest.ssh()))}\nend it: kill {lab.guest.process.pid}, then "
                  "tests/demo --clean")
            return
        tried.purge(cases, lab)
    print(f"{setup.name}: {time.monotonic() - begin:.0f} s", flush=True)


def main():
    parser = argparse.ArgumentParser(prog="tests/vm", description="Installs the package in virtual machines and tries it there: "
                                     "boot, NIC drivers, zero-copy sockets, what NICs go through. Needs no KVM.")
    parser.add_argument("--setup", choices=[s.name for s in SETUPS], action="append", help="only this guest, or these")
    parser.add_argument("--brief", action="store_true", help="one guest and fewer cases: the form of tests/run")
    parser.add_argument("--kernel", choices=list(image.KERNELS), help="this kernel in place of the guest's own")
    parser.add_argument("--keep", action="store_true", help="leave the guest running, and print how to log in")
    parser.add_argument("--build-dir", type=pathlib.Path, required=True, help=argparse.SUPPRESS)
    options = parser.parse_args()
    build = options.build_dir.resolve()
    chosen = [BRIEF] if options.brief else [s for s in SETUPS if not options.setup or s.name in options.setup]
    failed = False
    try:
        if platform.machine() != "x86_64":
            raise Skip("the guests are of amd64")
        deb = package(build)
    except (CommandError, Skip) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    for setup in chosen:
        setup = dataclasses.replace(setup, kernel=options.kernel or setup.kernel)
        cases = Cases(f"vm.{setup.name}")
        try_all(setup, deb, 12, cases, options.keep, options.brief)
        failed |= cases.finish() != 0
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
