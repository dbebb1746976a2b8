# SPDX-License-Identifier: BSD-3-Clause
"""A virtual machine with millrace as its operator has it: Debian, systemd, FRR, NIC drivers. `tests/vm` runs it.

    apt      packages of any suite, without a trace in the machine
    image    QEMU, a kernel with its initrd, and the disk that they boot; kept in the cache
    guest    the machine: QEMU in a namespace of its own, ssh, QMP
    lab      hosts a, b and c at the guest's NICs, and what its millrace says
    cases    what is tried, by name
"""
