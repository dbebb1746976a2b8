# SPDX-License-Identifier: BSD-3-Clause
"""The main routing tables of a namespace, read by netlink: in less than a millisecond, where `ip -j route` takes ten."""

import dataclasses
import ipaddress
import socket
import struct
import typing

RTM_NEWROUTE, RTM_GETROUTE, NLMSG_ERROR, NLMSG_DONE = 24, 26, 2, 3
NLM_F_REQUEST, NLM_F_DUMP = 1, 0x300
RTA_DST, RTA_SRC, RTA_OIF, RTA_GATEWAY, RTA_PRIORITY, RTA_MULTIPATH, RTA_CACHEINFO = 1, 2, 4, 5, 6, 9, 12
RTA_TABLE, RTA_VIA, RTA_PREF, RTA_NH_ID = 15, 18, 20, 30
RT_TABLE_MAIN, RTNH_F_DEAD, RTM_F_CLONED = 254, 1, 0x200


@dataclasses.dataclass(frozen=True)
class Path:
    device: str
    gateway: typing.Optional[str]
    weight: int
    dead: bool


@dataclasses.dataclass(frozen=True)
class KernelRoute:
    prefix: object
    source: typing.Optional[object]
    metric: int
    kind: int      # RTN_*
    protocol: int
    preference: int
    nexthop: int   # 0 = no object
    paths: tuple
    expires: int = dataclasses.field(compare=False, default=0)  # 1/100 s; 0 = never, negative = it is over


class KernelRoutes:
    def __init__(self, netns):
        self._netns = netns
        self._names = {}
        self._socket = netns.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
        self._socket.bind((0, 0))
        self._socket.settimeout(5)
        self._sequence = 0
        self.look_for_devices()

    def look_for_devices(self, known_as=None):
        """To be called again when there are others. known_as: {a device's name: what it is to be called}"""
        self._names = {link["ifindex"]: (known_as or {}).get(link["ifname"], link["ifname"])
                       for link in self._netns.ip_json("link", "show")}

    def close(self):
        self._socket.close()

    def read(self, version):
        """The main table's routes, in the kernel's order."""
        family = socket.AF_INET if version == 4 else socket.AF_INET6
        self._sequence += 1
        request = struct.pack("=BBBBBBBBI", family, 0, 0, 0, 0, 0, 0, 0, 0)
        self._socket.send(struct.pack("=IHHII", 16 + len(request), RTM_GETROUTE, NLM_F_REQUEST | NLM_F_DUMP,
                                      self._sequence, 0) + request)
        routes = []
        while True:
            data = self._socket.recv(1 << 17)
            while data:
                length, kind, _, sequence, _ = struct.unpack_from("=IHHII", data)
                if sequence == self._sequence:
                    if kind in (NLMSG_DONE, NLMSG_ERROR):
                        return routes
                    route = self._route(data[16:length])
                    routes += [route] if route else []
                data = data[(length + 3) & ~3:]

    def _route(self, message):
        family, dst_len, src_len, _, table, protocol, _, kind, flags = struct.unpack_from("=BBBBBBBBI", message)
        known = dict(_attributes(message[12:]))
        table = _number(known.get(RTA_TABLE), table)
        if table != RT_TABLE_MAIN or flags & RTM_F_CLONED:
            return None
        size = 4 if family == socket.AF_INET else 16
        network = lambda value, bits: ipaddress.ip_network((value or bytes(size), bits))
        paths = []
        if RTA_MULTIPATH in known:
            hops = known[RTA_MULTIPATH]
            while hops:
                length, hop_flags, weight, device = struct.unpack_from("=HBBi", hops)
                paths.append(self._path(dict(_attributes(hops[8:length])), device, weight + 1, hop_flags))
                hops = hops[(length + 3) & ~3:]
        elif RTA_OIF in known:
            paths.append(self._path(known, _number(known[RTA_OIF], 0), 1, flags & 0xff))
        return KernelRoute(network(known.get(RTA_DST), dst_len), network(known.get(RTA_SRC), src_len) if src_len else None,
                           _number(known.get(RTA_PRIORITY), 0), kind, protocol, known.get(RTA_PREF, b"\0")[0],
                           _number(known.get(RTA_NH_ID), 0), tuple(paths),
                           struct.unpack_from("=IIi", known[RTA_CACHEINFO])[2] if RTA_CACHEINFO in known else 0)

    def _path(self, known, device, weight, flags):
        gateway = known[RTA_VIA][2:] if RTA_VIA in known else known.get(RTA_GATEWAY)
        return Path(self._names.get(device, str(device)), str(ipaddress.ip_address(gateway)) if gateway else None, weight,
                    bool(flags & RTNH_F_DEAD))


def _attributes(data):
    while len(data) >= 4:
        length, kind = struct.unpack_from("=HH", data)
        yield kind & 0x3fff, data[4:length]
        data = data[(length + 3) & ~3:]


def _number(value, otherwise):
    return struct.unpack("=I", value)[0] if value else otherwise
