// SPDX-License-Identifier: BSD-3-Clause
// `millrace verify`, and `millrace debug`, which makes something for it to find.
#pragma once

#include <CLI/CLI.hpp>
#include <functional>
#include <string>

namespace millrace::cli {

// What is to be done once the command line has been read: returns the exit code.
using Command = std::function<int()>;

// Registers the subcommands; the one that is on the command line sets command. socket: read when it runs.
void add_verify(CLI::App& app, const std::string& socket, Command& command);
void add_debug(CLI::App& app, const std::string& socket, Command& command);

}  // namespace millrace::cli
