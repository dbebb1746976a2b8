# SPDX-License-Identifier: BSD-3-Clause
"""What an operator, a container or a driver does to a netdev that is a port. What it had, others give it again."""


def to_box(netns, box, device):
    netns.ip("link", "set", device, "netns", box.name)
    box.ip("link", "set", device, "up")


def from_box(netns, box, device):
    """It is down then, and has no addresses."""
    box.ip("link", "set", device, "netns", netns.name)


def delete(netns, device):
    """Returns the index that it had."""
    index = netns.link(device)["ifindex"]
    netns.ip("link", "del", device)
    return index


def renaming(device, name, live=False):
    """`ip` commands. live: while it is up, which Linux has let be done since 6.2."""
    return [f"link set {device} name {name}"] if live else \
        [f"link set {device} down", f"link set {device} name {name}", f"link set {name} up"]
