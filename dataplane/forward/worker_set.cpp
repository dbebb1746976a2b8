// SPDX-License-Identifier: BSD-3-Clause
#include "dataplane/forward/worker_set.hpp"

#include <rte_launch.h>
#include <spdlog/spdlog.h>

#include "dataplane/forward/scheduling.hpp"

namespace millrace::dataplane {

namespace {
unsigned lcore_of(size_t worker) {
    return static_cast<unsigned>(worker) + 1;  // 0 is the main thread
}
}  // namespace

Result<std::unique_ptr<WorkerSet>> WorkerSet::start(const WorkerConfig& config,
                                                    const std::vector<AfXdpPort>& ports, Tables& tables,
                                                    const std::vector<PuntRings>& punt, uint32_t late_ms) {
    std::unique_ptr<WorkerSet> set(new WorkerSet);
    const size_t count = config.cores.size();
    set->cores_ = config.cores;
    WorkerConfig chosen = config;
    const SchedulingChoice choice = choose_scheduling(config, scheduling_facts(config));
    chosen.scheduling = choice.scheduling;
    if (!choice.why.empty()) {
        spdlog::log(config.scheduling == Scheduling::realtime ? spdlog::level::warn : spdlog::level::info,
                    "workers are not scheduled in the real-time class: {}", choice.why);
    }
    for (size_t w = 0; w < count; ++w) {
        std::vector<RxQueue> rx;
        std::vector<TxQueue> tx;
        for (size_t p = 0; p < ports.size(); ++p) {
            const auto& queues = ports[p].queues();
            // Nothing is sent over a port that is not open: the tables bind no interface to it.
            tx.push_back(queues.empty() ? TxQueue{.open = false} : TxQueue{queues[w].device, 0});
            for (size_t q = w; q < queues.size(); q += count) {
                rx.push_back({queues[q].device, 0, PortId{static_cast<uint16_t>(p)}, queues[q].fd});
            }
        }
        set->counters_.push_back(std::make_unique<WorkerCounters>(ports.size()));
        set->forwarders_.push_back(
            std::make_unique<Forwarder>(tables, std::move(tx), punt, *set->counters_.back()));
        set->workers_.push_back(std::make_unique<Worker>(static_cast<unsigned>(w), std::move(rx),
                                                         *set->forwarders_.back(), tables.quiescence(),
                                                         *set->counters_.back(), chosen, late_ms));
    }
    for (size_t w = 0; w < count; ++w) {
        const auto run = [](void* worker) {
            static_cast<Worker*>(worker)->run();
            return 0;
        };
        if (const int error = rte_eal_remote_launch(run, set->workers_[w].get(), lcore_of(w)); error != 0) {
            return fail(fmt::format("worker on core {} can't be started", config.cores[w]), -error);
        }
    }
    return set;
}

WorkerSet::~WorkerSet() {
    for (const auto& worker : workers_) {
        worker->stop();
    }
    for (size_t w = 0; w < workers_.size(); ++w) {
        rte_eal_wait_lcore(lcore_of(w));
    }
}

uint64_t WorkerSet::packets(PortId ingress, Reason reason) const {
    uint64_t sum = 0;
    for (const auto& c : counters_) {
        sum += c->port[raw(ingress)].by_reason[static_cast<unsigned>(reason)].read();
    }
    return sum;
}

}  // namespace millrace::dataplane
