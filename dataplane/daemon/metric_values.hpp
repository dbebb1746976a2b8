// SPDX-License-Identifier: BSD-3-Clause
// What the lists of metrics say values with.
#pragma once

#include <cstddef>
#include <cstdint>

#include "millrace/types.hpp"

namespace millrace::dataplane {

inline constexpr double ns_per_s = 1e9;

inline PortId port_id(size_t i) {
    return PortId{static_cast<uint16_t>(i)};
}

inline double number(uint64_t n) {
    return static_cast<double>(n);
}

}  // namespace millrace::dataplane
