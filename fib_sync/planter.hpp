// SPDX-License-Identifier: BSD-3-Clause
// For drills: differences between kernel, mirror and fast path that nobody was told of, for the audit to
// find. Control thread only.
#pragma once

#include <string>
#include <string_view>

#include "fib_sync/mirror.hpp"
#include "millrace/result.hpp"
#include "millrace/sink.hpp"

namespace millrace::sync {

// Kinds: fib, fib-group: the sink is told behind the mirror's back; mirror, mirror-route: the mirror is told
// of a change that the kernel did not make. What was done, in a line. Error: no such kind or prefix.
[[nodiscard]] Result<std::string> plant_difference(Mirror& mirror, ForwardingSink& sink,
                                                   std::string_view kind, const Prefix& prefix);

}  // namespace millrace::sync
