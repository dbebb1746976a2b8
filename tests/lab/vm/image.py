# SPDX-License-Identifier: BSD-3-Clause
"""What a guest boots: QEMU, a kernel with its initrd, and a disk. Each is a layer of the cache, made when there is none.

Userland and kernel are independent of each other: a layer is named by all that it was made of.
"""

import dataclasses
import hashlib
import json
import os
import pathlib
import shutil
import time

from ..cases import Skip
from ..debian_root import OLDEST, cache
from ..netns import run
from .apt import Apt, sources, unpack

SUITES = {12: "bookworm", 13: "trixie"}
# Where a kernel comes from; its packages are found by this beginning of their version.
KERNELS = {"6.1": "bookworm", "6.12": "trixie", "6.18": "trixie", "7.3": "trixie"}
EMULATOR = "trixie"  # its QEMU has igb
INCLUDED = ("systemd", "systemd-sysv", "udev", "dbus", "kmod", "openssh-server", "iproute2", "ethtool", "iputils-ping", "procps",
            "frr", "nftables", "tcpdump", "apt", "ca-certificates")
# Of no use to a router in a test, and large.
LEFT_OUT = ("sound", *(f"drivers/{d}" for d in ("gpu", "media", "infiniband", "iio", "net/wireless", "usb", "staging", "hid",
                                                "scsi", "input", "isdn", "hwmon", "md", "ata", "nvme", "bluetooth", "video")))
IN_INITRD = ("virtio_pci", "virtio_blk", "ext4")
MASKED = ("systemd-networkd-wait-online.service", "apt-daily.timer", "apt-daily-upgrade.timer", "e2scrub_all.timer",
          "e2scrub_reap.service", "fstrim.timer", "dpkg-db-backup.timer", "systemd-timesyncd.service")
DISK = "3G"
MANAGEMENT = "52:54:00:00:00:00"
GUEST = "192.168.76.15"  # there

INIT = """#!/bin/busybox sh
/bin/busybox --install -s /bin
export PATH=/bin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
while read -r module; do insmod "/modules/$module"; done </order
n=0
while [ ! -b /dev/vda ] && [ $n -lt 300 ]; do sleep 0.1; n=$((n + 1)); done
mount -t ext4 /dev/vda /root || exec sh
umount /proc /sys
mount --move /dev /root/dev
exec switch_root /root /sbin/init
"""


def said(text):
    print(f"vm: {text}", flush=True)


def layer(name, made_of, make):
    """The path of that layer: make(path) makes it, when there is none of the same parts, or it is old."""
    key = hashlib.sha256(json.dumps(made_of, default=str).encode()).hexdigest()[:12]
    path = cache() / "vm" / f"{name}-{key}"
    if path.exists() and time.time() - path.stat().st_mtime < OLDEST:
        return path
    begin = time.monotonic()
    said(f"making {name} ...")
    for old in path.parent.glob(f"{name}-????????????"):
        remove(old)
    making = path.with_name(path.name + ".making")
    remove(making)
    make(making)
    os.utime(making)  # a root has its package's time
    making.rename(path)
    said(f"{name} took {time.monotonic() - begin:.0f} s")
    return path


def remove(path):
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


@dataclasses.dataclass
class Kernel:
    version: str
    image: pathlib.Path
    initrd: pathlib.Path
    modules: pathlib.Path


def emulator():
    """The command that runs QEMU."""
    root = layer("qemu", EMULATOR, lambda path: unpack(Apt(EMULATOR).download_all("qemu-system-x86", "seabios"), path))
    return [root / "usr/lib64/ld-linux-x86-64.so.2", "--library-path",
            ":".join(str(root / p) for p in ("usr/lib/x86_64-linux-gnu", "usr/lib/x86_64-linux-gnu/pulseaudio")),
            root / "usr/bin/qemu-system-x86_64", "-L", root / "usr/share/qemu", "-L", root / "usr/share/seabios"]


def kernel(version):
    """version: one of KERNELS."""
    if version not in KERNELS:
        raise Skip(f"no kernel {version} is known: {', '.join(KERNELS)}")
    apt = Apt(KERNELS[version])
    # linux-image-6.18.15+deb13-amd64, not the one that asks for the newest, nor one without a signature.
    package = apt.newest(rf"linux-image-{version.replace('.', '[.]')}[.][0-9.]+([-+][0-9a-z]+)?-amd64")
    path = layer(f"kernel-{version}", (package, LEFT_OUT, IN_INITRD, INIT), lambda path: _make_kernel(apt, package, path))
    found = next((path / "usr/lib/modules").iterdir())
    image = path / "boot" / f"vmlinuz-{found.name}"
    return Kernel(found.name, image if image.exists() else found / "vmlinuz", path / "initrd", found)


