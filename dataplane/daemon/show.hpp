// SPDX-License-Identifier: BSD-3-Clause
// What the daemon itself can tell the operator. Control thread; what is given outlives the openers.
#pragma once

#include <functional>
#include <vector>

#include "dataplane/daemon/few_rows.hpp"
#include "dataplane/daemon/port_states.hpp"
#include "dataplane/daemon/steering.hpp"
#include "dataplane/forward/worker_set.hpp"
#include "dataplane/port/af_xdp_port.hpp"
#include "dataplane/punt/punter.hpp"
#include "millrace/rows.hpp"

namespace millrace::dataplane {

// The running parts that have something to show.
struct Running {
    const std::vector<AfXdpPort>& ports;
    const Tables& tables;
    const WorkerSet& workers;
    const Punter& punter;
    const Steering& steering;
    const PortStates& states;
};

// {"port","state","reason","ifindex","mac","mtu","usable","queues","xdp_mode","xsk_mode","rx_packets","rx_bytes","tx_packets",
//  "tx_bytes","punted_packets","xsk_rx_dropped","xsk_rx_ring_full","xsk_fill_ring_empty","xsk_tx_invalid"}
// state: "served", or "kernel" where the port is left to it; reason says why. null: what the port does not
// have.
RowOpener show_ports(Running running);
// The first three of these.
Row port_state(const Running& running, PortId id);
// By ingress port, every reason: {"port","reason","packets","text"}
RowOpener show_counters(Running running);
// {"worker","core","thread","started_ms","running_us","busy_us","asleep_us","loops","sleeps","bursts","rx_packets","rx_bytes",
//  "tx_packets","tx_bytes","tx_dropped"}
// thread: its id; 0: it has not begun. started_ms: CLOCK_MONOTONIC. busy_us: of rounds that had packets.
RowOpener show_workers(Running running);
// First what the kernel keeps, and why:
//   {"kind":"kept","port","what","family","prefix","prefixes","cause","text"}
//   port: null = all. what: "all", "IPv4", "IPv6", a prefix, "egress" (what leaves over the port), "routes",
//   "protocol 50", "udp/500".
//   prefixes: how many, for "routes"; else null.
// Then the firewall's hooks, in the order that packets meet them, also those of the router's own traffic:
//   {"kind":"hook","port","family","hook","priority","function","table","chain","rules","follows","text"}
//   port: of netdev and tc hooks; family: of the others. follows: "nothing", "kept", "ingress kept",
//   "egress kept", "ignored". table ("inet filter"), chain, rules: of nftables.
// Then, by port, every reason of its classifier:
//   {"kind":"verdict","port","reason","packets","bytes","text"}
RowOpener show_steering(Running running, std::function<std::vector<KeptRoutes>()> kept_routes);

// What all workers took in from a port, and sent over it; see PortCounters. Any thread.
struct PortTotals {
    uint64_t rx_packets = 0;
    uint64_t rx_bytes = 0;
    uint64_t tx_packets = 0;
    uint64_t tx_bytes = 0;
    uint64_t tx_dropped = 0;
};
PortTotals port_totals(const Running& running, PortId id);

// Packets of an ingress port under a reason, of workers and punter together. Any thread.
uint64_t packets(const Running& running, PortId port, Reason reason);

}  // namespace millrace::dataplane
