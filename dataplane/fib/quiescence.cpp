// SPDX-License-Identifier: BSD-3-Clause
#include "dataplane/fib/quiescence.hpp"

#include <new>

namespace millrace::dataplane {

Quiescence::Quiescence(unsigned max_workers)
    : qsbr_(static_cast<rte_rcu_qsbr*>(
          ::operator new (rte_rcu_qsbr_get_memsize(max_workers), std::align_val_t{RTE_CACHE_LINE_SIZE}))) {
    rte_rcu_qsbr_init(qsbr_.get(), max_workers);
}

void Quiescence::close_batch() {
    if (!open_.empty()) {
        closed_.push_back({start(), std::move(open_)});
        open_.clear();
    }
    while (!closed_.empty() && passed(closed_.front().token)) {
        for (const auto& release : closed_.front().releases) {
            release();
        }
        closed_.pop_front();
    }
}

size_t Quiescence::waiting() const {
    size_t n = open_.size();
    for (const auto& batch : closed_) {
        n += batch.releases.size();
    }
    return n;
}

}  // namespace millrace::dataplane
