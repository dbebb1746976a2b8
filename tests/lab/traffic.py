# SPDX-License-Identifier: BSD-3-Clause
"""Traffic between hosts: ping, traceroute, iperf3 and the lab's own sender and counter of UDP."""

import ipaddress
import json
import re
import signal
import subprocess

from .netns import CommandError, wait_until


def family(address):
    return "-6" if ipaddress.ip_address(address).version == 6 else "-4"


def ping(netns, address, count=1, size=56, interval=0.02, wait=2, extra=()):
    """Returns {sent, received, text}. Never raises for a lost packet."""
    done = netns.run("ping", "-n", family(address), "-c", count, "-i", interval, "-s", size, "-W", wait,
                     *extra, address, check=False, timeout=30 + count * (interval + 0.1))
    seen = re.search(r"(\d+) packets transmitted, (\d+) received", done.stdout)
    if not seen:
        raise CommandError(f"ping {address}: {done.stderr.strip() or done.stdout.strip()}")
    return {"sent": int(seen[1]), "received": int(seen[2]), "text": done.stdout}


def traceroute(netns, address):
    """The hops' addresses, '*' where none answered."""
    done = netns.run("traceroute", family(address), "-n", "-q", "1", "-w", "2", "-m", "8", address)
    return [line.split()[1] for line in done.stdout.splitlines()[1:] if line.strip()]


class Iperf3:
    """An iperf3 server for as long as the `with` lasts."""

    def __init__(self, netns):
        self.netns = netns

    def __enter__(self):
        self.server = self.netns.popen("iperf3", "-s", stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_until(lambda: self.netns.run("ss", "-Hltn", "sport = :5201").stdout.strip(), "iperf3 listens")
        return self

    def __exit__(self, *_):
        self.server.terminate()
        self.server.wait()

    def run(self, client, address, *args, seconds=2):
        done = client.run("iperf3", family(address), "-J", "-c", address, "-t", seconds, *args, check=False,
                          timeout=seconds + 30)
        try:
            report = json.loads(done.stdout)
        except ValueError as error:
            raise CommandError(f"iperf3 {address}: {done.stderr.strip()[:200]}") from error
        if "error" in report:
            raise CommandError(f"iperf3 {address}: {report['error']}")
        return report["end"]


class Blast:
    """Numbered UDP packets at a steady rate from one host to another, counted there."""

    def __init__(self, tools, sender, receiver, address, pps, seconds, size=18, port=9000, under=()):
        """under: a command that runs both programs, as ("chrt", "-f", 10)."""
        self.tools, self.sender, self.receiver, self.under = tools, sender, receiver, under
        self.address, self.pps, self.seconds, self.size, self.port = address, pps, seconds, size, port
        self.processes = []

    def start(self):
        count = self.receiver.popen(*self.under, self.tools / "udp-count", self.port, stdout=subprocess.PIPE, text=True)
        self.processes.append(count)
        filter_ = f"sport = :{self.port}"
        wait_until(lambda: self.receiver.run("ss", "-Hlun", filter_).stdout.strip(), "udp-count listens")
        self.processes.append(self.sender.popen(
            *self.under, self.tools / "udp-blast", self.address, self.port, self.pps, self.seconds, self.size,
            stdout=subprocess.PIPE, text=True))
        return self

    def finish(self):
        """Waits for the sender's end; returns the receiver's and sender's figures as one dict."""
        count, blast = self.processes
        said, _ = blast.communicate(timeout=self.seconds + 30)
        # The counter ends by itself once nothing came for half a second after this signal.
        count.send_signal(signal.SIGINT)
        heard, _ = count.communicate(timeout=30)
        if blast.returncode != 0 or count.returncode != 0:
            raise CommandError(f"udp-blast or udp-count to {self.address} failed")
        result = json.loads(heard)
        result.update(json.loads(said))
        result["lost"] = result["sent"] - result["received"]
        return result

    def stop(self):
        for process in self.processes:
            if process.poll() is None:
                process.kill()
                process.wait()


# ICMPv6 types that a host exchanges with its own router: solicitations, advertisements, redirects, MLD.
_LINK_ICMP6 = (130, 131, 132, 133, 134, 135, 136, 137, 143)


def ip_packets(netns, device="eth0"):
    """(sent, received): a host's IP packets of both families, without its link's own talk.

    Sent is counted at the device, since TCP hands the IP layer several segments as one; received at the IP
    layer. The lab's hosts have permanent neighbour entries: there is no ARP to tell apart.
    """
    four = netns.run("cat", "/proc/thread-self/net/snmp").stdout.splitlines()
    names, values = [line.split()[1:] for line in four if line.startswith("Ip:")]
    v4 = dict(zip(names, map(int, values)))
    v6 = {}
    for line in netns.run("cat", "/proc/thread-self/net/snmp6").stdout.splitlines():
        name, value = line.split()
        v6[name] = int(value)
    sent = netns.link(device)["stats64"]["tx"]["packets"]
    sent -= sum(v6.get(f"Icmp6OutType{t}", 0) for t in _LINK_ICMP6)
    received = v4["InReceives"] + v6["Ip6InReceives"]
    received -= sum(v6.get(f"Icmp6InType{t}", 0) for t in _LINK_ICMP6)
    return sent, received
