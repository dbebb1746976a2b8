// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <fmt/core.h>

#include <string>

namespace millrace::dataplane {

// Errors name their port; rows and log lines do so by themselves.
inline std::string without_port(const std::string& text, const std::string& port) {
    const std::string prefix = fmt::format("port {}: ", port);
    return text.starts_with(prefix) ? text.substr(prefix.size()) : text;
}

}  // namespace millrace::dataplane
