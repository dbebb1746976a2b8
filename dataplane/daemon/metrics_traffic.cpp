// SPDX-License-Identifier: BSD-3-Clause
#include <rte_mempool.h>
#include <rte_ring.h>

#include <memory>
#include <string>
#include <vector>

#include "dataplane/daemon/metric_values.hpp"
#include "dataplane/daemon/metrics.hpp"
#include "dataplane/forward/schedstat.hpp"
#include "steering_bpf/reason_names.hpp"

namespace millrace::dataplane {

namespace {

struct OfPort {
    std::string_view name;
    std::string_view help;
    uint64_t PortTotals::*read;
};
constexpr OfPort of_ports[] = {
    {"millrace_port_receive_packets_total", "Packets that the workers took in", &PortTotals::rx_packets},
    {"millrace_port_receive_bytes_total", "Their bytes, layer-2 header included", &PortTotals::rx_bytes},
    {"millrace_port_transmit_packets_total", "Packets that the workers sent", &PortTotals::tx_packets},
    {"millrace_port_transmit_bytes_total", "Their bytes, layer-2 header included", &PortTotals::tx_bytes},
    {"millrace_port_transmit_dropped_packets_total",
     "Packets that the port did not take: its transmit ring was full, or the netdev refused",
     &PortTotals::tx_dropped},
};

void add_ports(MetricRegistry& registry, const Running& running) {
    for (const OfPort& metric : of_ports) {
        registry.add({.name = metric.name,
                      .help = metric.help,
                      .kind = MetricKind::counter,
                      .labels = {"port"},
                      .collect = [running, read = metric.read](MetricSamples& out) {
                          for (size_t p = 0; p < running.ports.size(); ++p) {
                              out.push_back({{running.ports[p].name()},
                                             number(port_totals(running, port_id(p)).*read)});
                          }
                      }});
    }
    registry.add({.name = "millrace_packets_total",
                  .help = "Packets of the workers by ingress port and by what became of them",
                  .kind = MetricKind::counter,
                  .labels = {"port", "reason"},
                  .collect = [running](MetricSamples& out) {
                      for (size_t p = 0; p < running.ports.size(); ++p) {
                          for (unsigned r = 0; r < reason_count; ++r) {
                              const auto reason = static_cast<Reason>(r);
                              out.push_back({{running.ports[p].name(), std::string(name(reason))},
                                             number(packets(running, port_id(p), reason))});
                          }
                      }
                  }});
    registry.add(
        {.name = "millrace_punted_packets_total",
         .help = "Packets that were written back to the kernel",
         .kind = MetricKind::counter,
         .labels = {"port"},
         .collect = [running](MetricSamples& out) {
             for (size_t p = 0; p < running.ports.size(); ++p) {
                 out.push_back({{running.ports[p].name()}, number(running.punter.written(port_id(p)))});
             }
         }});
    // carry_on: for the kernel to carry on; answer: to answer, resolve or discard.
    const auto of_rings = [running](MetricSamples& out, unsigned (*read)(const rte_ring*)) {
        for (size_t p = 0; p < running.ports.size(); ++p) {
            const PuntRings& rings = running.punter.rings()[p];
            for (const auto& [ring, use] :
                 {std::pair{rings.carry_on, "carry_on"}, {rings.answer, "answer"}}) {
                if (ring != nullptr) {
                    out.push_back({{running.ports[p].name(), use}, number(read(ring))});
                }
            }
        }
    };
    registry.add({.name = "millrace_punt_ring_packets",
                  .help = "Packets that wait to be written back to the kernel",
                  .labels = {"port", "ring"},
                  .collect = [of_rings](MetricSamples& out) { of_rings(out, rte_ring_count); }});
    registry.add({.name = "millrace_punt_ring_limit_packets",
                  .help = "How many may",
                  .labels = {"port", "ring"},
                  .collect = [of_rings](MetricSamples& out) { of_rings(out, rte_ring_get_capacity); }});
}

void add_steering(MetricRegistry& registry, const Running& running) {
    struct Value {
        std::string_view name;
        std::string_view help;
        __u64 millrace_steer_counter::*read;
    };
    for (const Value& value :
         {Value{"millrace_steering_packets_total",
                "Packets that the classifier saw, since it was attached, by what it decided and why",
                &millrace_steer_counter::packets},
          Value{"millrace_steering_bytes_total", "Their bytes, layer-2 header included",
                &millrace_steer_counter::bytes}}) {
        registry.add({.name = value.name,
                      .help = value.help,
                      .kind = MetricKind::counter,
                      .labels = {"port", "reason"},
                      .collect = [running, read = value.read](MetricSamples& out) {
                          for (size_t p = 0; p < running.ports.size(); ++p) {
                              const auto counters = running.steering.counters(port_id(p));
                              for (size_t r = 0; counters && r < counters->size(); ++r) {
                                  out.push_back(
                                      {{running.ports[p].name(), std::string(steering::reason_names[r])},
                                       number((*counters)[r].*read)});
                              }
                          }
                      }});
    }
}

void add_workers(MetricRegistry& registry, const Running& running) {
    // read: of a worker, a number.
    const auto add = [&](std::string_view name, std::string_view help, auto read) {
        registry.add({.name = name,
                      .help = help,
                      .kind = MetricKind::counter,
                      .labels = {"worker"},
                      .collect = [running, read](MetricSamples& out) {
                          for (size_t w = 0; w < running.workers.size(); ++w) {
                              out.push_back({{std::to_string(w)}, read(w)});
                          }
                      }});
    };
    add("millrace_worker_loops_total", "Rounds over its queues, with packets or without",
        [running](size_t w) { return number(running.workers.counters(w).loops.read()); });
    add("millrace_worker_sleeps_total", "Sleeps, since nothing came",
        [running](size_t w) { return number(running.workers.counters(w).sleeps.read()); });
    const auto stats = std::make_shared<std::vector<Schedstat>>(running.workers.size());
    add("millrace_worker_cpu_seconds_total", "Time on its core", [running, stats](size_t w) {
        return number((*stats)[w].read(running.workers.tid(w)).ran_ns) / ns_per_s;
    });
    add("millrace_worker_wait_seconds_total", "Time that it was ready and others had its core",
        [running, stats](size_t w) {
            return number((*stats)[w].read(running.workers.tid(w)).waited_ns) / ns_per_s;
        });
}

}  // namespace

void add_traffic_metrics(MetricRegistry& registry, const Measured& measured) {
    add_ports(registry, measured.running);
    add_steering(registry, measured.running);
    add_workers(registry, measured.running);
    const rte_mempool& pool = measured.pool;
    registry.add("millrace_pool_buffers", "Packet buffers, of all ports together", MetricKind::gauge,
                 MetricThread::any, [&pool] { return pool.size; });
    registry.add("millrace_pool_free_buffers", "Packet buffers that hold nothing, and wait in no ring",
                 MetricKind::gauge, MetricThread::any, [&pool] { return rte_mempool_avail_count(&pool); });
}

}  // namespace millrace::dataplane
