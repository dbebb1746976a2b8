# SPDX-License-Identifier: BSD-3-Clause
"""The metrics, scraped by a real Prometheus: they are what `millrace show` says, and whoever scrapes holds up nobody."""

import os
import signal
import socket
import sys
import time

from lab.cases import Cases, Stolen, build_dir, expect
from lab.netns import CommandError, wait_until
from lab.prometheus import LISTEN, Prometheus, Samples, board_queries, check_rules, promtool, scrape
from lab.star import StarLab, host_address
from lab.traffic import ping

PPS = 10_000
PORTS = {  # row of `show ports` -> metric
    "rx_packets": "millrace_port_receive_packets_total", "rx_bytes": "millrace_port_receive_bytes_total",
    "tx_packets": "millrace_port_transmit_packets_total", "tx_bytes": "millrace_port_transmit_bytes_total",
    "tx_dropped": "millrace_port_transmit_dropped_packets_total", "punted_packets": "millrace_punted_packets_total",
    "xsk_rx_dropped": "millrace_xsk_receive_dropped_packets_total",
    "xsk_rx_ring_full": "millrace_xsk_receive_ring_full_packets_total",
    "xsk_fill_ring_empty": "millrace_xsk_fill_ring_empty_total", "xsk_tx_invalid": "millrace_xsk_transmit_invalid_total",
    "mtu": "millrace_port_mtu_bytes", "queues": "millrace_port_queues", "rx_ring": "millrace_xsk_receive_ring_descriptors"}
SYNC = {
    "resyncs": "millrace_sync_resyncs_total", "overruns": "millrace_sync_overruns_total",
    "restarts": "millrace_sync_restarts_total", "doubts": "millrace_sync_doubts_total",
    "decode_errors": "millrace_sync_decode_errors_total", "prefixes": "millrace_mirror_prefixes",
    "groups": "millrace_mirror_groups", "adjacencies": "millrace_mirror_adjacencies", "neighbors": "millrace_neighbors",
    "nexthop_objects": "millrace_mirror_nexthop_objects", "audit_differences": "millrace_audit_differences_total",
    "audit_repaired": "millrace_audit_repaired_total", "audit_failures": "millrace_audit_failures_total"}


def shown(lab):
    """{(metric, labels): number} of all that a show tells, too."""
    wanted = {}

    def add(name, value, **labels):
        wanted[name, frozenset(labels.items())] = float(value)
    r = lab.router
    for row in r.show("counters"):
        add("millrace_packets_total", row["packets"], port=row["port"], reason=row["reason"])
    kept = {}
    for row in r.show("steering"):
        if row["kind"] == "verdict":
            add("millrace_steering_packets_total", row["packets"], port=row["port"], reason=row["reason"])
            add("millrace_steering_bytes_total", row["bytes"], port=row["port"], reason=row["reason"])
        elif row["kind"] == "kept" and row["cause"] not in ("configuration", "routes"):
            kept[row["cause"]] = kept.get(row["cause"], 0) + 1
    for cause, count in kept.items():
        add("millrace_keeps", count, cause=cause)
    for row in r.show("ports"):
        for key, name in PORTS.items():
            if row[key] is not None:
                add(name, row[key], port=row["port"])
        add("millrace_port_served", row["state"] == "served", port=row["port"])
        add("millrace_port_up", row["usable"], port=row["port"])
    sync = r.show("sync")[0]
    for key, name in SYNC.items():
        add(name, sync[key])
    for row in r.ask("routes", count="true"):
        for outcome in ("forward", "glean", "punt", "drop"):
            add("millrace_prefixes", row[outcome], family=row["family"], outcome=outcome)
    return wanted


def fits(lab):
    """A scrape between two shows that say the same; once there is one."""
    said = ""

    def the_same():
        nonlocal said
        before = shown(lab)
        samples = Samples(scrape(lab.edge))
        if shown(lab) != before:
            return None  # something moved meanwhile: neighbours are asked now and then
        wrong = [f"{name} {dict(labels)}: {samples.value(name, **dict(labels))}, not {value}"
                 for (name, labels), value in before.items() if samples.value(name, **dict(labels)) != value]
        said = "; ".join(wrong[:5])
        return samples
    samples = wait_until(the_same, "nothing moves", 20, 0.05)
    expect(not said, said)
    return samples


def descriptors(lab):
    return len(os.listdir(f"/proc/{lab.router.process.pid}/fd"))


