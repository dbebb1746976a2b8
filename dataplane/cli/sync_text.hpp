// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <nlohmann/json.hpp>
#include <string>

namespace millrace::cli {

// The row of `show sync` for people: lines of a name and what there is to say of it.
std::string sync_text(const nlohmann::json& row);

}  // namespace millrace::cli
