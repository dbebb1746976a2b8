// SPDX-License-Identifier: BSD-3-Clause
// 'millrace drain', 'millrace undrain' and 'millrace reload'.
#pragma once

#include <CLI/CLI.hpp>
#include <string>

#include "dataplane/cli/verify.hpp"

namespace millrace::cli {

// socket outlives the app.
void add_actions(CLI::App& app, const std::string& socket, Command& command);

}  // namespace millrace::cli
