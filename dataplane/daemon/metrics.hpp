// SPDX-License-Identifier: BSD-3-Clause
// What the daemon measures, and where it is scraped: [metrics] of the configuration.
#pragma once

#include <memory>

#include "dataplane/control/event_loop.hpp"
#include "dataplane/daemon/heart.hpp"
#include "dataplane/daemon/show.hpp"
#include "dataplane/metrics/control_samples.hpp"
#include "dataplane/metrics/exporter.hpp"
#include "fib_sync/fib_sync.hpp"
#include "millrace/metric.hpp"

struct rte_mempool;

namespace millrace::dataplane {

// All outlive the metrics.
struct Measured {
    const Running& running;
    const sync::FibSync& sync;
    const Heart& heart;
    const rte_mempool& pool;
    const Config& config;
};

// Of packets: workers, classifiers, punts, buffers. Any thread may collect these.
void add_traffic_metrics(MetricRegistry& registry, const Measured& measured);
// Of states: ports, sockets, tables, what is kept. The control thread's.
void add_state_metrics(MetricRegistry& registry, const Measured& measured);

class Metrics {
  public:
    // Control thread, whose affinity the threads that serve inherit. Where nobody can listen, the log says
    // so, and the daemon does without.
    Metrics(EventLoop& loop, const Measured& measured);

  private:
    MetricRegistry registry_;
    std::unique_ptr<ControlSamples> control_;
    EventLoop::Handle handle_;
    std::unique_ptr<Exporter> exporter_;
};

}  // namespace millrace::dataplane
