// SPDX-License-Identifier: BSD-3-Clause
// `millrace show ... --watch`.
#pragma once

#include <cstdio>
#include <functional>
#include <string>

#include "millrace/result.hpp"

namespace millrace::cli {

struct Watch {
    double seconds = 0;  // between two; 0 = shown once
    std::string title;   // what is shown, for the screen
    bool json = false;   // one answer behind the other, and nothing else
};

// Calls show(where it is to be printed) again and again, until it is ended: on a terminal's screen, elsewhere
// one behind the other, each under a line with the time. Returns the exit code. A show that fails at once
// ends it; later the error is said, once, and it goes on.
int watch(const Watch& watch, const std::function<Status(std::FILE*)>& show);

}  // namespace millrace::cli
