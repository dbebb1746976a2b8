# SPDX-License-Identifier: BSD-3-Clause
"""Ethernet, IPv4, IPv6, UDP, TCP and ICMP frames: built, forwarded on paper, captured, compared."""

import ipaddress
import select
import socket
import struct
import time

ETH_P_ALL = 3
ETH_IP, ETH_IP6 = 0x0800, 0x86DD
ICMP, TCP, UDP, GRE, ICMP6 = 1, 6, 17, 47, 58
# Of linux/if_packet.h and asm-generic/socket.h; Python has no names for these.
SO_RCVBUFFORCE, SOL_PACKET, PACKET_AUXDATA, PACKET_IGNORE_OUTGOING = 33, 263, 8, 23
TP_STATUS_VLAN_VALID = 0x10
_AUXDATA = struct.Struct("I12xHH")  # struct tpacket_auxdata: status, three skipped, VLAN tag and its protocol


def mac_bytes(text):
    return bytes.fromhex(text.replace(":", ""))


def checksum(data):
    """RFC 1071, computed in full: the worker updates incrementally, so this is another way to the result."""
    if len(data) % 2:
        data += b"\0"
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def ethernet(dst, src, ethertype, payload):
    return mac_bytes(dst) + mac_bytes(src) + struct.pack("!H", ethertype) + payload


def ipv4(src, dst, protocol, payload, ttl=64, tos=0, ident=0x1234, flags_offset=0x4000, options=b""):
    words = 5 + len(options) // 4
    head = struct.pack("!BBHHHBBH4s4s", 0x40 | words, tos, 4 * words + len(payload), ident, flags_offset, ttl,
                       protocol, 0, ipaddress.IPv4Address(src).packed, ipaddress.IPv4Address(dst).packed)
    head += options
    return head[:10] + struct.pack("!H", checksum(head)) + head[12:] + payload


def ipv6(src, dst, next_header, payload, hops=64, traffic_class=0, flow=0):
    first = 6 << 28 | traffic_class << 20 | flow
    return struct.pack("!IHBB", first, len(payload), next_header, hops) + \
        ipaddress.IPv6Address(src).packed + ipaddress.IPv6Address(dst).packed + payload


def _pseudo(src, dst, protocol, length):
    a, b = ipaddress.ip_address(src), ipaddress.ip_address(dst)
    if a.version == 4:
        return a.packed + b.packed + struct.pack("!BBH", 0, protocol, length)
    return a.packed + b.packed + struct.pack("!IHBB", length, 0, 0, protocol)


def udp(src, dst, sport, dport, data):
    head = struct.pack("!HHHH", sport, dport, 8 + len(data), 0)
    value = checksum(_pseudo(src, dst, UDP, 8 + len(data)) + head + data) or 0xFFFF
    return head[:6] + struct.pack("!H", value) + data


def tcp_syn(src, dst, sport, dport, seq=1):
    head = struct.pack("!HHIIBBHHH", sport, dport, seq, 0, 0x60, 0x02, 65535, 0, 0) + b"\x02\x04\x05\xb4"
    value = checksum(_pseudo(src, dst, TCP, len(head)) + head)
    return head[:16] + struct.pack("!H", value) + head[18:]


def echo(src, dst, ident, seq, data=b"millrace"):
    if ipaddress.ip_address(src).version == 4:
        return icmp4(struct.pack("!BBHHH", 8, 0, 0, ident, seq) + data)
    return icmp6(src, dst, struct.pack("!BBHHH", 128, 0, 0, ident, seq) + data)


def icmp6(src, dst, body):
    """An ICMPv6 message with its checksum, which is zero in body."""
    return body[:2] + struct.pack("!H", checksum(_pseudo(src, dst, ICMP6, len(body)) + body)) + body[4:]


def icmp4(body):
    """An ICMP message with its checksum, which is zero in body."""
    return body[:2] + struct.pack("!H", checksum(body)) + body[4:]


def announcement(mac, address):
    """What a host says unasked when its MAC address is new: gratuitous ARP, or a neighbour advertisement."""
    own = ipaddress.ip_address(address).packed
    if len(own) == 4:
        body = struct.pack("!HHBBH", 1, ETH_IP, 6, 4, 1) + mac_bytes(mac) + own + bytes(6) + own
        return ethernet("ff:ff:ff:ff:ff:ff", mac, 0x0806, body)
    override, target_mac = 0x20000000, bytes([2, 1]) + mac_bytes(mac)
    body = icmp6(address, "ff02::1", struct.pack("!BBHI", 136, 0, 0, override) + own + target_mac)
    return ethernet("33:33:00:00:00:01", mac, ETH_IP6, ipv6(address, "ff02::1", ICMP6, body, hops=255))


