// SPDX-License-Identifier: BSD-3-Clause
// What differs between the DPDK releases that we build with (22.11 to 24.11), found by asking for the
// function, not for the version. Nowhere else.
#pragma once

#include <rte_config.h>
#include <rte_telemetry.h>

#include <cstdint>

namespace millrace::dataplane::compat {

// Called rte_tel_data_add_dict_u64 before 23.03.
template <class Data>
int telemetry_add(Data* dict, const char* key, uint64_t value) {
    if constexpr (requires { rte_tel_data_add_dict_uint(dict, key, value); }) {
        return rte_tel_data_add_dict_uint(dict, key, value);
    } else {
        return rte_tel_data_add_dict_u64(dict, key, value);
    }
}

}  // namespace millrace::dataplane::compat
