# SPDX-License-Identifier: BSD-3-Clause
"""Random changes in both routers, and after each of them frames to all that may have changed, compared whole.

millrace may lag behind its kernel for LAG seconds, no longer; its audit is off, so that nothing else puts it right. The two
kernels are not told at the same moment: where their tables differ, LAG counts from when they are equal again.

A port that has gone and comes home makes millraced start again. Until all ports are served again, and count what they
forward, frames are sent without a pause; what leaves is the kernel's at each look, and nothing is lost.

Not compared: IPv4 errors by the routing table, which the kernel limits by time; which member of a multipath route a flow
takes, as long as it is one that the kernel may use.
"""

import ipaddress
import random
import re
import time

from .. import frames as f
from ..cases import Cases, expect, new_seed
from ..ip_batch import IpBatch
from ..kernel_routes import KernelRoutes
from ..netns import wait_until
from .changes_life import Life
from .changes_net import (CHANGING, CONNECTED, PREFIXES, SOURCES, Advert, ChangesNet, mac_of, neighbours,
                          router_link_local)
from .changes_ports import GONE, KNOWN_AS, Move, Mover, other_link_local
from .exchange import Difference, Exchange, Lost, onward, transit
from .twins import DEVICES, KERNEL, MILLRACE, PORTS, Twins, address, link_local, number, router_mac
from .wire import LINKS

STEPS = 1500
STEPS_A_CHUNK = 100
LAG = 0.3
HOME = 30.0  # s, until a port that is home is served, where others hold RTNL; netns.comeback is strict
LATE = 1.0  # s, for a frame that is not lost
RTNL = 60  # s, that others of the machine may hold it
MEANWHILE = 0.2  # s, between two changes while a port comes home
MOST_DIFFERENCES = 5
SYSCTLS = {f"net__ipv6__conf__{{}}__{key}": value for key, value in
           (("accept_ra", 2), ("autoconf", 0), ("accept_ra_rt_info_max_plen", 128))}


class KernelsDiffer(Exception):
    """The two kernels have not made the same of the same changes: nothing to compare with."""


