// SPDX-License-Identifier: BSD-3-Clause
// The classifier's reasons as text: one row for each enum millrace_steer_reason, from the ABI's own list.
#pragma once

#include <array>
#include <string_view>

#include "millrace/abi.h"

namespace millrace::steering {

inline constexpr std::array<std::string_view, MILLRACE_STEER_REASON_COUNT> reason_names = {
#define MILLRACE_X(constant, name, text) name,
    MILLRACE_STEER_REASONS(MILLRACE_X)
#undef MILLRACE_X
};

inline constexpr std::array<std::string_view, MILLRACE_STEER_REASON_COUNT> reason_texts = {
#define MILLRACE_X(constant, name, text) text,
    MILLRACE_STEER_REASONS(MILLRACE_X)
#undef MILLRACE_X
};

}  // namespace millrace::steering
