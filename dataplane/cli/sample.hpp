// SPDX-License-Identifier: BSD-3-Clause
// What a daemon has counted, at one moment.
#pragma once

#include <chrono>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "millrace/result.hpp"

namespace millrace::cli {

struct Rows {
    std::chrono::steady_clock::time_point at{};  // when the daemon answered
    std::vector<nlohmann::json> rows{};
};

// Rows as the daemon gives them (dataplane/daemon/show.hpp).
struct Sample {
    Rows ports;
    Rows workers;
    Rows reasons;   // of the workers: `show counters`
    Rows verdicts;  // of the classifiers: `show steering`, its verdicts alone
};

// Over a connection of its own: a daemon may have started again since the last one.
Result<Sample> take_sample(const std::string& socket);

}  // namespace millrace::cli