class ChangesRun:
    def __init__(self, twins, seed):
        self.twins, self.seed = twins, seed
        self.exchange = Exchange(twins, self._member_of, redirects=False, left_out=not_compared,
                                 mac_of=lambda device: self.net.mac(device))
        self.batches = {name: IpBatch(twin.netns) for name, twin in twins.twins.items()}
        self.tables = {name: KernelRoutes(twin.netns) for name, twin in twins.twins.items()}
        for owned in (*self.batches.values(), *self.tables.values()):
            twins.on_close(owned.close)
        self.life = Life(twins.router)
        self.net = None
        self.done = []          # of this chunk
        self.kernels_apart = 0  # chunks that ended so
        self.steps = self.refused = self.late = self.kernels_late = self.left = 0
        self.longest_lag = self.longest_way_home = 0.0
        self.homecomings = self.looks = 0
        self.differences = []
        self._markers = self._serial = 0
        self._members = []
        self._seen = None        # the kernel's routes at the last look
        self._seen_at = 0.0      # when they became these by themselves
        twins.set_sysctls(**{name.format(port): value for port in CHANGING for name, value in SYSCTLS.items()})
        twins.batch(*neighbours("u0"))
        self._mover = Mover(twins, SYSCTLS)
        self._look_for_devices()
        # All that the routers ever have, so that it need not be asked for.
        twins._own = {ipaddress.ip_address(a).packed for d in DEVICES
                      for a in (address(d, 4), address(d, 6), link_local(d), other_link_local(d))}

    def run(self, steps, first=0):
        """So many steps, beginning with a chunk; until too many differences."""
        chunk, end = first, self.steps + steps
        while self.steps < end and len(self.differences) < MOST_DIFFERENCES:
            self.net = ChangesNet(random.Random(f"{self.seed} changes {chunk}"))
            self.done = []
            self.life.fresh()
            self._apply(self.net.begin())
            self._wait_for_links()
            self._forget_routes()
            for _ in range(min(STEPS_A_CHUNK, end - self.steps)):
                self.steps += 1
                if not self._step(chunk, self.net.change):
                    break
            if self.net.off:
                self._step(chunk, self.net.all_home)
            self.life.add_forwarded()
            chunk += 1
            if steps > 10 * STEPS and chunk % 10 == 0:
                print(f"{self.steps} steps", flush=True)

    def _forget_routes(self):
        for name in self.batches:
            for version in (4, 6):
                def gone(name=name, version=version):
                    left = self.net.forget(self.tables[name].read(version))
                    self.batches[name].run(left)
                    return not left
                wait_until(gone, "no random route is left", RTNL, 0.0)

    def _step(self, chunk, change_of):
        self.life.add_forwarded()
        up = set(self.net.ready())
        change = change_of()
        meanwhile = [self.net.routes() for _ in range(self.net.rng.randint(0, 3))] if _is_move(change) else []
        self.done.append(_text(change))
        began = time.monotonic()
        try:
            self._apply(change, wait=not _is_move(change))
            if _is_move(change):
                began = time.monotonic()
            is_up = set(self.net.ready()) - up
            if is_up or any("down" in str(c) for c in change):
                self._wait_for_links()
            self._compare(began)
            if is_up or any(isinstance(c, Move) for c in change):
                self._home(meanwhile)
        except (Difference, TimeoutError) as difference:
            print(f"a difference: step {len(self.done) - 1} of chunk {chunk}", flush=True)  # whatever becomes of the run
            self.differences.append(self._explain(difference, chunk))
            return False
        except KernelsDiffer:
            self.kernels_apart += 1
            return False
        return True

    def _home(self, meanwhile):
        """Until all ports that are there are served again, and forward. meanwhile: changes, one now and then."""
        began = last = time.monotonic()
        self.homecomings += 1
        restarts = self.life.restarts
        there = [p for p in PORTS if p not in self.net.off and p not in self.net.down]
        with self.life.served(there) as served:
            while True:
                before = self.life.forwarded() if served() else None
                self._compare(time.monotonic(), still=True)
                self.looks += 1
                if before and self._counted(there, before, self.life.forwarded()):
                    break
                if time.monotonic() > began + HOME + self.life.may_wait():
                    raise Difference(f"not served {HOME:g} s after all was done: {self.life.ports()}, {before} forwarded "
                                     f"before the last look, {self.life.forwarded()} now\n{self.twins.router.log_end(12)}")
                if meanwhile and time.monotonic() > last + MEANWHILE:
                    self.done[-1] += "; meanwhile " + _text(meanwhile[0])
                    self._apply(meanwhile.pop(0), wait=False)
                    self._compare(time.monotonic())
                    last = time.monotonic()
        if self.life.restarts > restarts:
            self.longest_way_home = max(self.longest_way_home, time.monotonic() - began)
        for change in meanwhile:  # what follows is the same, however long it took
            self.done[-1] += "; then " + _text(change)
            self._apply(change)
            self._compare(time.monotonic())

    def _counted(self, there, before, now):
        """Has each fence between two of these ports been counted as forwarded?"""
        fences = self._fences()
        return now and all(now[p] > before[p] for p in there if p in fences and onward(p, fences) in there
                           and onward(p, fences) != p)

    def _look_for_devices(self):
        for table in self.tables.values():
            table.look_for_devices(KNOWN_AS)

    def _apply(self, change, wait=True):
        """Does it in both routers, and waits until millrace has read what its kernel said."""
        lines = []
        for each in change:
            if isinstance(each, str):
                lines.append(each)
                continue
            self._batch(lines)
            lines = []
            if isinstance(each, Advert):
                self._advertise(each)
            else:
                self._mover(each)
                for batch in self.batches.values():
                    batch.renew()
        self._markers += 1
        new, old = (f"198.51.{100 + n % 2}.{n // 2 % 250 + 1}/32" for n in (self._markers, self._markers - 1))
        self._batch([*lines, f"route add blackhole {new}", f"route del blackhole {old}"])
        if _is_move(change):
            for batch in self.batches.values():
                batch.renew()
            self._look_for_devices()
        if wait:
            wait_until(lambda: self.life.ask("routes", prefix=new), f"millrace shows the marker route {new}", RTNL, 0.001)

    def _advertise(self, advert):
        """A frame waits in the device, while a command does not: so until what is behind it has been answered."""
        self._serial += 1
        link, source, to = LINKS[number(advert.device)], router_link_local(advert.router), link_local(advert.device)
        ping = f.ethernet(router_mac(advert.device), advert.mac(), f.ETH_IP6,
                          f.ipv6(source, to, f.ICMP6, f.echo(source, to, 1, self._serial & 0xffff)))
        waiting = list(self.twins.twins.values())
        for twin in waiting:
            twin.wire.send(link, advert.frame())

        def answered(twin):
            return any(frame[54:55] == b"\x81" and frame[60:62] == ping[60:62] for _, frame in twin.wire.read(0.02))

        def all_answered():
            for twin in waiting:
                twin.wire.send(link, ping)
            waiting[:] = [twin for twin in waiting if not answered(twin)]
            return not waiting
        wait_until(all_answered, f"the routers answer a ping from {source} on {link}", RTNL, 0)

    def _batch(self, lines):
        if lines:
            for batch in self.batches.values():
                batch.begin(lines)
            failed = {name: batch.end() for name, batch in self.batches.items()}
            self.refused += len([1 for line, _ in failed[KERNEL] if "198.51" not in line])

    def _wait_for_links(self):
        """A link that was set up has its carrier, and its link-local address, a moment later."""
        wanted = {device for device in CHANGING if device not in self.net.down
                  and (device not in self.net.off or self.net.off[device].how not in GONE)}

        def there(twin):
            up = twin.netns.ip_json("-6", "addr", "show", "up", "scope", "link")
            return wanted <= {KNOWN_AS.get(link["ifname"], link["ifname"]) for link in up
                              if "LOWER_UP" in link["flags"] and link["addr_info"]}
        for twin in self.twins.twins.values():
            wait_until(lambda t=twin: there(t), "the links are up", RTNL, 0.01)

    def _compare(self, began, still=False):
        """still: nothing was done, so all must be equal at the first look and nothing be lost, but where the kernels change
        their routes by themselves."""
        tries, kernels_differ = 0, False
        while True:
            frames = self._frames()
            sent = time.monotonic()  # on a busy machine a look may take longer than LAG
            strict = still and sent > self._seen_at + LAG
            try:
                tries += 1
                trial = self.exchange.compare(frames, 0.03, self._fences(), lose_none=still)
                self.left += len(trial.left[KERNEL])
                break
            except Lost:
                raise
            except Difference as difference:
                self._members = self._multipath()
                if self._kernels_differ(difference):
                    # They are two machines in time: a lifetime's end, a link's carrier, the garbage collector.
                    if time.monotonic() > began + 5:
                        raise KernelsDiffer from None
                    kernels_differ, settled = True, time.monotonic()
                elif strict and sent > self._seen_at + LAG:
                    difference.trial.wait_equal(LATE, 0.0, None)
                    break
                elif sent > max(settled if kernels_differ else began, self._seen_at) + LAG + 0.05 * kernels_differ:
                    raise
                for twin in self.twins.twins.values():
                    twin.wire.read(0)
        if not still:
            self._seen_at = 0.0
        if tries > 1:
            self.kernels_late += kernels_differ
            self.late += not kernels_differ
            self.longest_lag = max(self.longest_lag, 0 if kernels_differ else time.monotonic() - began)

    def _fences(self):
        return [d for d in DEVICES if d in self.net.ready()]

    def _frames(self):
        """To every prefix, from several sources."""
        self._serial += 1
        data = b"step" + self._serial.to_bytes(4, "big")
        self._members = self._multipath()
        return [("p0", transit(version, source=source, destination=to, payload=f.udp(source, to, 40000, 9, data)))
                for version, net in PREFIXES.items() for to in (*net.values(), *CONNECTED[version].values())
                for source in SOURCES[version]]

    def _multipath(self):
        """Members of the multipath routes that the kernel may use: [(network, {(link, MAC)})], the longest first."""
        found, tables = [], {version: self.tables[KERNEL].read(version) for version in (4, 6)}
        using = [_using(table) for table in tables.values()]
        if using != self._seen:
            self._seen, self._seen_at = using, time.monotonic()
        for version, table in tables.items():
            seen = set()
            for route in table:
                key = route.prefix, route.source
                alive = [path for path in route.paths if not path.dead]
                if key in seen or route.expires < 0 and len(alive) < 2:
                    continue
                if route.expires >= 0:  # it is the first path's, and the kernel goes on to use all if another has not ended
                    seen.add(key)
                if len(alive) > 1:
                    found.append((route.prefix, {(LINKS[number(p.device)], f.mac_bytes(mac_of(p.device, p.gateway)))
                                                 for p in alive if p.device in DEVICES}))
        return sorted(found, key=lambda one: -one[0].prefixlen)

    def _member_of(self, link, frame):
        version = {b"\x08\x00": 4, b"\x86\xdd": 6}.get(frame[12:14])
        if version is None or len(frame) < (34 if version == 4 else 54):
            return None
        to = ipaddress.ip_address(frame[30:34] if version == 4 else frame[38:54])
        for network, members in self._members:
            if to in network and (link, frame[:6]) in members:
                return str(network)
        return None

    def _kernels_differ(self, difference):
        """Have they other routes, or do they make something else of the same ones? (Each has a hash of its own.)"""
        tables = [[_using(table.read(v)) for v in (4, 6)] for table in self.tables.values()]
        flows = {flow for flow in (_addresses(frame) for _, frame, _ in difference.frames[:4])
                 if not any(ipaddress.ip_address(flow[1]) in network for network, _ in self._members)}
        return tables[0] != tables[1] or any(self._decided(KERNEL, *f) != self._decided(MILLRACE, *f) for f in flows)

    def _decided(self, name, source, to):
        """By the kernel, of a packet that comes in at p0."""
        said = self.twins.twins[name].netns.ip("-o", "route", "get", to, "from", source, "iif", "p0", check=False)
        text = re.sub(r" expires \d+sec| cache", "", said.stdout)
        return [KNOWN_AS.get(word, word) for word in text.split()] or said.stderr

    def _explain(self, difference, chunk):
        rows = self.life.ask("routes") or []
        shown = [f"  millrace: {row}" for row in rows for net in PREFIXES.values() if row["prefix"] in net]
        shown += [f"  millrace: {row}" for what in ("ports", "counters") for row in self.life.ask(what) or []
                  if row.get("packets") != 0]
        shown += [f"  log: {line}" for line in self.twins.router.log_end(40).splitlines()]
        kernel = [f"  {name}'s kernel: {route}" for name in self.tables for v in (4, 6)
                  for route in self.tables[name].read(v) if str(route.prefix) in PREFIXES[v]]
        done = "\n".join(f"  {i}: {text}" for i, text in enumerate(self.done))
        said = str(difference).splitlines()
        return (f"after step {len(self.done) - 1} of chunk {chunk}:\n{done}\n" + "\n".join(said[:60] + kernel + shown) +
                f"\nrepeat with: tests/conformance --changes {STEPS_A_CHUNK} --seed {self.seed} --first {chunk}")


