# SPDX-License-Identifier: BSD-3-Clause
"""A link of some rate, or none, below host c: what the edge's port c0 sends waits there."""

BELOW = "slow0"  # where c's UDP goes on


def put_below(lab, rate):
    """What arrives at c waits, as the very packets that millrace's sockets sent, for a link of this rate."""
    c = lab.netns["c"]
    c.ip("link", "add", BELOW, "numtxqueues", 1, "type", "veth", "peer", "name", "slow1")
    for device in (BELOW, "slow1"):
        c.ip("link", "set", device, "up")
    c.run("tc", "qdisc", "add", "dev", "eth0", "clsact")
    # Neighbour discovery stays as it is: UDP alone.
    for protocol, match in (("ip", "ip"), ("ipv6", "ip6")):
        c.run("tc", "filter", "add", "dev", "eth0", "ingress", "protocol", protocol, "u32",
              "match", match, "protocol", 17, "0xff", "action", "mirred", "egress", "redirect", "dev", BELOW)
    set_rate(lab, rate)


def set_rate(lab, rate):
    """What waits there is gone with the old qdisc; until then it holds the socket that sent it, ended or not."""
    c = lab.netns["c"]
    c.run("tc", "qdisc", "del", "dev", BELOW, "root", check=False)
    c.run("tc", "qdisc", "add", "dev", BELOW, "root", "tbf", "rate", rate, "burst", 2000, "limit", 100_000_000)


def below_bytes(lab):
    return lab.netns["c"].link(BELOW)["stats64"]["tx"]["bytes"]


def take_away(lab):
    """c takes what comes again; what waited is gone."""
    c = lab.netns["c"]
    c.ip("link", "del", BELOW, check=False)
    c.run("tc", "qdisc", "del", "dev", "eth0", "clsact", check=False)
