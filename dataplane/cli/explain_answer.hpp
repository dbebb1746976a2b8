// SPDX-License-Identifier: BSD-3-Clause
// What was found out about a packet, put together. Pure; any thread.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

namespace millrace::cli {

using Answer = nlohmann::ordered_json;

// Exit status; the manual's.
enum ExplainCode : int {
    explain_fast_path = 0,
    explain_not_known = 1,
    explain_kernel = 3,  // it handles it
    explain_differs = 4,
    explain_dropped = 5,
};

// Parts, each with "error" (one line) in the place of all else where it can't be known:
//   classifier {"reason","text","left_out"}   what the port's classifier says; left_out: a line, or null
//   workers    as `show explain` has it (dataplane/daemon/explain.hpp)
//   kernel     {"type","device","gateway","table","refused"}; null where there is nothing to be asked.
//   refused:
//              in words, and "errno"
// Adds "verdict" ("fast path", "kernel", "dropped", "not known"), "why" and "differs" (one line each, or
// null).
ExplainCode judge(Answer& answer);

// Step by step, a line for each.
std::string explain_text(const Answer& answer);

}  // namespace millrace::cli
