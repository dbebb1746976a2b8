// SPDX-License-Identifier: BSD-3-Clause
#include <algorithm>
#include <array>
#include <cstddef>
#include <ctime>
#include <map>
#include <string>

#include "dataplane/daemon/metric_values.hpp"
#include "dataplane/daemon/metrics.hpp"
#include "dataplane/port/rings.hpp"

namespace millrace::dataplane {

namespace {

double seconds_since(uint64_t monotonic_ns) {
    timespec now{};
    clock_gettime(CLOCK_MONOTONIC, &now);
    const uint64_t now_ns =
        static_cast<uint64_t>(now.tv_sec) * 1'000'000'000 + static_cast<uint64_t>(now.tv_nsec);
    return number(now_ns - std::min(monotonic_ns, now_ns)) / ns_per_s;
}

// A sample for each port; read: of a PortId, a number.
template <class Read>
void add_by_port(MetricRegistry& registry, const Running& running, std::string_view name,
                 std::string_view help, MetricKind kind, Read read) {
    registry.add({.name = name,
                  .help = help,
                  .kind = kind,
                  .thread = MetricThread::control,
                  .labels = {"port"},
                  .collect = [running, read](MetricSamples& out) {
                      for (size_t p = 0; p < running.ports.size(); ++p) {
                          out.push_back({{running.ports[p].name()}, static_cast<double>(read(port_id(p)))});
                      }
                  }});
}

void add_ports(MetricRegistry& registry, const Running& running) {
    add_by_port(registry, running, "millrace_port_served",
                "1: the fast path serves it; 0: it is the kernel's", MetricKind::gauge,
                [running](PortId p) { return port_state(running, p)["state"] == "served"; });
    add_by_port(registry, running, "millrace_port_up",
                "1: its netdev is there and up, and nobody has enslaved it", MetricKind::gauge,
                [running](PortId p) {
                    const Interface* interface = running.tables.interface_of(p);
                    return interface != nullptr && interface->usable;
                });
    add_by_port(registry, running, "millrace_port_drained", "1: the operator left it to the kernel",
                MetricKind::gauge, [running](PortId p) {
                    const auto drained = running.states.drained();
                    return std::find(drained.begin(), drained.end(), running.ports[raw(p)].name()) !=
                           drained.end();
                });
    add_by_port(registry, running, "millrace_port_mtu_bytes", "Of its netdev; 0: there is none",
                MetricKind::gauge, [running](PortId p) {
                    const Interface* interface = running.tables.interface_of(p);
                    return interface == nullptr ? 0 : interface->mtu;
                });
    add_by_port(registry, running, "millrace_port_queues", "Receive queues that are served",
                MetricKind::gauge, [running](PortId p) { return running.ports[raw(p)].queues().size(); });
    registry.add({.name = "millrace_classifier_info",
                  .help = "How classifier and sockets are attached, and the kernel's id of the program",
                  .thread = MetricThread::control,
                  .labels = {"port", "xdp_mode", "xsk_mode", "program"},
                  .collect = [running](MetricSamples& out) {
                      for (size_t p = 0; p < running.ports.size(); ++p) {
                          const AfXdpPort& port = running.ports[p];
                          if (const auto attached = running.steering.attached(port_id(p))) {
                              out.push_back({{port.name(), std::string(steering::name(attached->mode)),
                                              !port.is_open()    ? ""
                                              : port.zero_copy() ? "zero-copy"
                                                                 : "copy",
                                              std::to_string(attached->program_id)},
                                             1});
                          }
                      }
                  }});
}

void add_sockets(MetricRegistry& registry, const Running& running) {
    struct Value {
        std::string_view name;
        std::string_view help;
        uint64_t XskStatistics::*read;
    };
    for (const Value& value :
         {Value{"millrace_xsk_receive_dropped_packets_total",
                "Packets that the kernel dropped at the AF_XDP sockets, but for a full ring",
                &XskStatistics::rx_dropped},
          Value{"millrace_xsk_receive_ring_full_packets_total",
                "Packets that the kernel dropped: the receive ring was full", &XskStatistics::rx_ring_full},
          Value{"millrace_xsk_fill_ring_empty_total",
                "Times that the kernel found no buffer in the fill ring", &XskStatistics::fill_ring_empty},
          Value{"millrace_xsk_transmit_invalid_total", "Descriptors that the kernel refused to send",
                &XskStatistics::tx_invalid}}) {
        add_by_port(
            registry, running, value.name, value.help, MetricKind::counter,
            [running, read = value.read](PortId p) { return running.ports[raw(p)].statistics().*read; });
    }
    add_by_port(registry, running, "millrace_xsk_receive_ring_descriptors",
                "Of each receive ring; 0: not open", MetricKind::gauge,
                [running](PortId p) { return running.ports[raw(p)].ring(); });
}

void add_heartbeats(MetricRegistry& registry, const Running& running, const Heart& heart) {
    add_by_port(registry, running, "millrace_port_silent_seconds",
                "How long it has had no heartbeat, and is the kernel's; 0: it has", MetricKind::gauge,
                [&heart](PortId p) {
                    const Liveness::Pulse pulse = heart.pulses()[raw(p)];
                    return pulse.missing.empty() ? 0.0 : seconds_since(pulse.since_ns);
                });
    registry.add({.name = "millrace_port_heartbeat_age_seconds",
                  .help = "Since the slowest part of its way was seen to move; none while it is silent",
                  .thread = MetricThread::control,
                  .labels = {"port"},
                  .collect = [running, &heart](MetricSamples& out) {
                      const auto pulses = heart.pulses();
                      for (size_t p = 0; p < pulses.size(); ++p) {
                          if (pulses[p].beat_ns != 0) {
                              out.push_back({{running.ports[p].name()}, seconds_since(pulses[p].beat_ns)});
                          }
                      }
                  }});
}

void add_tables(MetricRegistry& registry, const Running& running, const SizeConfig& sizes) {
    struct OfFamily {
        Family family;
        const char* label;
        double limit;
    };
    const std::array<OfFamily, 2> families = {
        OfFamily{Family::ipv4, "ipv4", number(uint64_t{sizes.fib4_megabytes} << 20)},
        OfFamily{Family::ipv6, "ipv6", number(uint64_t{sizes.fib6_megabytes} << 20)}};
    const Tables& tables = running.tables;
    // read: of an OfFamily and a Tables::FibUsage, a number.
    const auto add = [&](std::string_view name, std::string_view help, MetricKind kind, auto read) {
        registry.add(
            {.name = name,
             .help = help,
             .kind = kind,
             .thread = MetricThread::control,
             .labels = {"family"},
             .collect = [families, &tables, read](MetricSamples& out) {
                 for (const OfFamily& of : families) {
                     out.push_back({{of.label}, static_cast<double>(read(of, tables.fib_usage(of.family)))});
                 }
             }});
    };
    using Usage = Tables::FibUsage;
    constexpr MetricKind gauge = MetricKind::gauge;
    add("millrace_fib_prefixes", "Prefixes in the FIB", gauge,
        [](const OfFamily&, const Usage& u) { return u.now.prefixes; });
    add("millrace_fib_node_bytes", "Of its nodes that are in use", gauge,
        [](const OfFamily&, const Usage& u) { return u.now.node_bytes; });
    add("millrace_fib_node_limit_bytes", "How many may be: [sizes] fib4_megabytes, fib6_megabytes", gauge,
        [](const OfFamily& of, const Usage&) { return of.limit; });
    add("millrace_fib_root_bytes", "Of its root, as far as it may be in use", gauge,
        [](const OfFamily&, const Usage& u) { return u.now.root_bytes; });
    add("millrace_fib_index_bytes", "Of what is kept beside it to change it", gauge,
        [](const OfFamily&, const Usage& u) { return u.now.index_bytes; });
    add("millrace_fib_without_room",
        "Parts of its root that are left to the kernel, its nodes being at their limit", gauge,
        [](const OfFamily&, const Usage& u) { return u.now.punting; });
    add("millrace_fib_full_total", "Times that it came to its limit", MetricKind::counter,
        [](const OfFamily&, const Usage& u) { return u.alarms; });
    const auto of_table = [&](std::string_view name, std::string_view help, auto read) {
        registry.add(name, help, gauge, MetricThread::control, [&tables, read] { return read(tables); });
    };
    of_table("millrace_fib_groups", "Nexthop groups in use",
             [](const Tables& t) { return t.groups().in_use(); });
    of_table("millrace_fib_groups_limit", "How many may be",
             [](const Tables& t) { return t.groups().limit(); });
    of_table("millrace_fib_adjacencies", "Resolved next hops in use",
             [](const Tables& t) { return t.adjacencies().in_use(); });
    of_table("millrace_fib_adjacencies_limit", "How many may be",
             [](const Tables& t) { return t.adjacencies().limit(); });
}

void add_kept(MetricRegistry& registry, const Running& running) {
    registry.add(
        {.name = "millrace_keeps",
         .help =
             "Parts of transit that are left to the kernel, by cause; 'millrace show steering' lists them",
         .thread = MetricThread::control,
         .labels = {"cause"},
         .collect = [running](MetricSamples& out) {
             std::array<uint64_t, keep_cause_count> count{};
             for (const Keep& keep : running.steering.keeps()) {
                 ++count.at(static_cast<size_t>(keep.cause));
             }
             for (size_t c = 0; c < count.size(); ++c) {
                 out.push_back({{std::string(name(static_cast<KeepCause>(c)))}, number(count[c])});
             }
         }});
    registry.add("millrace_firewall_readable", "1: the kernel's firewall can be read; 0: all is left to it",
                 MetricKind::gauge, MetricThread::control,
                 [running] { return running.steering.firewall().problem.empty(); });
    registry.add(
        {.name = "millrace_firewall_hooks",
         .help = "Hooks of the kernel's firewall, by what follows from them",
         .thread = MetricThread::control,
         .labels = {"follows"},
         .collect = [running](MetricSamples& out) {
             std::array<uint64_t, steering::follows_count> count{};
             for (const steering::Hook& hook : running.steering.firewall().hooks.all) {
                 ++count.at(static_cast<size_t>(follows(hook, running.steering.firewall_config())));
             }
             for (size_t f = 0; f < count.size(); ++f) {
                 out.push_back({{std::string(name(static_cast<steering::Follows>(f)))}, number(count[f])});
             }
         }});
}

}  // namespace

void add_state_metrics(MetricRegistry& registry, const Measured& measured) {
    add_ports(registry, measured.running);
    add_sockets(registry, measured.running);
    add_heartbeats(registry, measured.running, measured.heart);
    add_tables(registry, measured.running, measured.config.sizes);
    add_kept(registry, measured.running);
}

}  // namespace millrace::dataplane
