// SPDX-License-Identifier: BSD-3-Clause
// The classifier's verdict, said once more without maps, pointers and a verifier to please: from the promise
// that the kernel gets all but plain transit, and the order of the reasons in millrace/abi.h.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "millrace/abi.h"
#include "millrace/config.hpp"
#include "millrace/types.hpp"

namespace millrace::test {

// How the classifier beside it is configured.
inline constexpr MacAddress model_mac{{0x02, 0, 0, 0, 0, 0x01}};
inline constexpr uint16_t model_max_frame = 1514;
const KeepConfig& model_policy();
const std::vector<IpAddress>& model_own_addresses();

// flags: MILLRACE_FLAG_*. frame: 14 bytes at least.
millrace_steer_reason model(std::span<const uint8_t> frame, uint32_t flags);

}  // namespace millrace::test
