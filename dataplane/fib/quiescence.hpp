// SPDX-License-Identifier: BSD-3-Clause
// When may memory that a worker could still be reading be used again? Quiescent-state based reclamation over
// DPDK's rte_rcu: workers report between two bursts that they hold nothing; what the control thread took out
// of the tables is released after every worker has done so.
#pragma once

#include <rte_rcu_qsbr.h>

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <vector>

namespace millrace::dataplane {

class Quiescence {
  public:
    explicit Quiescence(unsigned max_workers);

    // Worker side; worker < max_workers. online() before the first table access, quiescent() between two
    // bursts, offline() before anything that may block.
    void add_worker(unsigned worker) { rte_rcu_qsbr_thread_register(qsbr_.get(), worker); }
    void online(unsigned worker) { rte_rcu_qsbr_thread_online(qsbr_.get(), worker); }
    void offline(unsigned worker) { rte_rcu_qsbr_thread_offline(qsbr_.get(), worker); }
    void quiescent(unsigned worker) { rte_rcu_qsbr_quiescent(qsbr_.get(), worker); }

    // Control thread, for those who keep a list of their own: what was out of reach before start() may be
    // used again once passed() is true for its token.
    uint64_t start() { return rte_rcu_qsbr_start(qsbr_.get()); }
    [[nodiscard]] bool passed(uint64_t token) { return rte_rcu_qsbr_check(qsbr_.get(), token, false) == 1; }

    // Control thread. release runs on the control thread, in a later close_batch(), once no worker can hold
    // what it frees. It may be called between batches only.
    void retire(std::function<void()> release) { open_.push_back(std::move(release)); }
    // Ends the batch of retire() calls, and runs what earlier batches have waited for. Never blocks.
    void close_batch();
    [[nodiscard]] size_t waiting() const;

  private:
    struct Batch {
        uint64_t token;
        std::vector<std::function<void()>> releases;
    };
    struct Free {
        void operator()(rte_rcu_qsbr* p) const {
            ::operator delete (p, std::align_val_t{RTE_CACHE_LINE_SIZE});
        }
    };
    std::unique_ptr<rte_rcu_qsbr, Free> qsbr_;
    std::vector<std::function<void()>> open_;
    std::deque<Batch> closed_;
};

}  // namespace millrace::dataplane
