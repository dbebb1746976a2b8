# SPDX-License-Identifier: BSD-3-Clause
"""BPF programs of two instructions on hooks that Debian 12's tools don't know, by the system call itself."""

import contextlib
import ctypes
import errno
import os
import platform
import socket
import struct

from .cases import Skip

_SYSCALL = {"x86_64": 321, "aarch64": 280}
_PROG_LOAD, _LINK_CREATE = 5, 28
# linux/bpf.h since 6.4 and 6.6.
_SCHED_CLS, _NETFILTER = 3, 32
_ON_NETFILTER, TCX_INGRESS, TCX_EGRESS = 45, 46, 47
PRE_ROUTING, FORWARD, POST_ROUTING = 0, 2, 4
_libc = ctypes.CDLL(None, use_errno=True)


def _bpf(command, attributes):
    buffer = ctypes.create_string_buffer(attributes.ljust(128, b"\0"), 128)
    fd = _libc.syscall(_SYSCALL[platform.machine()], command, buffer, 128)
    if fd < 0:
        error = ctypes.get_errno()
        if error in (errno.EINVAL, errno.EOPNOTSUPP, errno.ENOSYS):
            raise Skip(f"this kernel has no such BPF link ({os.strerror(error)})")
        raise OSError(error, os.strerror(error))
    return fd


def _program(kind, attach, verdict):
    # r0 = verdict; exit
    code = ctypes.create_string_buffer(struct.pack("<BBhi", 0xb7, 0, 0, verdict) + struct.pack("<BBhi", 0x95, 0, 0, 0), 16)
    text = ctypes.create_string_buffer(b"GPL")
    head = struct.pack("=IIQQIIQII16sII", kind, 2, ctypes.addressof(code), ctypes.addressof(text), 0, 0, 0, 0, 0,
                       b"lab", 0, attach)
    return _bpf(_PROG_LOAD, head)


@contextlib.contextmanager
def _linked(netns, kind, attach, verdict, target, options):
    program = _program(kind, attach, verdict)
    try:
        link = netns.inside(lambda: _bpf(_LINK_CREATE, struct.pack("=IIII", program, target(), attach, 0) + options))
    finally:
        os.close(program)
    try:
        yield
    finally:
        os.close(link)


def netfilter(netns, version, hook, accept, priority=0):
    """A BPF netfilter link that accepts or drops everything."""
    family = 2 if version == 4 else 10
    return _linked(netns, _NETFILTER, _ON_NETFILTER, int(accept), lambda: 0,
                   struct.pack("=IIiI", family, hook, priority, 0))


def tcx(netns, device, attach, drop):
    """A tcx program that drops everything, or says that others may decide."""
    return _linked(netns, _SCHED_CLS, attach, 2 if drop else -1, lambda: socket.if_nametoindex(device), b"")
