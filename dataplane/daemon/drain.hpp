// SPDX-License-Identifier: BSD-3-Clause
// Before the fast path ends, or gives a port back to the kernel: what it has taken in goes out first.
#pragma once

#include <chrono>
#include <string>
#include <vector>

#include "dataplane/forward/worker_set.hpp"
#include "dataplane/port/af_xdp_port.hpp"
#include "dataplane/punt/punter.hpp"

namespace millrace::dataplane {

// Empties receive rings, the frames in the workers' hands, transmit rings and punt rings, in this order.
// Their classifiers no longer redirect when it begins, and nothing is forwarded to them; the workers and the
// punter run. A netdev that is down keeps what waits for it. Control thread. All that is given outlives it.
std::vector<PortId> all_of(const std::vector<AfXdpPort>& ports);

class Drain {
  public:
    // which: ports that are open or not. Waits for the end of what the classifiers have begun: some ms.
    Drain(const std::vector<AfXdpPort>& ports, std::vector<PortId> which, const WorkerSet& workers,
          const Punter& punter);
    // Is all of it out? To be asked again until it is; doesn't wait.
    bool done();
    // What is not, in one line.
    [[nodiscard]] std::string left() const;
    // Asks until it is done, or for so long.
    bool wait(std::chrono::milliseconds longest);

  private:
    enum class Stage : uint8_t { receive, workers, transmit, punt };
    [[nodiscard]] bool punted() const;

    const WorkerSet& workers_;
    const Punter& punter_;
    std::vector<PortId> which_;
    std::vector<int> sockets_;  // of those that are alive
    bool zero_copy_ = false;
    std::vector<uint64_t> loops_;  // by worker, when the receive rings were empty
    Stage stage_ = Stage::receive;
};

}  // namespace millrace::dataplane
