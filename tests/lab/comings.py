# SPDX-License-Identifier: BSD-3-Clause
"""What happens to c0, port of a star or of the drills' lab: it goes, and when the function returns it is there again."""

import time

from . import port_moves
from .star import edge_address

AWAY = 0.3  # s, how long it stays away at least


def connect(lab, index=None):
    lab.connect("c", left_index=index, before_up=lambda: ask_soon_again(lab))


def ask_soon_again(lab):
    """By ARP, on c0. Host c has no qdisc for its answer until the kernel's linkwatch has seen that the link is up again. On
    a busy machine that one may come too late, in either lab, and the next question would be asked a second later."""
    lab.edge.ip("ntable", "change", "name", "arp_cache", "dev", "c0", "retrans", 20)


def to_box_and_back(lab):
    port_moves.to_box(lab.edge, lab.netns["box"], "c0")
    time.sleep(AWAY)
    port_moves.from_box(lab.edge, lab.netns["box"], "c0")
    ask_soon_again(lab)
    lab.edge.ip("link", "set", "c0", "up")
    lab.address_edge("c")


def made_again(lab):
    port_moves.delete(lab.edge, "c0")
    time.sleep(AWAY)
    connect(lab)


def made_again_at_once(lab):
    """With the same index: nothing but the sockets tells that it is another one."""
    connect(lab, port_moves.delete(lab.edge, "c0"))


def renamed_and_back(lab):
    rename(lab.edge, "c0", "other")
    time.sleep(AWAY)
    rename(lab.edge, "other", "c0")
    lab.edge.ip("addr", "replace", f"{edge_address('c', 6)}/64", "dev", "c0", "nodad")


def rename(netns, device, name):
    for command in port_moves.renaming(device, name):
        netns.ip(*command.split())


def another_of_its_name(lab):
    for ns, name in ((lab.edge, "c0"), (lab.netns["c"], "eth0")):
        ns.ip("link", "set", name, "down")
        ns.ip("addr", "flush", "dev", name)
        ns.ip("link", "set", name, "name", "old")
    connect(lab)


def attached_again(lab):
    if lab.router.process is not None:
        lab.router.steer("detach", "c0")
        time.sleep(AWAY)
        lab.router.steer("attach", "c0")
