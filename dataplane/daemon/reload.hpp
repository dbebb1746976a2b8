// SPDX-License-Identifier: BSD-3-Clause
// The configuration file while the daemon runs: read again when the operator says so, and before the daemon
// starts itself again. Control thread.
#pragma once

#include <sched.h>

#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "dataplane/daemon/steering.hpp"
#include "millrace/config.hpp"
#include "millrace/result.hpp"

namespace millrace::dataplane {

class Reload {
  public:
    // path: of the file that running was read from. cpus: those that the process may use. Path and steering
    // outlive it.
    Reload(const std::string& path, const Config& running, const cpu_set_t& cpus, Steering& steering);

    // How many a netdev was last seen to have; 0: not known. Doesn't wait.
    using QueuesOf = std::function<uint32_t(const std::string& port)>;
    void ask_queues(QueuesOf queues_of) { queues_of_ = std::move(queues_of); }

    struct Done {
        std::vector<std::string> changed;  // "[keep]", "port eth1 (new)", ...
        bool again = false;                // the daemon has to start again for some of it
    };
    // Applies at once what can be. Error: the file can't be used; all stays as it was.
    Result<Done> run();
    // The same for a signal: the log says what came of it.
    void run_and_log();
    // Since run() found something that only a restart applies.
    [[nodiscard]] bool wants_restart() const { return wants_restart_; }

    // Could the daemon start with it? Asked at most once a second, and a mistake is told once. now_ms: of any
    // monotonic clock.
    [[nodiscard]] bool good(uint64_t now_ms);

  private:
    const std::string& path_;
    Config running_;
    cpu_set_t cpus_;
    Steering& steering_;
    QueuesOf queues_of_;
    bool wants_restart_ = false;
    uint64_t next_ms_ = 0;
    std::string told_;
};

}  // namespace millrace::dataplane
