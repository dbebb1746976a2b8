// SPDX-License-Identifier: BSD-3-Clause
// All workers of the daemon, each on its lcore. Worker w owns receive queues w, w + W, ... of every port (W =
// number of workers) and transmit queue w of every port, so that no queue has two users.
#pragma once

#include <deque>
#include <memory>
#include <vector>

#include "dataplane/forward/worker.hpp"
#include "dataplane/port/af_xdp_port.hpp"

namespace millrace::dataplane {

class WorkerSet {
  public:
    // Main thread, after Eal::start; everything given outlives the set. Each port that is open has at least
    // as many queues as there are workers. late_ms: see Worker.
    static Result<std::unique_ptr<WorkerSet>> start(const WorkerConfig& config,
                                                    const std::vector<AfXdpPort>& ports, Tables& tables,
                                                    const std::vector<PuntRings>& punt, uint32_t late_ms);
    // Stops all workers and waits for them.
    ~WorkerSet();
    WorkerSet(const WorkerSet&) = delete;
    WorkerSet& operator=(const WorkerSet&) = delete;

    // Any thread.
    [[nodiscard]] size_t size() const { return workers_.size(); }
    [[nodiscard]] const WorkerCounters& counters(size_t worker) const { return *counters_[worker]; }
    // Sum over the workers.
    [[nodiscard]] uint64_t packets(PortId ingress, Reason reason) const;

    [[nodiscard]] uint16_t core(size_t worker) const { return cores_[worker]; }
    // Of the worker's thread; 0: it has not begun.
    [[nodiscard]] int tid(size_t worker) const { return workers_[worker]->tid(); }

  private:
    WorkerSet() = default;
    std::vector<uint16_t> cores_;
    std::vector<std::unique_ptr<WorkerCounters>> counters_;
    std::vector<std::unique_ptr<Forwarder>> forwarders_;
    std::vector<std::unique_ptr<Worker>> workers_;
};

}  // namespace millrace::dataplane
