// SPDX-License-Identifier: BSD-3-Clause
// Rows of a `show`: JSON objects, one for each line, made on demand so that a table of a million rows is
// never held in memory as text.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>

#include "millrace/result.hpp"

namespace millrace {

class RowSource {
  public:
    virtual ~RowSource() = default;
    enum class Step : uint8_t {
        row,    // row is the next JSON object; no newline in it
        later,  // no row yet, and some milliseconds of work done: other work comes first
        end,
    };
    // Control thread; the table may change between two calls, a row is never shown half-changed.
    virtual Step next(std::string& row) = 0;
};

// Parameters of a show request: names and values as the operator gave them.
using ShowArguments = std::map<std::string, std::string, std::less<>>;
// Opens a source; an Error is shown to the operator as it is.
using RowOpener = std::function<Result<std::unique_ptr<RowSource>>(const ShowArguments&)>;

}  // namespace millrace
