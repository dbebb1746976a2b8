// SPDX-License-Identifier: BSD-3-Clause
// A configuration file: it is read, or refused in one line that names it.
#include <cstdio>
#include <cstdlib>

#include "dataplane/config/config_file.hpp"

using namespace millrace;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    const std::string_view text(reinterpret_cast<const char*>(data), size);
    const auto config = dataplane::parse_config(text, "the-file");
    if (!config) {
        const std::string line = config.error().text();
        if (!line.starts_with("the-file") || line.find('\n') != std::string::npos) {
            std::fprintf(stderr, "not one line about the file: %s\n", line.c_str());
            std::abort();
        }
    }
    return 0;
}
