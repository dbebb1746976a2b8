// SPDX-License-Identifier: BSD-3-Clause
// `millrace top`: what happens in a second, again and again.
#pragma once

#include <CLI/CLI.hpp>
#include <string>

#include "dataplane/cli/verify.hpp"

namespace millrace::cli {

// socket outlives the app.
void add_top(CLI::App& app, const std::string& socket, Command& command);

}  // namespace millrace::cli
