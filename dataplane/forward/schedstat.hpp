// SPDX-License-Identifier: BSD-3-Clause
// What the scheduler says of a thread of this process: /proc/self/task/TID/schedstat.
#pragma once

#include <cstdint>

#include "steering_bpf/fd.hpp"

namespace millrace::dataplane {

class Schedstat {
  public:
    struct Times {
        uint64_t ran_ns = 0;     // on a CPU
        uint64_t waited_ns = 0;  // runnable, without one
    };
    // Since the thread began; zero where the kernel doesn't tell, or tid is 0: it has not begun. The same
    // thread in each call. One caller at a time.
    Times read(int tid);

  private:
    steering::Fd fd_;
};

}  // namespace millrace::dataplane
