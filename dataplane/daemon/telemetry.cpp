// SPDX-License-Identifier: BSD-3-Clause
#include "dataplane/daemon/telemetry.hpp"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <cctype>
#include <mutex>

#include "dataplane/port/dpdk_compat.hpp"

namespace millrace::dataplane {

namespace {

// DPDK's callback has no argument of ours, and can't be unregistered.
std::mutex mutex;
const Running* registered = nullptr;  // guarded by mutex

// Runs on DPDK's telemetry thread; reads counters only.
int counters(const char*, const char*, rte_tel_data* out) {
    const std::lock_guard lock(mutex);
    if (registered == nullptr) {
        return -1;
    }
    rte_tel_data_start_dict(out);
    for (size_t p = 0; p < registered->ports.size(); ++p) {
        rte_tel_data* reasons = rte_tel_data_alloc();
        if (reasons == nullptr) {
            return -1;
        }
        rte_tel_data_start_dict(reasons);
        for (unsigned r = 0; r < reason_count; ++r) {
            const auto reason = static_cast<Reason>(r);
            const uint64_t value = packets(*registered, PortId{static_cast<uint16_t>(p)}, reason);
            compat::telemetry_add(reasons, std::string(name(reason)).c_str(), value);
        }
        // DPDK takes letters, digits, _ and / in names.
        std::string key = registered->ports[p].name();
        std::replace_if(
            key.begin(), key.end(), [](unsigned char c) { return std::isalnum(c) == 0; }, '_');
        if (rte_tel_data_add_dict_container(out, key.c_str(), reasons, 0) != 0) {
            rte_tel_data_free(reasons);
        }
    }
    return 0;
}

}  // namespace

Telemetry::Telemetry(const Running& running) {
    {
        const std::lock_guard lock(mutex);
        registered = &running;
    }
    if (rte_telemetry_register_cmd("/millrace/counters", counters,
                                   "Packets by ingress port and reason. Takes no parameters") != 0) {
        spdlog::warn("DPDK telemetry: /millrace/counters could not be registered");
    }
}

Telemetry::~Telemetry() {
    const std::lock_guard lock(mutex);
    registered = nullptr;
}

}  // namespace millrace::dataplane
