// SPDX-License-Identifier: BSD-3-Clause
// The configuration file: TOML to values. Pure but for reading the file; every mistake is one line that names
// the file, the line, the key, and what may stand there.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "millrace/config.hpp"
#include "millrace/result.hpp"

namespace millrace::dataplane {

// Any thread. Checks form and ranges, not whether netdevs exist.
Result<Config> load_config(const std::string& path);
// text: a file's content; name: what errors call it.
Result<Config> parse_config(std::string_view text, const std::string& name);
// What is different, in the file's words: "[keep]", "port eth1 (new)". Empty: nothing.
std::vector<std::string> changes(const Config& before, const Config& after);

}  // namespace millrace::dataplane
