# SPDX-License-Identifier: BSD-3-Clause
"""A full BGP table as the Internet's looks: its sizes, its mix of prefix lengths, its clusters; the same for a seed."""

import random
import socket

FULL4, FULL6 = 1_200_000, 300_000
NEXTHOPS = 2048
SEED = 4

# Per cent of the prefixes of each length, as of a table of 2026; what is not listed does not occur.
MIX4 = {24: 62, 23: 11, 22: 11, 21: 5.6, 20: 4.4, 19: 2.4, 18: 1.2, 17: 0.6, 16: 0.7, 15: 0.15, 14: 0.09, 13: 0.04,
        12: 0.02, 11: 0.0008, 10: 0.0004, 9: 0.0002, 8: 0.0001, 32: 0.8}
MIX6 = {48: 50, 32: 13, 44: 10, 40: 9, 46: 5, 36: 3.5, 47: 2.2, 45: 1.5, 42: 1.2, 29: 1.1, 33: 0.8, 43: 0.5, 38: 0.5,
        34: 0.4, 35: 0.3, 41: 0.3, 30: 0.1, 31: 0.1, 64: 0.5}
# First octets with nothing special in them (RFC 6890), and none that a lab uses.
OCTETS = [n for n in range(1, 224) if n not in (10, 100, 127, 169, 172, 192, 198, 203)]
# What the registries give out, /12 by /12: not 2001::/16 (RFC 6890, documentation) nor 2002::/16.
BLOCKS6 = [0x240, 0x260, 0x280, 0x2A0, 0x2C0]


class Table:
    """Routes as (family, address as a number, length, next hop from 0 on), in an order that tells nothing."""

    def __init__(self, scale=1.0, seed=SEED, nexthops=NEXTHOPS):
        self.random = random.Random(seed)
        self.nexthops = nexthops
        self.routes = (self._family(4, 32, int(FULL4 * scale), MIX4, self._allocations4(scale)) +
                       self._family(6, 128, int(FULL6 * scale), MIX6, self._allocations6(scale)))
        self.random.shuffle(self.routes)

    def _allocations4(self, scale):
        """(address, length): what registries gave to somebody, who announces parts of it."""
        pick = self.random
        return [(pick.choice(OCTETS) << 24 | pick.getrandbits(24), pick.choice((14, 15, 16, 16, 17, 18, 19, 20)))
                for _ in range(max(300, int(30_000 * scale)))]

    def _allocations6(self, scale):
        pick = self.random
        return [(pick.choice(BLOCKS6) << 116 | pick.getrandbits(116), pick.choice((29, 29, 32, 32, 32)))
                for _ in range(max(200, int(50_000 * scale)))]

    def _family(self, family, bits, count, mix, allocations):
        pick, seen = self.random, {}
        for length, share in mix.items():
            wanted = len(seen) + int(count * share / 100)
            step, tries = 1 << (bits - length), 0
            while len(seen) < wanted and tries < 20 * wanted + 1000:
                base, given = pick.choice(allocations)
                # A run of neighbours by one next hop, from anywhere in the allocation.
                below = max(0, length - given)
                run = min(1 << below, pick.choice((1, 1, 1, 2, 4, 8, 16)))
                start = (base >> (bits - given) << (bits - given)) + (pick.getrandbits(below) // run * run * step
                                                                      if below else 0)
                start = start >> (bits - length) << (bits - length)
                nexthop = pick.randrange(self.nexthops)
                for n in range(min(run, wanted - len(seen))):
                    tries += 1
                    seen.setdefault((start + n * step, length), nexthop)
        return [(family, address, length, nexthop) for (address, length), nexthop in seen.items()]


def address_text(family, address):
    if family == 4:
        return f"{address >> 24}.{address >> 16 & 255}.{address >> 8 & 255}.{address & 255}"
    return socket.inet_ntop(socket.AF_INET6, address.to_bytes(16, "big"))


def prefix_text(family, address, length):
    return f"{address_text(family, address)}/{length}"