def _addresses(frame):
    """Source and destination; of the packet that an ICMP error quotes."""
    version = 4 if frame[12:14] == b"\x08\x00" else 6
    packet = frame[14:]
    if version == 4 and packet[9:10] == b"\1" and packet[20:21] in (b"\3", b"\5", b"\x0b"):
        packet = packet[28:]
    elif version == 6 and packet[6:7] == b"\x3a" and packet[40] < 128:
        packet = packet[48:]
    at = (12, 4) if version == 4 else (8, 16)
    return tuple(str(ipaddress.ip_address(packet[i:i + at[1]])) for i in (at[0], at[0] + at[1]))


def _using(table):
    """The routes, and whether their lifetime is over: the kernel shows them a while longer."""
    return [(route, route.expires < 0) for route in table]


def _is_move(change):
    return any(isinstance(each, Move) or " name " in str(each) for each in change)


def _text(change):
    return "; ".join(str(c) for c in change if not str(c).startswith(("neigh", "route replace 198.18")))


def not_compared(frame):
    """Unreachable by the routing table, which IPv4 limits for each source, by time (ip_error in net/ipv4/route.c); and what
    the router says to the pings of _advertise."""
    if frame[12:14] == b"\x86\xdd":
        return frame[22:24] == b"\xfe\x80"
    return frame[12:14] == b"\x08\x00" and frame[23:24] == b"\1" and frame[34:35] == b"\3"