def packet(src, dst, protocol, payload, **fields):
    """(ethertype, IP packet) of the family that the addresses are of."""
    if ipaddress.ip_address(src).version == 4:
        return ETH_IP, ipv4(src, dst, protocol, payload, **fields)
    return ETH_IP6, ipv6(src, dst, protocol, payload, **fields)


def forwarded(frame, dst_mac, src_mac):
    """The frame as a router must send it on: MACs replaced, TTL one less, checksum right; the rest alike."""
    kind = struct.unpack("!H", frame[12:14])[0]
    out = bytearray(mac_bytes(dst_mac) + mac_bytes(src_mac) + frame[12:])
    if kind == ETH_IP:
        size = (out[14] & 15) * 4
        out[22] -= 1
        out[24:26] = b"\0\0"
        out[24:26] = struct.pack("!H", checksum(bytes(out[14:14 + size])))
    else:
        out[21] -= 1
    return bytes(out)


def ip_length(frame):
    """Bytes of the frame up to the end of its IP packet: what follows is padding."""
    if struct.unpack("!H", frame[12:14])[0] == ETH_IP:
        return 14 + struct.unpack("!H", frame[16:18])[0]
    return 14 + 40 + struct.unpack("!H", frame[18:20])[0]


_FIELDS = [(0, 6, "destination MAC"), (6, 12, "source MAC"), (12, 14, "ethertype")]
_FIELDS4 = [(14, 15, "version and IHL"), (15, 16, "DSCP and ECN"), (16, 18, "total length"),
            (18, 20, "identification"), (20, 22, "flags and offset"), (22, 23, "TTL"), (23, 24, "protocol"),
            (24, 26, "header checksum"), (26, 30, "source"), (30, 34, "destination")]
_FIELDS6 = [(14, 18, "version, class, flow label"), (18, 20, "payload length"), (20, 21, "next header"),
            (21, 22, "hop limit"), (22, 38, "source"), (38, 54, "destination")]


def difference(expected, seen):
    """Says in words where two frames differ; '' when they are the same to the byte."""
    if expected == seen:
        return ""
    fields = _FIELDS + (_FIELDS4 if expected[12:14] == b"\x08\x00" else _FIELDS6)
    said = [f"{name} {seen[a:b].hex()} instead of {expected[a:b].hex()}"
            for a, b, name in fields if expected[a:b] != seen[a:b]]
    head = fields[-1][1]
    if expected[head:] != seen[head:]:
        at = next((i for i in range(head, min(len(expected), len(seen))) if expected[i] != seen[i]), None)
        if at is not None:
            said.append(f"payload from byte {at} on")
    if len(expected) != len(seen):
        said.append(f"{len(seen)} bytes instead of {len(expected)}")
    return ", ".join(said)


class PacketSocket:
    """What a Capture and a Sender share: an AF_PACKET socket on one device, and its end."""

    def __init__(self, netns, device, protocol):
        # Protocol 0 until it is bound: it would receive from all devices.
        self.socket = netns.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
        try:
            self._set_up()
            self.socket.bind((device, protocol))
        except OSError:
            self.socket.close()
            raise

    def _set_up(self):
        pass

    def close(self):
        self.socket.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


class Capture(PacketSocket):
    """All frames that arrive on a device (not those that it sends), from the moment this is made."""

    def __init__(self, netns, device):
        super().__init__(netns, device, ETH_P_ALL)

    def _set_up(self):
        self.socket.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 32 << 20)
        self.socket.setsockopt(SOL_PACKET, PACKET_IGNORE_OUTGOING, 1)
        self.socket.setsockopt(SOL_PACKET, PACKET_AUXDATA, 1)
        self.socket.setblocking(False)

    def read(self):
        """The next frame that waits, as it was on the wire, or None."""
        try:
            data, extra, _, _ = self.socket.recvmsg(65536, 64)
        except BlockingIOError:
            return None
        if extra and extra[0][:2] == (SOL_PACKET, PACKET_AUXDATA):
            status, tag, protocol = _AUXDATA.unpack(extra[0][2][:_AUXDATA.size])
            if status & TP_STATUS_VLAN_VALID:  # the kernel took the tag out of the frame
                data = data[:12] + struct.pack("!HH", protocol or 0x8100, tag) + data[12:]
        return data

    def frames(self, seconds):
        """Yields frames until the time is over."""
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            if not select.select([self.socket], [], [], left)[0]:
                return
            frame = self.read()
            if frame is not None:
                yield frame

    def first(self, matches, seconds=2.0):
        """The first frame for which matches(frame) holds, or None."""
        return next((f for f in self.frames(seconds) if matches(f)), None)


class Sender(PacketSocket):
    """Puts whole frames on the wire at a device."""

    def __init__(self, netns, device):
        super().__init__(netns, device, 0)

    def send(self, frame):
        self.socket.send(frame)
