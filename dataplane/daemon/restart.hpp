// SPDX-License-Identifier: BSD-3-Clause
// The daemon starts itself again, as the same process: a port's queues can't be opened twice in one life of
// DPDK. The kernel forwards meanwhile.
#pragma once

#include <sched.h>

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "millrace/result.hpp"

namespace millrace::dataplane {

// How often it may. The first restarts are free; the more there are without a calm minute between them, the
// longer each waits, up to 30 s. For the sake of a port that DPDK has refused, though nothing seems to be in
// its way, one is free; each more waits eight times as long, up to an hour, until no port is refused. Carried
// over a restart in the environment variable MILLRACE_RESTARTS ("count,ms,count,ms" on CLOCK_MONOTONIC, the
// latter two of refused ports), which is nobody else's business.
class Restarts {
  public:
    Restarts() = default;
    // text: of text(); anything else is taken for none.
    static Restarts parse(const char* text);
    [[nodiscard]] std::string text() const;

    // When the next one may be, in ms of CLOCK_MONOTONIC; not after now: at once.
    [[nodiscard]] uint64_t next_ms(uint64_t now_ms) const;
    // The same for the sake of a port that was refused.
    [[nodiscard]] uint64_t next_for_refused_ms(uint64_t now_ms) const;
    void count(uint64_t now_ms, bool for_refused = false);
    void none_is_refused() { refused_ = 0; }
    // Since the last calm minute.
    [[nodiscard]] unsigned counted(uint64_t now_ms) const;

    static constexpr unsigned free = 3;
    static constexpr uint64_t calm_ms = 60'000;
    static constexpr uint64_t longest_ms = 30'000;
    static constexpr uint64_t longest_for_refused_ms = 3'600'000;

  private:
    unsigned count_ = 0;
    uint64_t last_ms_ = 0;
    unsigned refused_ = 0;
    uint64_t last_refused_ms_ = 0;
};

// The process as it was started: to be remembered before DPDK binds the main thread to some of the CPUs.
class Self {
  public:
    explicit Self(char** argv);
    [[nodiscard]] Restarts& restarts() { return restarts_; }
    // Has it started itself again?
    [[nodiscard]] bool started_again() const { return started_again_; }
    // The CPUs that it may use.
    [[nodiscard]] const cpu_set_t& cpus() const { return cpus_; }
    // Names of the ports that stay drained over it (environment variable MILLRACE_DRAINED, "eth0/eth1").
    [[nodiscard]] const std::vector<std::string>& drained() const { return drained_; }
    void set_drained(std::vector<std::string> ports) { drained_ = std::move(ports); }
    // To be done once all is torn down; not when it was told to end, before or after.
    void start_again(bool for_refused) {
        again_ = !told_to_end_;
        for_refused_ = for_refused;
    }
    [[nodiscard]] bool for_refused() const { return for_refused_; }
    void end() {
        told_to_end_ = true;
        again_ = false;
    }
    [[nodiscard]] bool starts_again() const { return again_; }
    // Becomes the same program with the same arguments and no descriptor but 0 to 2. Returns only on error.
    [[nodiscard]] Error exec_again() const;

  private:
    char** argv_;
    cpu_set_t cpus_;
    bool started_again_ = false;
    bool again_ = false;
    bool for_refused_ = false;
    bool told_to_end_ = false;
    Restarts restarts_;
    std::vector<std::string> drained_;
};

}  // namespace millrace::dataplane
