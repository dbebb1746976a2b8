// SPDX-License-Identifier: BSD-3-Clause
// How to ask the kernel about one prefix: it is asked for routes to addresses. Control thread only.
#pragma once

#include <optional>

#include "fib_sync/mirror.hpp"

namespace millrace::sync {

// The first address of the prefix that no longer prefix of the kernel covers. nullopt where there is none,
// where it is too hard to find, and where the kernel does not route by its tables alone.
[[nodiscard]] std::optional<IpAddress> question_about(const Mirror& mirror, const Prefix& prefix);

}  // namespace millrace::sync