def run(build, steps=STEPS, seed=None, generic=False, first=0):
    """Returns the exit code."""
    seed = new_seed() if seed is None else seed
    cases = Cases("netns.random_changes")
    with Twins(build, generic) as twins:
        twins.start(extra="[audit]\ncpu_percent = 0\n")
        trial = ChangesRun(twins, seed)
        begin = time.monotonic()
        with cases.case(f"{steps} random changes, seed {seed}: within {LAG:g} s of each, what leaves is the kernel's"):
            trial.run(steps, first)
            if trial.differences:
                raise AssertionError(f"{len(trial.differences)} differences in {trial.steps} steps\n" +
                                     "\n\n".join(trial.differences))
            # Two routers that do nothing would agree as well.
            expect(trial.left > 8 * steps and trial.life.forwarded_before > 4 * steps,
                   f"{steps} steps, and only {trial.left} frames left, {trial.life.forwarded_before} by the fast path")
            expect(trial.kernels_apart <= 3 + steps / 1000, f"the two kernels did not do the same {trial.kernels_apart} times")
            expect(trial.refused < 0.6 * steps, f"the kernel refused {trial.refused} commands in {steps} steps")
            expect(trial.life.restarts >= steps // 300, f"the daemon started again {trial.life.restarts} times")
        seconds = time.monotonic() - begin
        print(f"{trial.steps} steps in {seconds:.1f} s ({trial.steps / seconds:.0f} a second), {trial.left} frames left each "
              f"router, {trial.life.forwarded_before} by the fast path; {trial.refused} commands refused by both kernels;\n"
              f"  equal at the second look or later {trial.late} times (at most {trial.longest_lag * 1000:.0f} ms), "
              f"{trial.kernels_late} times with kernels that differed for a moment, "
              f"{trial.kernels_apart} times for good\n"
              f"  ports came home {trial.homecomings} times, with {trial.life.restarts} restarts; equal at {trial.looks} looks "
              f"meanwhile; served again after {trial.longest_way_home:.2f} s at the latest")
    return cases.finish()
