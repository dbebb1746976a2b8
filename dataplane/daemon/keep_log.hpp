// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <span>

#include "millrace/keep.hpp"

namespace millrace::dataplane {

// Tells the operator what is left to the kernel now and was not before, and the other way round. Control
// thread.
void log_change(std::span<const Keep> before, std::span<const Keep> now);

}  // namespace millrace::dataplane
