# SPDX-License-Identifier: BSD-3-Clause
"""The far ends of a router's links: frames in, frames out, and ARP and ND answered for simulated hosts."""

import errno
import ipaddress
import select
import struct
import time

from .. import frames as f

LINKS = ("w0", "w1", "w2", "w3")
ARP = 0x0806


class Wire:
    """All wires of one router. A frame is told by (link, bytes)."""

    def __init__(self, netns):
        self.netns = netns
        self.senders, self.captures = {}, {}
        self.hosts = {}  # (link, packed address) -> MAC: who answers ARP and ND
        self._poll = select.poll()
        self._links = {}
        for link in LINKS:
            self.open(link)

    def open(self, link):
        """From now on the link's device of today; to be called again when it is another one."""
        if link in self.captures:
            self._poll.unregister(self.captures[link].socket)
            del self._links[self.captures[link].socket.fileno()]
            self.captures[link].close()
            self.senders[link].close()
        self.senders[link], self.captures[link] = f.Sender(self.netns, link), f.Capture(self.netns, link)
        self._poll.register(self.captures[link].socket, select.POLLIN)
        self._links[self.captures[link].socket.fileno()] = link

    def send(self, link, frame):
        """A veth says ENOBUFS when its queue is full, and for a frame that the other end is too small for: the first
        passes."""
        for _ in range(3):
            try:
                self.senders[link].send(frame)
                return
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise

    def read(self, seconds):
        """What has arrived, [(link, frame)], in each link's order; waits until something has, or the time is over."""
        deadline = time.monotonic() + seconds
        while True:
            left = max(0.0, deadline - time.monotonic())
            arrived = []
            for fd, _ in self._poll.poll(left * 1000):
                link = self._links[fd]
                try:
                    while (frame := self.captures[link].read()) is not None:
                        arrived.append((link, frame))
                        self._answer(link, frame)
                except OSError:  # ENETDOWN, said once when the device goes down
                    pass
            if arrived or time.monotonic() >= deadline:
                return arrived

    def _answer(self, link, frame):
        asked = resolution_target(frame)
        mac = asked and self.hosts.get((link, asked))
        if mac:
            self.send(link, _arp_reply(frame, mac) if len(asked) == 4 else _advertisement(frame, asked, mac))

    def close(self):
        for end in (*self.senders.values(), *self.captures.values()):
            end.close()


def resolution_target(frame):
    """The packed address that an ARP request or a neighbour solicitation asks for, else None."""
    kind = frame[12:14]
    if kind == b"\x08\x06" and frame[20:22] == b"\0\1":
        return frame[38:42]
    if kind == b"\x86\xdd" and len(frame) >= 78 and frame[20] == f.ICMP6 and frame[54] == 135:
        return frame[62:78]
    return None


def _arp_reply(request, mac):
    mac = f.mac_bytes(mac)
    return request[6:12] + mac + request[12:20] + b"\0\2" + mac + request[38:42] + request[22:32]


def _advertisement(solicitation, target, mac):
    source, to = (str(ipaddress.IPv6Address(a)) for a in (target, solicitation[22:38]))
    body = struct.pack("!BBHI", 136, 0, 0, 0x60000000) + target + b"\2\1" + f.mac_bytes(mac)
    packet = f.ipv6(source, to, f.ICMP6, f.icmp6(source, to, body), hops=255)
    return solicitation[6:12] + f.mac_bytes(mac) + b"\x86\xdd" + packet
