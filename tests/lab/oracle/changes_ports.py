# SPDX-License-Identifier: BSD-3-Clause
"""A port as a device: what an operator or a container makes of it, and how it comes home.

It goes to another namespace, gets another name or another MAC address, joins a bridge, is deleted; and is home a few
steps later, or at once. What it had is given again as an operator would. Some of it makes millraced start again.
"""

import dataclasses
import os
import threading

from .. import port_moves
from .twins import connect, number, router_mac, set_sysctls
from .wire import LINKS

BRIDGE = "br0"
NEW_NAMES = {"p1": "x1", "p2": "x2"}
KNOWN_AS = {new: old for old, new in NEW_NAMES.items()}
LIVE_RENAME = tuple(int(n) for n in os.uname().release.split(".")[:2]) >= (6, 2)
COMES_HOME = 0.1  # at each step, one that is not
# Each costs a second: so many in a chunk of steps, at most.
RESTARTS = 3
GONE = ("box", "deleted")  # no route leads there
CUT_OFF = (*GONE, "bridge")  # what comes in there is not the router's


def other_mac(device):
    return f"02:00:00:02:{number(device):02x}:01"


def other_link_local(device):
    return f"fe80::ff:fe02:{number(device):x}01"


@dataclasses.dataclass(frozen=True)
class Move:
    """More than `ip` commands in the router's namespace."""
    verb: str  # "to box", "from box", "delete", "make", "make with the same index"
    device: str

    def __str__(self):
        return f"({self.device}: {self.verb})"


@dataclasses.dataclass(frozen=True)
class Off:
    how: str
    live: bool = False  # without being set down


class PortsNet:
    """The part of a ChangesNet that is about whole ports. self.off: {device: Off} of those that are not as they were."""

    def move(self, device):
        """It goes off, or goes and comes home at once."""
        kinds = MOVES if self.restarts else {k: v for k, v in MOVES.items() if k not in RESTARTING}
        kind = self.rng.choices(list(kinds), list(kinds.values()))[0]
        self.restarts -= kind in RESTARTING
        live = self.rng.random() < 0.5
        if kind == "made anew":
            verb = "make with the same index" if live else "make"
            return [Move("delete", device), Move(verb, device), *self._given_again(device)]
        self.off[device] = Off(kind.split()[0], live and (LIVE_RENAME or kind != "renamed"))
        lines = self._gone(device)
        return lines + self.come_home(device) if kind.endswith("and back") else lines

    def _gone(self, device):
        off = self.off[device]
        if off.how == "box":
            return [Move("to box", device)]
        if off.how == "deleted":
            return [Move("delete", device)]
        if off.how == "bridge":
            return [f"link set {device} master {BRIDGE}"]
        if off.how == "renamed":
            return port_moves.renaming(device, NEW_NAMES[device], off.live) + self._given_again(device)
        return self._with_mac(device, other_mac(device), off.live)

    def come_home(self, device):
        off = self.off.pop(device)
        if off.how == "box":
            return [Move("from box", device), *self._given_again(device)]
        if off.how == "deleted":
            return [Move("make", device), *self._given_again(device)]
        if off.how == "bridge":
            return [f"link set {device} nomaster"]
        if off.how == "renamed":
            return port_moves.renaming(NEW_NAMES[device], device, off.live) + self._given_again(device)
        return self._with_mac(device, router_mac(device), off.live)

    def all_home(self):
        return [line for device in sorted(self.off) for line in self.come_home(device)]

    def _with_mac(self, device, mac, live):
        down = [] if live else [f"link set {device} down"]
        # The permanent neighbours go with the address.
        return down + [f"link set {device} address {mac}", *self._given_again(device)]

    def _given_again(self, device):
        self.without4.discard(device)
        self.without6.discard(device)
        return self.by_name(self.restored(device))

    def by_name(self, lines):
        """The commands, with the names that the devices have now."""
        for device, off in self.off.items():
            if off.how == "renamed":
                lines = [" ".join(NEW_NAMES[device] if word == device else word for word in line.split())
                         if isinstance(line, str) else line for line in lines]
        return lines

    def mac(self, device):
        """The router's on the link."""
        return other_mac(device) if device in self.off and self.off[device].how == "mac" else router_mac(device)


MOVES = {"box": 3, "box and back": 2, "deleted": 2, "made anew": 4, "renamed": 3, "renamed and back": 2, "mac": 3, "bridge": 2,
         "bridge and back": 1}
RESTARTING = ("box", "box and back", "deleted", "made anew")


class Mover:
    """Does a Move in both routers at the same time."""

    def __init__(self, twins, sysctls):
        self.twins = twins
        self.sysctls = sysctls  # of a port, as set_sysctls() takes them; their names with {}
        self.boxes = {name: twins.add_netns(f"box-{name}") for name in twins.twins}
        for box in self.boxes.values():
            set_sysctls(box, {"net__ipv6__conf__default__disable_ipv6": 1})
        twins.both("ip", "link", "add", BRIDGE, "type", "bridge", "mcast_snooping", "0")
        twins.set_sysctls(**{f"net__ipv6__conf__{BRIDGE}__disable_ipv6": 1})
        twins.both("ip", "link", "set", BRIDGE, "up")

    def __call__(self, move):
        failed = []

        def do(twin):
            try:
                self._do(twin, move)
            except Exception as error:
                failed.append(error)
        threads = [threading.Thread(target=do, args=(twin,)) for twin in self.twins.twins.values()]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if failed:
            raise failed[0]

    def _do(self, twin, move):
        device, box = move.device, self.boxes[twin.name]
        if move.verb == "to box":
            port_moves.to_box(twin.netns, box, device)
        elif move.verb == "from box":
            port_moves.from_box(twin.netns, box, device)
        elif move.verb == "delete":
            twin.indices[device] = port_moves.delete(twin.netns, device)
        else:
            connect(twin, device, twin.indices[device] if "index" in move.verb else None)
            twin.wire.open(LINKS[number(device)])
        if move.verb not in ("to box", "delete"):
            # A device that enters a namespace has the settings of a new one.
            set_sysctls(twin.netns, {name.format(device): value for name, value in self.sysctls.items()})
