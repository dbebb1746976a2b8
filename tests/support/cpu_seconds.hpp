// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <ctime>

namespace millrace::test {

// That the calling thread has had of a core: what other programs take does not count.
inline double cpu_seconds() {
    timespec t{};
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_nsec) * 1e-9;
}

}  // namespace millrace::test