def values(cases, lab):
    with cases.case("all that a show tells, too, is the same to the packet, after traffic, punts and drops"):
        with lab.traffic(PPS, 2) as results:
            lab.netns["a"].run("ping", "-n", "-c", 3, "-i", 0.05, "-t", 1, host_address("b"), check=False)  # TTL: the classifier's
            ping(lab.netns["a"], "198.51.100.1", 3, wait=1)  # punt_no_route
        expect(all(r["lost"] == 0 for r in results), f"{results}")
        lab.router.settled_counters()
        samples = fits(lab)
        expect(samples.value("millrace_packets_total", port="a0", reason="forwarded") >= 2 * PPS, "nothing was forwarded")
        expect(samples.value("millrace_packets_total", port="a0", reason="punt_no_route") == 3, "no punt is counted")
    with cases.case("promtool check metrics finds no fault"):
        code, said = promtool("check", "metrics", text=scrape(lab.edge))
        expect(code == 0 and not said, said)
    with cases.case("workers, buffers, tables and versions are there, and make sense"):
        samples = Samples(scrape(lab.edge))
        size, free = samples.value("millrace_pool_buffers"), samples.value("millrace_pool_free_buffers")
        expect(0 < free < size and size >= 16384, f"{free} of {size} buffers are free")
        expect(samples.value("millrace_worker_loops_total", worker="0") > 1000, "the worker has made no rounds")
        cpu = samples.value("millrace_worker_cpu_seconds_total", worker="0")
        expect(0 < cpu < samples.value("process_cpu_seconds_total"), f"the worker's CPU time: {cpu} s")
        for port in lab.ports:
            age = samples.value("millrace_port_heartbeat_age_seconds", port=port)
            expect(age is not None and age < 0.1, f"heartbeat of {port}: {age}")
            expect(samples.value("millrace_port_silent_seconds", port=port) == 0, f"{port} is silent")
        expect(0 < samples.value("millrace_fib_node_bytes", family="ipv4") <
               samples.value("millrace_fib_node_limit_bytes", family="ipv4") == 128 << 20, "the FIB's bytes")
        expect(samples.value("millrace_control_samples_age_seconds") < 1, "it is old")
        infos = [dict(labels) for (name, labels) in samples.values if name == "millrace_classifier_info"]
        expect({i["port"] for i in infos} == set(lab.ports) and all(i["xsk_mode"] == "copy" for i in infos), f"{infos}")
        expect(samples.of("millrace_build_info", "version"), "no version")
    with cases.case("labels are ports, reasons, workers, families and such: never an address or a prefix"):
        lab.edge.ip("route", "add", "203.0.113.0/24", "via", host_address("b"))
        lab.router.wait_route("203.0.113.0/24", outcome="forward")
        text = scrape(lab.edge)
        for word in ("203.0.113", host_address("b"), host_address("b", 6)):
            expect(word not in text, f"{word} is told")


def servers(cases, lab):
    prometheus = None
    with cases.case("promtool finds no fault in the alert rules, and each fires for what it is for"):
        said = check_rules(lab.dir)
        expect(not said, said)
    with cases.case("Prometheus itself scrapes it, each second, and has the same counts"):
        prometheus = Prometheus(lab, lab.edge).start()
        wait_until(lambda: prometheus.query('up{job="millrace"} == 1'), "it scrapes", 10, 0.2)
        lab.router.settled_counters()

        def the_same():
            seen = {(m["port"], m["reason"]): v for m, v in prometheus.query("millrace_packets_total")}
            return seen == {(r["port"], r["reason"]): r["packets"] for r in lab.router.show("counters")}
        wait_until(the_same, "Prometheus has what `show counters` says", 10, 0.5)
        expect(not prometheus.firing(), f"alerts: {prometheus.firing()}")
    with cases.case("each query of the Grafana board has an answer"):
        with lab.traffic(PPS, 4):
            time.sleep(3)
            empty = [query for _, query in board_queries() if not prometheus.query(query)]
        expect(not empty, f"nothing comes of: {empty}")
    return prometheus


def alerts(cases, lab, prometheus):
    def fires(alert, port="", seconds=20):
        wait_until(lambda: (alert, port) in prometheus.firing(), f"{alert} {port} fires", seconds, 0.5)

    def is_over(alert, port="", seconds=20):
        wait_until(lambda: (alert, port) not in prometheus.firing(), f"{alert} {port} is over", seconds, 0.5)

    with cases.case("alert: a port that is left to the kernel, but not one that was drained"):
        lab.router.cli("drain", "b0")
        lab.edge.ip("link", "set", "c0", "down")
        fires("MillracePortInFallback", "c0")
        expect(("MillracePortInFallback", "b0") not in prometheus.firing(), "the drained port is told")
        lab.router.cli("undrain", "b0")
        lab.edge.ip("link", "set", "c0", "up")
        is_over("MillracePortInFallback", "c0")
    with cases.case("alert: a difference of kernel and fast path"):
        lab.router.cli("debug", "plant", "fib", "203.0.113.0/24")
        lab.router.cli("verify", check=False)
        fires("MillraceDifference")
    with cases.case("alert: a daemon that stands still does not answer"):
        lab.router.signal(signal.SIGSTOP)
        try:
            fires("MillraceDown")
        finally:
            lab.router.signal(signal.SIGCONT)
        is_over("MillraceDown")


