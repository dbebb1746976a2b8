// SPDX-License-Identifier: BSD-3-Clause
// The daemon starts itself again, as the same process: a port's queues can't be opened twice in one life of
// DPDK. The kernel forwards meanwhile.
#pragma once

#include <sched.h>

#include <cstdint>
#include <string>

#include "millrace/result.hpp"

namespace millrace::dataplane {

// How often it may. The first restarts are free; the more there are without a calm minute between them, the
// longer each waits, up to 30 s. Carried over a restart in the environment variable MILLRACE_RESTARTS
// ("count,ms" on CLOCK_MONOTONIC), which is nobody else's business.
class Restarts {
  public:
    Restarts() = default;
    // text: of text(); anything else is taken for none.
    static Restarts parse(const char* text);
    [[nodiscard]] std::string text() const;

    // When the next one may be, in ms of CLOCK_MONOTONIC; not after now: at once.
    [[nodiscard]] uint64_t next_ms(uint64_t now_ms) const;
    void count(uint64_t now_ms);
    // Since the last calm minute.
    [[nodiscard]] unsigned counted(uint64_t now_ms) const;

    static constexpr unsigned free = 3;
    static constexpr uint64_t calm_ms = 60'000;
    static constexpr uint64_t longest_ms = 30'000;

  private:
    unsigned count_ = 0;
    uint64_t last_ms_ = 0;
};

// The process as it was started: to be remembered before DPDK binds the main thread to some of the CPUs.
class Self {
  public:
    explicit Self(char** argv);
    [[nodiscard]] Restarts& restarts() { return restarts_; }
    // To be done once all is torn down; not when it was told to end, before or after.
    void start_again() { again_ = !told_to_end_; }
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
    bool again_ = false;
    bool told_to_end_ = false;
    Restarts restarts_;
};

}  // namespace millrace::dataplane
