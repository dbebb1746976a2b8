# SPDX-License-Identifier: BSD-3-Clause
"""A port whose driver has no XDP of its own: the classifier runs in generic mode, and punts do not loop."""

import sys

from lab.cases import Cases, build_dir, expect
from lab.netns import wait_until
from lab.star import Probe, StarLab, edge_address, host_address

PREFIX, ADDRESS = "10.100.1.0/24", "10.100.1.9"
NO_ROUTE = "10.250.0.9"


def main():
    cases = Cases("netns.generic_xdp")
    with StarLab(build_dir()) as lab:
        lab.start()
        r = lab.router
        r.write_config(vlan_tags="none")  # which the classifier could not see
        r.steer("attach", *r.ports, "--mode", "generic")
        r.start()
        lab.resolve("a", "b")
        with Probe(lab) as probe:
            with cases.case("millrace says that the ports are in generic mode"):
                modes = {p["port"]: p["xdp_mode"] for p in r.show("ports")}
                expect(set(modes.values()) == {"generic"}, f"{modes}")
            with cases.case("transit takes the fast path, right to the byte"):
                lab.edge.ip("route", "add", PREFIX, "via", host_address("b"))
                r.wait_route(PREFIX, outcome="forward")
                before = r.settled_counters()["forwarded"]
                where, frame = probe.send(ADDRESS)
                expect(where == "b", f"it came out at {where}")
                expect(not probe.wrong("b", frame), probe.wrong("b", frame))
                expect(r.settled_counters()["forwarded"] == before + 1, "not by the worker")
            with cases.case("a punted packet is answered once, and does not come round again"):
                before, steer = r.settled_counters(), r.steering()
                where, answer = probe.send(NO_ROUTE)
                expect(where == "icmp" and answer[:2] == (3, 0), f"{where} {answer and answer[:3]}")
                expect(answer[2] == edge_address("a"), f"the answer came from {answer[2]}")
                after = r.settled_counters()
                moved = after.get("punt_no_route", 0) - before.get("punt_no_route", 0)
                expect(moved == 1, f"punted {moved} times")
                redirected = r.steering().get("redirect", 0) - steer.get("redirect", 0)
                expect(redirected == 1, f"redirected {redirected} times")
            with cases.case("ten punts are ten punts"):
                before = r.settled_counters().get("punt_no_route", 0)
                for _ in range(10):
                    probe.send(NO_ROUTE)
                wait_until(lambda: r.settled_counters()["punt_no_route"] >= before + 10, "ten punts", 5)
                n = r.settled_counters()["punt_no_route"] - before
                expect(n == 10, f"{n} punts")
    return cases.finish()


if __name__ == "__main__":
    sys.exit(main())