def _make_kernel(apt, package, path):
    parts = [name for name in apt.needs(package) if name.startswith(("linux-binary-", "linux-modules-"))]  # since 7
    unpack(apt.download(package, *parts, "busybox-static"), path)
    if (path / "lib").is_dir() and not (path / "lib").is_symlink():  # before usrmerge
        (path / "usr/lib").mkdir(parents=True, exist_ok=True)
        (path / "lib/modules").rename(path / "usr/lib/modules")
        shutil.rmtree(path / "lib")
    modules = next((path / "usr/lib/modules").iterdir())
    for folder in LEFT_OUT:
        shutil.rmtree(modules / "kernel" / folder, ignore_errors=True)
    (path / "lib").symlink_to("usr/lib")
    run(["depmod", "-b", path, modules.name], timeout=120)
    _make_initrd(path, modules.name)


def _make_initrd(path, version):
    tree = path / "initrd.tree"
    for folder in ("bin", "dev", "proc", "sys", "root", "modules"):
        (tree / folder).mkdir(parents=True)
    busybox = next(p for p in (path / "bin/busybox", path / "usr/bin/busybox") if p.exists())
    shutil.copy(busybox, tree / "bin/busybox")
    order = []
    for wanted in IN_INITRD:
        shown = run(["modprobe", "-d", path, "-S", version, "--show-depends", wanted]).stdout
        for line in shown.splitlines():
            if line.startswith("insmod "):
                _unpack_module(pathlib.Path(line.split()[1]), tree / "modules", order)
    (tree / "order").write_text("".join(f"{name}\n" for name in order))
    (tree / "init").write_text(INIT)
    (tree / "init").chmod(0o755)
    run(["sh", "-c", "find . | cpio -o -H newc --quiet -R 0:0 > ../initrd"], cwd=tree)
    shutil.rmtree(tree)


def _unpack_module(path, folder, order):
    name = path.name.removesuffix(".xz").removesuffix(".zst")
    if name in order:
        return
    program = {".xz": "xz -qdc", ".zst": "zstd -qdc"}.get(path.suffix, "cat")
    run(["sh", "-c", f'{program} "$0" > "$1"', path, folder / name])
    order.append(name)


def userland(debian, needs):
    """A root with all that a router has but millrace. needs: what its package depends on."""
    suite = SUITES[debian]
    options = ["--mode=root", "--variant=apt", "--format=directory", "--aptopt=APT::Install-Recommends \"false\"",
               "--dpkgopt=path-exclude=/usr/share/locale/*", "--dpkgopt=force-unsafe-io", f"--include={','.join(INCLUDED)}",
               f"--customize-hook=chroot \"$1\" apt-get satisfy -y '{needs}'", suite]

    def make(path):
        listed = path.with_suffix(".list")
        listed.write_text(sources(suite))
        done = run(["mmdebstrap", *options, path, listed], check=False, timeout=900)
        listed.unlink()
        if done.returncode != 0:
            shutil.rmtree(path, ignore_errors=True)
            errors = [line for line in done.stderr.splitlines() if line.startswith("E:")] or done.stderr.splitlines()
            raise Skip(f"mmdebstrap can't make a {suite}: {errors[0] if errors else done.returncode}")
    return layer(f"userland-{debian}", options, make)


def key():
    """Of ssh: whoever has the cache may log in to its guests."""
    path = cache() / "vm" / "key"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", path])
    return path


def disk(root, kernel_, files):
    """files: {path: text} of the guest's own. No mount, no loop device."""
    def make(path):
        tree = path.with_suffix(".tree")
        shutil.rmtree(tree, ignore_errors=True)
        run(["cp", "-a", "--reflink=auto", root, tree], timeout=300)
        (tree / "usr/lib/modules").mkdir(exist_ok=True)
        run(["cp", "-a", kernel_.modules, tree / "usr/lib/modules"], timeout=300)
        for name, text in files.items():
            (tree / name).parent.mkdir(parents=True, exist_ok=True)
            (tree / name).write_text(text)
        (tree / "root/.ssh").chmod(0o700)
        for unit in MASKED:
            (tree / "etc/systemd/system" / unit).symlink_to("/dev/null")
        for old in (tree / "etc/ssh").glob("ssh_host_*"):
            old.unlink()
        run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", tree / "etc/ssh/ssh_host_ed25519_key"])
        run(["chroot", tree, "systemctl", "enable", "systemd-networkd", "ssh"])
        run(["truncate", "-s", DISK, path])
        run(["mke2fs", "-q", "-t", "ext4", "-O", "^has_journal", "-E", "lazy_itable_init=1,nodiscard", "-d", tree, path],
            timeout=300)
        shutil.rmtree(tree)
    return layer(f"disk-{root.name}-{kernel_.version}", (root, kernel_.modules, files, MASKED, DISK), make)
