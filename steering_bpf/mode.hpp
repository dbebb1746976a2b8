// SPDX-License-Identifier: BSD-3-Clause
// Where in the receive path XDP runs.
#pragma once

#include <cstdint>
#include <string_view>

namespace millrace::steering {

enum class Mode : uint8_t {
    automatic,  // only to ask for: native, or generic where the driver has no native XDP
    native,     // in the driver
    generic,    // in the stack, on socket buffers
    offload,    // in the NIC; never asked for, but found on a port
};

constexpr std::string_view name(Mode mode) {
    constexpr std::string_view names[] = {"auto", "native", "generic", "offload"};
    return names[static_cast<unsigned>(mode)];
}

}  // namespace millrace::steering
