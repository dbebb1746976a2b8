# SPDX-License-Identifier: BSD-3-Clause
"""Random frames, weighted to what is rare. All come from one random.Random: the same seed gives the same frames."""

import ipaddress
import struct

from .. import frames as f
from .random_net import ABSENT
from .twins import DEVICES, PORTS, address, behind, host_mac, link_local, number, router_mac

MARTIANS4 = ("0.0.0.0", "0.0.0.1", "127.0.0.1", "169.254.1.1", "224.0.0.1", "239.1.1.1", "240.0.0.1", "255.255.255.255",
             "10.0.1.255", "10.0.1.0", "10.0.0.255", "10.255.255.255")
MARTIANS6 = ("::", "::1", "::1.2.3.4", "::ffff:1.2.3.4", "fe80::1", "fe80::ff:fe00:101", "ff02::1", "ff0e::1", "fec0::1",
             "2001:db8::", "2001:db8:0:1::", "0:0:0:0:0:1::", "64:ff9b::1.2.3.4")
OPTIONS4 = (b"\1\1\1\0", b"\0\0\0\0", b"\x94\4\0\0", b"\7\7\4\0\0\0\0\0", b"\x83\7\4\x0a\x0b\0\1\0",
            b"\x89\7\4\x0a\0\1\3\0", b"\x44\x0c\5\0" + bytes(8), b"\x44\x0c\5\1" + bytes(8), b"\x88\4\0\1", b"\7\0\0\0",
            b"\7\x28\4\0", b"\x9e\4\0\0", b"\1" * 40)
EXTENSIONS = (0, 43, 44, 51, 60, 135, 139, 140)
ICMP_TYPES = {4: (0, 3, 4, 5, 8, 11, 12, 13, 17, 200), 6: (1, 2, 3, 4, 100, 127, 128, 129, 130, 131, 132, 133, 134, 135,
                                                          136, 137, 138, 143, 144, 151, 200)}


