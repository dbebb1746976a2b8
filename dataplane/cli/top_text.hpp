// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <string>

#include "dataplane/cli/rates.hpp"

namespace millrace::cli {

// Three significant digits and a power of 1000: "0", "0.5", "12", "1.23k", "45.6M". At most five characters.
std::string short_number(double value);

// Three tables, of at most 80 columns: ports, workers, reasons.
std::string top_text(const Rates& rates);

}  // namespace millrace::cli
