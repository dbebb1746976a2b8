// SPDX-License-Identifier: BSD-3-Clause
#include "dataplane/forward/schedstat.hpp"

#include <fcntl.h>
#include <fmt/core.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <charconv>

namespace millrace::dataplane {

// "ran waited timeslices"
Schedstat::Times Schedstat::read(int tid) {
    if (!fd_ && tid != 0) {
        fd_ = steering::Fd(
            open(fmt::format("/proc/self/task/{}/schedstat", tid).c_str(), O_RDONLY | O_CLOEXEC));
    }
    std::array<char, 128> text{};
    const ssize_t n = fd_ ? pread(fd_.get(), text.data(), text.size(), 0) : -1;
    Times times;
    if (n <= 0) {
        return times;
    }
    const char* const end = text.data() + n;
    const auto ran = std::from_chars(text.data(), end, times.ran_ns);
    std::from_chars(std::min(ran.ptr + 1, end), end, times.waited_ns);
    return times;
}

}  // namespace millrace::dataplane
