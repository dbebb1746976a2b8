# SPDX-License-Identifier: BSD-3-Clause
"""A tenth of a full table by BGP: it comes, goes, comes again, FRR restarts. What the kernel has, the fast path has."""

import sys
import time

from lab import full_table
from lab.cases import Cases, build_dir, expect
from lab.frr_scale import FrrLab

SCALE = 0.1
NEXTHOPS = 64
SEED = int(time.time())


def verified(lab):
    done = lab.edge.run(lab.router.cli_bin, "--socket", lab.router.socket_path, "verify", check=False, timeout=60)
    expect(done.returncode == 0, f"millrace verify: {(done.stdout + done.stderr).strip()[-300:]}")


def behind(what, times):
    print(f"kernel {times.kernel:.1f} s, fast path {times.fast_path:.1f} s after {what}", flush=True)
    expect(times.fast_path - times.kernel <= 1, f"{times.fast_path - times.kernel:.1f} s behind the kernel")


def drill(cases, lab):
    with cases.case("150,000 prefixes come by BGP, and are on the fast path when the kernel has them"):
        behind("the sessions' start", lab.load_by_bgp(90))
        verified(lab)
    if lab.router.count() < len(lab.routes):
        return
    with cases.case("the sessions are lost, and all of their routes"):
        behind("the loss", lab.lose_session(60))
        verified(lab)
    with cases.case("they come again"):
        behind("the sessions' start", lab.load_by_bgp(90))
    if lab.router.count() < len(lab.routes):
        return
    with cases.case("bgpd restarts: what zebra keeps and what it takes out, the fast path does"):
        lab.restart_bgpd(60)
        verified(lab)
    with cases.case("zebra dies, and FRR is restarted: not a packet is lost"):
        with lab.no_packet_lost(25):
            lab.restart_all(24)
        verified(lab)


def main():
    cases = Cases("netns.frr_scale")
    print(f"seed {SEED}", flush=True)
    routes = full_table.Table(SCALE, SEED, NEXTHOPS).routes
    with FrrLab(build_dir(), NEXTHOPS, routes) as lab:
        lab.start()
        lab.start_router()
        drill(cases, lab)
    return cases.finish()


if __name__ == "__main__":
    sys.exit(main())
