// SPDX-License-Identifier: BSD-3-Clause
// A daemon that crashes as soon as it serves would put each port on the fast path and take it off again, once
// a second for ever: after three crashes in a row it waits, and the kernel has its ports meanwhile. Who
// counts is the supervisor's: systemd tells how the daemon ended (ExecStopPost). A kill is no crash.
#pragma once

#include <cstdint>
#include <string>

#include "millrace/result.hpp"

namespace millrace::dataplane {

class CrashLoop {
  public:
    // text: of text(); anything else is taken for a first start.
    static CrashLoop parse(const std::string& text);
    [[nodiscard]] std::string text() const;

    void started(uint64_t now_ms) { started_ms_ = now_ms; }
    // Soon after its start, or later: that one is the first of a row.
    void crashed(uint64_t now_ms);
    [[nodiscard]] unsigned count() const { return count_; }
    // Before it serves again.
    [[nodiscard]] uint64_t wait_ms() const;

    static constexpr unsigned free = 3;
    static constexpr uint64_t soon_ms = 20'000;
    static constexpr uint64_t first_wait_ms = 30'000;
    static constexpr uint64_t longest_wait_ms = 600'000;

  private:
    unsigned count_ = 0;
    uint64_t started_ms_ = 0;  // CLOCK_MONOTONIC, as the others
};

// What is counted lies beside the control socket, and goes with its folder.
// At the start: waits, and says so to log and supervisor. A signal ends it as ever. Main thread.
void wait_after_crashes(const std::string& socket);
// After the end, by another process that has systemd's SERVICE_RESULT and EXIT_STATUS.
Status note_end(const std::string& socket);

}  // namespace millrace::dataplane
