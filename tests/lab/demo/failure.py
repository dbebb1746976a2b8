# SPDX-License-Identifier: BSD-3-Clause
"""Step 7: kill -9 under load. The kernel forwards on, and the fast path comes back."""

import time

from ..netns import wait_until
from ..topology import HOST
from ..traffic import Blast

PPS = 100_000
BEFORE, DEAD, AFTER = 2.0, 4.0, 4.0  # seconds; DEAD is longer than BGP's hold time of 3 s


def _counts(lab):
    """(sent by host-a, received by host-b), at their devices."""
    return (lab.netns["host-a"].link("eth0")["stats64"]["tx"]["packets"],
            lab.netns["host-b"].link("eth0")["stats64"]["rx"]["packets"])


def _flow(lab, seconds):
    """(packets a second that host-a sends, share of them that reach host-b), over this long a time."""
    (sent, received), begin = _counts(lab), time.monotonic()
    time.sleep(seconds)  # the interval that is measured
    (sent_after, received_after), end = _counts(lab), time.monotonic()
    return (sent_after - sent) / (end - begin), (received_after - received) / max(1, sent_after - sent)


def kill(lab, step):
    r = lab.router
    dropped = {p: s["dropped"] for p, s in lab.wait_sessions().items()}
    blast = Blast(lab.tools, lab.netns["host-a"], lab.netns["host-b"], HOST["b"][0], PPS,
                  BEFORE + DEAD + AFTER)
    try:
        blast.start()
        before, sent = r.forwarded(), _counts(lab)[0]
        rate, share = _flow(lab, BEFORE)
        by_worker = (r.forwarded() - before) / max(1, _counts(lab)[0] - sent)
        step.check(share > 0.95 and by_worker > 0.95, "before", f"{rate:,.0f} packets/s sent, "
                   f"{100 * share:.1f} % reach host-b, {100 * by_worker:.1f} % by the worker")

        r.kill()
        rate, share = _flow(lab, DEAD)
        step.check(rate > 0 and share > 0.95, "millraced killed with -9; the kernel forwards",
                   f"{rate:,.0f} packets/s sent, {100 * share:.1f} % reach host-b")
        _sessions_held(lab, step, dropped, f"{DEAD:g} s after the kill")

        begin = time.monotonic()
        ready = r.start()
        wait_until(lambda: r.forwarded() > 1000, "the worker forwards again", 10)
        back = time.monotonic() - begin
        step.figure("restart_ready_seconds", round(ready, 3))
        step.figure("restart_fast_path_seconds", round(back, 3))
        step.check(back <= 2.0, "millraced started again; the fast path forwards", f"after {back:.2f} s")
        result = blast.finish()
    finally:
        blast.stop()
    step.figure("sent", result["sent"])
    step.figure("lost", result["lost"])
    step.figure("largest_gap_ms", result["largest_gap_ms"])
    average = result["sent"] / result["send_seconds"]
    step.check(average > 0.8 * PPS, "the load over all", f"{average:,.0f} packets/s")
    step.check(result["received"] > 0.9 * result["sent"], "packets lost over all",
               f"{result['lost']} of {result['sent']}; longest gap {result['largest_gap_ms']:.1f} ms, "
               f"{result['gap_at'] / PPS:.1f} s after the start")
    _sessions_held(lab, step, dropped, "at the end")


def _sessions_held(lab, step, dropped, when):
    now = lab.sessions()
    lost = [p for p, s in now.items() if s["state"] != "Established" or s["dropped"] != dropped[p]]
    step.check(not lost and len(now) == 4, f"BGP {when}",
               f"lost: {', '.join(lost)}" if lost else f"all {len(now)} sessions were up all the time")
