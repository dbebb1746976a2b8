// SPDX-License-Identifier: BSD-3-Clause
// Sees to it that the classifier leaves in the kernel what would be punted in bulk (bulk_punts.hpp). Control
// thread.
#pragma once

#include "dataplane/daemon/steering.hpp"
#include "dataplane/fib/tables.hpp"
#include "dataplane/forward/worker_set.hpp"
#include "dataplane/punt/bulk_punts.hpp"
#include "dataplane/punt/punter.hpp"

namespace millrace::dataplane {

class PuntRelief {
  public:
    // names: of the ports, by PortId. All others outlive it.
    PuntRelief(std::vector<std::string> names, Punter& punter, const WorkerSet& workers, const Tables& tables,
               Steering& steering);
    // To be called every period_us.
    void look();
    static constexpr uint64_t period_us = 50'000;

  private:
    struct Counted {
        uint64_t forwarded = 0;
        uint64_t dropped = 0;
    };
    BulkPunts bulk_;
    Punter& punter_;
    const WorkerSet& workers_;
    const Tables& tables_;
    Steering& steering_;
    std::vector<Counted> before_;  // by PortId
};

}  // namespace millrace::dataplane
