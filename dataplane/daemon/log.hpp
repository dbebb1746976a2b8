// SPDX-License-Identifier: BSD-3-Clause
// The daemon's log goes to stderr over a thread of its own: a reader that is stuck (a full pipe, a journal
// that stopped) holds up nobody else. Lines that it leaves no room for are lost, the oldest first, and
// counted.
#pragma once

#include <chrono>
#include <cstdint>

#include "millrace/config.hpp"

namespace millrace::dataplane {

// Main thread, before any other is started. The thread stays off the workers' cores where there are others.
// Nobody's leaving ends the process from now on: SIGPIPE is ignored.
void start_log(const Config& config);

// Waits until the reader has what was logged so far; false: it has not in that time, and what would write to
// stderr itself may wait for ever.
bool flush_log(std::chrono::milliseconds longest = std::chrono::milliseconds(200));

// Lines that were lost since the start.
uint64_t lost_log_lines();

// To be called now and then by one thread: logs how many were lost once the reader reads again.
void tell_of_lost_log_lines();

// Lines that wait for the reader at most.
inline constexpr size_t log_room = 1024;

}  // namespace millrace::dataplane