class RandomFrames:
    def __init__(self, rng, net):
        self.rng, self.net = rng, net
        self.index = 0

    def chance(self, share):
        return self.rng.random() < share

    def frame(self, index):
        """(device, frame). The index is in the identification or flow label, and in the payload."""
        self.index = index
        device = self.rng.choices(DEVICES, (10, 3, 3, 1))[0]
        version = self.rng.choice((4, 6))
        if self.chance(0.02):
            return device, self._noise(device)
        source, destination = self._source(device, version), self._destination(device, version)
        build = self._ipv4 if version == 4 else self._ipv6
        frame = self._ethernet(device) + build(source, destination)
        if self.chance(0.08):
            frame += self.rng.randbytes(self.rng.choice((1, 2, 6, 16, 18, 46, 300)))
        if self.chance(0.03):
            frame = frame[:self.rng.choice((14, 15, 33, 34, 35, 53, 54, 55, 58, max(14, len(frame) - 1)))]
        if self.chance(0.02):
            frame = frame[:12] + self._tag() + frame[12:]
        if self.chance(0.02):
            at = self.rng.randrange(12, min(len(frame), 80)) if len(frame) > 13 else 12
            frame = frame[:at] + bytes([frame[at] ^ 1 << self.rng.randrange(8)]) + frame[at + 1:]
        return device, frame

    def _noise(self, device):
        kind = self.rng.choice((b"\x08\0", b"\x86\xdd", self.rng.randbytes(2)))
        return f.mac_bytes(router_mac(device)) + f.mac_bytes(host_mac(device)) + kind + \
            self.rng.randbytes(self.rng.randrange(0, 200))

    def _tag(self):
        kind = self.rng.choice((0x8100, 0x8100, 0x88A8))
        return struct.pack("!HH", kind, self.rng.choice((0, 0x6000, 1, 100, 0xFFF)))

    def _ethernet(self, device):
        to = router_mac(device)
        if self.chance(0.04):
            to = self.rng.choice(("ff:ff:ff:ff:ff:ff", "01:00:5e:00:00:01", "33:33:00:00:00:01", host_mac(device),
                                  router_mac(self.rng.choice(DEVICES)), "02:00:00:00:00:00"))
        return f.mac_bytes(to) + f.mac_bytes(host_mac(device, self.rng.randint(2, 9)))

    def _source(self, device, version):
        if self.chance(0.03):
            return self.rng.choice(MARTIANS4 if version == 4 else MARTIANS6)
        if self.chance(0.02):
            return address(self.rng.choice(DEVICES), version)
        if self.chance(0.1 if version == 6 else 0.01):  # seldom the same: see below
            return address(device, version, self.rng.randint(2, 9))
        if self.chance(0.1):
            device = self.rng.choice(DEVICES)
        if self.chance(0.03):
            return str(self.net.address_in(self.rng.choice(list(self.net.routes[version]))))
        # From a wide range: the kernel limits its IPv4 errors about missing routes for each source (ip_error).
        if version == 4:
            return f"10.1{number(device)}.{self.rng.randrange(256)}.{self.rng.randrange(256)}"
        return f"2001:db8:1{number(device)}::{self.rng.randrange(1, 65536):x}"

    def _destination(self, device, version):
        what = self.rng.choices(("routed", "behind", "on-link", "absent", "own", "martian", "nowhere"),
                                (60, 15, 6, 1, 7, 5, 6))[0]
        if what == "routed":
            prefix = self.rng.choice(list(self.net.routes[version]))
            to = self.net.address_in(prefix)
            if self.chance(0.1):
                beside = int(prefix.network_address) + self.rng.choice((-1, prefix.num_addresses))
                to = type(to)(beside % 2 ** prefix.max_prefixlen)
            return str(to)
        if what == "own":
            if version == 6 and self.chance(0.2):
                return link_local(device)
            return address(self.rng.choice(DEVICES), version)
        if what == "martian":
            return self.rng.choice(MARTIANS4 if version == 4 else MARTIANS6)
        if what == "nowhere":
            return self.rng.choice(("9.9.9.9", "223.255.255.255", "1.0.0.0") if version == 4 else ("3fff::1", "2400::1"))
        other = self.rng.choice(DEVICES)
        if what == "behind":
            return behind(other, version, self.rng.randrange(1, 250))
        hosts = list(ABSENT) if what == "absent" else list(range(2, 10))
        return address(self.rng.choice(PORTS), version, self.rng.choice(hosts))

    def _size(self, header):
        """Bytes behind the IP header."""
        if self.chance(0.3):
            mtu = self.rng.choice([*self.net.mtu.values(), 3506])
            return max(0, mtu - header + self.rng.choice((-9, -8, -1, 0, 1, 2, 7, 8, 9)))
        return self.rng.choice((0, 1, 7, 8, 9, 18, 26, 40, 64, 100, 512, 1000, self.rng.randrange(3900)))

    def _mark(self):
        return b"#%08x " % self.index

    def _l4(self, version, source, destination, size):
        """(protocol, payload)"""
        kind = self.rng.choices(("udp", "tcp", "icmp", "nd", "other", "none"), (50, 12, 14, 4, 12, 3))[0]
        data = (self._mark() * (size // 10 + 1))[:size]
        if kind == "udp" and size >= 8:
            sport, dport = self.rng.choice((53, 179, 1024, 40000, self.rng.randrange(65536))), self.rng.choice((9, 53, 4500))
            return f.UDP, f.udp(source, destination, sport, dport, data[8:])
        if kind == "tcp" and size >= 24:
            return f.TCP, f.tcp_syn(source, destination, self.rng.choice((179, 22, 40000)), self.rng.choice((179, 22, 80)),
                                    self.index)
        if kind in ("icmp", "nd") and size >= 8:
            return self._icmp(version, source, destination, data)
        if kind == "none":
            return 59, b""
        return self.rng.choice((2, 4, 6, 17, 41, 47, 50, 51, 89, 103, 112, 132, 137, 253, 255)), data

    def _icmp(self, version, source, destination, data):
        kind = self.rng.choice(ICMP_TYPES[version])
        body = struct.pack("!BBHI", kind, self.rng.choice((0, 0, 0, 1, 4, 255)), 0, self.index) + data[8:]
        if self.chance(0.1):
            return (f.ICMP if version == 4 else f.ICMP6), body  # no checksum
        return (f.ICMP, f.icmp4(body)) if version == 4 else (f.ICMP6, f.icmp6(source, destination, body))

    def _ipv4(self, source, destination):
        options = self.rng.choice(OPTIONS4) if self.chance(0.06) else b""
        protocol, payload = self._l4(4, source, destination, self._size(20 + len(options)))
        flags = self.rng.choices((0x4000, 0, 0x2000, self.rng.randrange(1, 0x2000), 0x8000, self.rng.randrange(65536)),
                                 (50, 25, 6, 8, 1, 3))[0]
        packet = f.ipv4(source, destination, protocol, payload, ttl=self._ttl(), tos=self._class(), ident=self.index & 0xFFFF,
                        flags_offset=flags, options=options + bytes(-len(options) % 4))
        if self.chance(0.07):
            packet = self._spoil4(packet)
        return b"\x08\0" + packet

    def _spoil4(self, packet):
        what = self.rng.randrange(4)
        out = bytearray(packet)
        if what == 0:  # total length
            total = len(packet)
            out[2:4] = struct.pack("!H", self.rng.choice((0, 19, 20, 21, total - 1, total + 1, total + 4, 65535)) & 0xFFFF)
        elif what == 1:
            out[0] = self.rng.choice((0x40, 0x44, 0x46, 0x4F, 0x55, 0x65, 0x05, 0x35, 0xF5))
        elif what == 2:  # a checksum that is wrong, or right in its other form
            out[10:12] = self.rng.choice((b"\0\0", b"\xff\xff", self.rng.randbytes(2)))
            return bytes(out)
        else:
            out[self.rng.randrange(20)] ^= 1 << self.rng.randrange(8)
            return bytes(out)
        out[10:12] = b"\0\0"
        out[10:12] = struct.pack("!H", f.checksum(bytes(out[:max(20, 4 * (out[0] & 15))])))
        return bytes(out)

    def _ttl(self):
        return self.rng.choices((64, 255, 128, 2, 1, 0), (60, 10, 5, 8, 8, 4))[0]

    def _class(self):
        return self.rng.choice((0, 0, 0, 0x10, 0x03, 0xB8, 0xFF, self.rng.randrange(256)))

    def _ipv6(self, source, destination):
        following, payload = self._l4(6, source, destination, self._size(40))
        while self.chance(0.12):
            following, payload = self._extension(following, payload)
        packet = f.ipv6(source, destination, following, payload, hops=self._ttl(), traffic_class=self._class(),
                        flow=self.index & 0xFFFFF)
        if self.chance(0.06):
            out = bytearray(packet)
            if self.chance(0.6):
                n = len(payload)
                out[4:6] = struct.pack("!H", self.rng.choice((0, 1, n - 1, n + 1, n + 8, 65535)) & 0xFFFF)
            else:
                out[0] = self.rng.choice((0x00, 0x40, 0x50, 0x70, 0xF0))
            packet = bytes(out)
        return b"\x86\xdd" + packet

    def _extension(self, following, payload):
        kind = self.rng.choice(EXTENSIONS)
        if kind == 44:
            offset = self.rng.choice((0, 1, 8, 9, 0xFFF8, self.rng.randrange(65536)))
            return 44, struct.pack("!BBHI", following, 0, offset, self.index) + payload
        if kind == 51:
            return 51, bytes([following, 4]) + bytes(22) + payload
        if kind == 43:
            routing = self.rng.choice((0, 2, 3, 4, 253))
            return 43, struct.pack("!BBBBI", following, 2, routing, self.rng.choice((0, 1, 1, 255)), 0) + \
                ipaddress.ip_address(behind("p2", 6)).packed + payload
        option = self.rng.choice((b"\1\4\0\0\0\0", b"\5\2\0\0\1\0", b"\x3e\4\0\0\0\0", b"\x7e\4\0\0\0\0", b"\xbe\4\0\0\0\0",
                                  b"\xfe\4\0\0\0\0", b"\xc2\4\0\1\0\0", b"\1\xff\0\0\0\0", bytes(6)))
        length = self.rng.choice((0, 0, 0, 0, 1, 255)) if self.chance(0.2) else 0
        return kind, bytes([following, length]) + option + payload