def hangs(cases, lab):
    with cases.case("40 clients that hang: nothing is lost, few descriptors are taken, and scrapes go on", Stolen()):
        before = descriptors(lab)
        sockets = []
        try:
            with lab.traffic(PPS, 3) as results:
                for n in range(40):
                    s = lab.edge.socket(socket.AF_INET, socket.SOCK_STREAM)
                    s.settimeout(0.2)
                    sockets.append(s)
                    try:
                        s.connect(("127.0.0.1", int(LISTEN.rsplit(":", 1)[1])))
                        s.sendall(b"GET /metrics HT"[:n % 16])
                    except OSError:  # the backlog is full
                        pass
                most = max(descriptors(lab), (time.sleep(0.5), descriptors(lab))[1])
            expect(most - before <= 10, f"{most} descriptors, {before} before")
            expect(all(r["lost"] == 0 and r["sent"] > PPS for r in results), f"{results}")
        finally:
            for s in sockets:
                s.close()
        def answers():
            try:
                return "millrace_packets_total" in scrape(lab.edge)
            except OSError:
                return False
        wait_until(answers, "a scrape is answered", 15, 0.5)
        wait_until(lambda: descriptors(lab) <= before, "the descriptors are back", 10, 0.5)
    with cases.case("100 scrapes in a row under traffic: nothing is lost", Stolen()):
        with lab.traffic(PPS, 3) as results:
            for _ in range(100):
                scrape(lab.edge)
        expect(all(r["lost"] == 0 and r["sent"] > PPS for r in results), f"{results}")


def addresses(cases, lab):
    def listens():
        return lab.edge.run("ss", "-Hltn", "sport = :10179 or sport = :10180").stdout.split()[3:4]

    with cases.case("another address by reload: a drained restart, and the old one is free"):
        lab.router.write_config(extra='\n[metrics]\nlisten = "10.0.1.1:10180"\n')
        said = lab.router.cli("reload").stdout
        expect(said.startswith("changed: [metrics]; millraced starts again"), f"it said {said}")
        wait_until(lambda: listens() == ["10.0.1.1:10180"], "it listens there alone", 10)
        wait_until(lambda: answer(lab, "10.0.1.1:10180"), "it answers", 10, 0.2)
    with cases.case("SIGTERM while clients hang: they hold up nothing"):
        hung = lab.edge.inside(lambda: socket.create_connection(("10.0.1.1", 10180), 2))
        begin = time.monotonic()
        expect(lab.router.stop() == 0, "it failed")
        took = time.monotonic() - begin
        hung.close()
        expect(took < 2, f"it took {took:.2f} s")
    with cases.case("listen = \"\": nobody listens"):
        lab.router.write_config(extra='\n[metrics]\nlisten = ""\n')
        lab.router.start()
        expect(not listens(), f"{listens()}")
        lab.router.stop()
    for what, listen, why in (("a port that is in use", LISTEN, "Address already in use"),
                              ("an address of nobody here", "192.0.2.1:10179", "Cannot assign requested address")):
        with cases.case(f"{what}: one warning, and it forwards"):
            lab.router.write_config(extra=f'\n[metrics]\nlisten = "{listen}"\n')
            taken = lab.edge.inside(lambda: socket.create_server(("127.0.0.1", 10179)))
            lab.router.log_path.unlink()
            lab.router.start()
            taken.close()
            said = [line for line in lab.router.log_path.read_text().splitlines() if "metrics" in line]
            expect(len(said) == 1 and f"nobody can listen on {listen}: {why}" in said[0] and "warn" in said[0], f"{said}")
            lab.resolve("a", "b")
            expect(lab.router.counters()["forwarded"] == 0 and ping(lab.netns["a"], host_address("b"), 3)["received"] == 3,
                   "no ping")
            wait_until(lambda: lab.router.counters()["forwarded"] >= 6, "the fast path forwards", 5)
            lab.router.stop()


def answer(lab, listen):
    try:
        return Samples(scrape(lab.edge, listen)).value("millrace_sync_synced") == 1
    except (OSError, CommandError):
        return False


def main():
    cases = Cases("netns.metrics")
    with StarLab(build_dir()) as lab:
        lab.start()
        lab.router.daemon_flags = ["--debug-hooks"]
        lab.start_router()
        lab.resolve("a", "b", "c")
        values(cases, lab)
        prometheus = servers(cases, lab)
        if prometheus is not None:
            alerts(cases, lab, prometheus)
            prometheus.stop()
        hangs(cases, lab)
        addresses(cases, lab)
    return cases.finish()


if __name__ == "__main__":
    sys.exit(main())
