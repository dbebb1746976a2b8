# SPDX-License-Identifier: BSD-3-Clause
"""A VLAN tag put beside each frame that a host sends, as a VLAN device there does; kernels without any have it too.

With the sender's offload `txvlan on` the tag stays beside the frame; off, the kernel puts it into the frame.
"""

import contextlib
import ctypes
import os
import struct

_BPF_SYSCALL, _PROG_LOAD, _OBJ_PIN, _SCHED_CLS = 321, 5, 6, 3
_libc = ctypes.CDLL(None, use_errno=True)


def _bpf(command, attributes):
    buffer = ctypes.create_string_buffer(attributes, max(len(attributes), 128))
    result = _libc.syscall(_BPF_SYSCALL, command, buffer, len(buffer))
    if result < 0:
        raise OSError(ctypes.get_errno(), f"bpf({command}): {os.strerror(ctypes.get_errno())}")
    return result


def _push_program(tag, protocol):
    """fd of a tc program: bpf_skb_vlan_push(skb, protocol, tag), then the packet goes on."""
    swapped = struct.unpack("<H", struct.pack(">H", protocol))[0]
    code = b"".join(struct.pack("<BBhi", op, reg, 0, value) for op, reg, value in (
        (0xB7, 2, swapped), (0xB7, 3, tag), (0x85, 0, 18), (0xB7, 0, 0), (0x95, 0, 0)))
    text, licence = ctypes.create_string_buffer(code, len(code)), ctypes.create_string_buffer(b"GPL")
    return _bpf(_PROG_LOAD, struct.pack("<IIQQ", _SCHED_CLS, len(code) // 8, ctypes.addressof(text),
                                        ctypes.addressof(licence)))


@contextlib.contextmanager
def tagged(lab, netns, device, tag, protocol=0x8100, offload=True):
    """All that leaves the device has this tag (priority, VLAN) for as long as the `with` lasts."""
    pin = lab.bpffs / "tagging"
    fd = _push_program(tag, protocol)
    try:
        path = ctypes.create_string_buffer(str(pin).encode())
        _bpf(_OBJ_PIN, struct.pack("<QI", ctypes.addressof(path), fd))
    finally:
        os.close(fd)
    kind = "tx-vlan-hw-insert" if protocol == 0x8100 else "tx-vlan-stag-hw-insert"
    try:
        netns.run("ethtool", "-K", device, kind, "on" if offload else "off")
        netns.run("tc", "qdisc", "add", "dev", device, "clsact")
        netns.run("tc", "filter", "add", "dev", device, "egress", "bpf", "da", "object-pinned", pin)
        yield
    finally:
        netns.run("tc", "qdisc", "del", "dev", device, "clsact", check=False)
        netns.run("ethtool", "-K", device, kind, "off")
        pin.unlink()
