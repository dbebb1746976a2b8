// SPDX-License-Identifier: BSD-3-Clause
// What else wants the workers' cores, as far as the machine tells: for `millraced --check`.
#pragma once

#include <chrono>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "millrace/config.hpp"

namespace millrace::dataplane {

// One line for each thing found: other programs that use a worker's core, interrupts there, a frequency
// governor that lowers its clock, a port of another NUMA node. What can't be read is not there. wait: lets
// the time pass over which use is measured. root: where proc and sys are.
std::vector<std::string> core_problems(const Config& config, const std::function<void()>& wait,
                                       const std::filesystem::path& root = "/");

// As `millraced --check` waits.
inline constexpr std::chrono::milliseconds core_sample{500};

}  // namespace millrace::dataplane
