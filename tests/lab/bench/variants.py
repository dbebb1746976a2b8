# SPDX-License-Identifier: BSD-3-Clause
"""What is compared: each is a context manager that makes the edge forward from a0 to b0 in its way."""

import contextlib
import os
import subprocess

from ..netns import CommandError, wait_until
from ..router import Router
from .veths import GENERATOR_CORE, TTL, WORKER_CORE

RING = 2048
MBUFS = 16384
# Room in an mbuf so that each buffer takes 4032 bytes, one to a page as millrace's. Smaller ones leave larger
# gaps at page ends, which the driver of DPDK 22.11 does not count: it loses as many buffers (here 1.5 %).
MBUF_ROOM = 3840


class Kernel:
    """ip_forward, on the generator's core: a veth's receive side runs where it is sent from."""

    name = "kernel"
    ttl = TTL - 1

    @contextlib.contextmanager
    def running(self, lab):
        # A veth takes redirected frames only with NAPI, which GRO switches on. (These packets are UDP to no
        # local socket: nothing is merged.)
        lab.edge.run("ethtool", "-K", "a0", "gro", "on")
        try:
            yield
        finally:
            lab.edge.run("ethtool", "-K", "a0", "gro", "off")


class Testpmd:
    """dpdk-testpmd in `mac` mode: writes both MACs and looks nothing up, so it is the driver's floor.

    It uses libxdp's own program, which redirects everything without a look at the packet.
    """

    name = "testpmd"
    ttl = TTL

    @contextlib.contextmanager
    def running(self, lab):
        vdevs = [f"--vdev=net_af_xdp{i},iface={port},start_queue=0,queue_count=1,busy_budget=0"
                 for i, port in enumerate(("a0", "b0"))]
        eal = [f"--lcores={GENERATOR_CORE},{WORKER_CORE}", f"--main-lcore={GENERATOR_CORE}", "--no-pci",
               "--no-huge", "--no-shconf", "-m", "256", "--iova-mode=va", "--no-telemetry", *vdevs]
        options = ["--forward-mode=mac", f"--eth-peer=1,{lab.netns['sink'].mac('s0')}",
                   f"--eth-peer=0,{lab.netns['gen'].mac('g0')}", "--nb-cores=1", "--burst=32",
                   f"--rxd={RING}", f"--txd={RING}", f"--total-num-mbufs={MBUFS}",
                   f"--mbuf-size={MBUF_ROOM}", "--no-mlockall", "--auto-start"]
        path = lab.dir / "testpmd.log"
        with open(path, "w", encoding="utf-8") as log:
            # stdbuf: what it prints last is what the lab waits for.
            process = lab.edge.popen("stdbuf", "-oL", "dpdk-testpmd", *eal, "--", *options,
                                     stdin=subprocess.PIPE, stdout=log, stderr=subprocess.STDOUT,
                                     env=dict(os.environ, LIBXDP_SKIP_DISPATCHER="1"))
        try:
            def started():
                if process.poll() is not None:
                    raise CommandError(f"dpdk-testpmd ended: {path.read_text(errors='replace')[-300:]}")
                return "Press enter to exit" in path.read_text(errors="replace")
            wait_until(started, "dpdk-testpmd forwards", 20)
            yield
        finally:
            process.stdin.close()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


class Millrace:
    """millraced with its classifier, as configured by default but for the idle policy named."""

    ttl = TTL - 1

    def __init__(self, idle=None):
        self.idle = idle
        self.name = f"millrace ({idle})" if idle else "millrace"

    @contextlib.contextmanager
    def running(self, lab):
        router = Router(lab.edge, lab.dir, lab.build, ["a0", "b0"])
        router.write_config(core=WORKER_CORE, idle=self.idle)
        router.attach()
        try:
            router.start()
            router.wait_route("10.2.0.0/16", outcome="forward")
            yield
            counters = router.counters()
            if not counters.get("forwarded"):
                raise CommandError(f"millrace's worker forwarded nothing: {counters}")
        finally:
            router.stop()
            router.detach()
