# SPDX-License-Identifier: BSD-3-Clause
"""A process, or one thread of it, stands still for a while."""

import contextlib
import ctypes
import os
import pathlib
import signal
import subprocess

from .cases import expect

# linux/ptrace.h and linux/wait.h
PTRACE_DETACH, PTRACE_SEIZE, PTRACE_INTERRUPT = 17, 0x4206, 0x4207
WALL = 0x40000000

_libc = ctypes.CDLL(None, use_errno=True)
_libc.ptrace.argtypes = (ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p)
_libc.ptrace.restype = ctypes.c_long


def threads(pid):
    """{thread id: name}"""
    return {int(task.name): (task / "comm").read_text().strip() for task in pathlib.Path(f"/proc/{pid}/task").iterdir()}


def thread(pid, part):
    """The thread whose name has this part."""
    found = [tid for tid, name in threads(pid).items() if part in name]
    expect(len(found) == 1, f"{len(found)} threads are named {part}: {threads(pid)}")
    return found[0]


def _state(path):
    return pathlib.Path(path).read_text().rsplit(")", 1)[1].split()[0]


def end(process, seconds=10):
    """By SIGTERM; one that is not gone after that time, by SIGKILL."""
    process.terminate()
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


@contextlib.contextmanager
def stopped(pid):
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
        expect(_state(f"/proc/{pid}/stat") == "T", "it was not stopped")
    finally:
        os.kill(pid, signal.SIGCONT)


def _ptrace(request, tid):
    if _libc.ptrace(request, tid, None, None) != 0:
        error = ctypes.get_errno()
        raise OSError(error, f"ptrace {request:#x} of thread {tid}: {os.strerror(error)}")


@contextlib.contextmanager
def stopped_thread(pid, tid):
    """By ptrace: a signal would stop all threads. To be left by the thread that entered it."""
    _ptrace(PTRACE_SEIZE, tid)
    try:
        _ptrace(PTRACE_INTERRUPT, tid)
        _, status = os.waitpid(tid, WALL)
        expect(os.WIFSTOPPED(status), f"thread {tid} was not stopped: {status:#x}")
        yield
        expect(_state(f"/proc/{pid}/task/{tid}/stat") == "t", "it was not stopped")
    finally:
        _ptrace(PTRACE_DETACH, tid)
