// SPDX-License-Identifier: BSD-3-Clause
// `millrace explain`: what would become of a packet, and why.
#pragma once

#include <CLI/CLI.hpp>
#include <string>

#include "dataplane/cli/verify.hpp"

namespace millrace::cli {

// socket outlives the app.
void add_explain(CLI::App& app, const std::string& socket, Command& command);

}  // namespace millrace::cli
