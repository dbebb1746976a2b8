// SPDX-License-Identifier: BSD-3-Clause
#include "steering_bpf/state.hpp"

#include <bpf/bpf.h>
#include <fmt/core.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <vector>

#include "steering_bpf/fd.hpp"

namespace millrace::steering {
namespace {

constexpr uint32_t first_key = 0;
constexpr uint32_t most_bytes = 4096;

// Bytes of an entry; 0: no map of this kind.
uint32_t entry_size(int map) {
    bpf_map_info info{};
    uint32_t size = sizeof(info);
    const bool known = bpf_obj_get_info_by_fd(map, &info, &size) == 0 && info.type == BPF_MAP_TYPE_ARRAY &&
                       info.value_size <= most_bytes;
    return known ? info.value_size : 0;
}

Fd pinned_state(const std::string& dir) {
    return Fd(bpf_obj_get((dir + "/" MILLRACE_MAP_STATE).c_str()));
}

}  // namespace

millrace_port_state read_state(const std::string& dir) {
    millrace_port_state state{};
    const Fd map = pinned_state(dir);
    std::vector<std::byte> entry(map ? entry_size(map.get()) : 0);
    if (!entry.empty() && bpf_map_lookup_elem(map.get(), &first_key, entry.data()) == 0) {
        std::memcpy(&state, entry.data(), std::min(entry.size(), sizeof(state)));
    }
    return state;
}

Status write_state(int map, const std::string& port, const millrace_port_state& state) {
    std::vector<std::byte> entry(entry_size(map));
    std::memcpy(entry.data(), &state, std::min(entry.size(), sizeof(state)));
    return !entry.empty() && bpf_map_update_elem(map, &first_key, entry.data(), BPF_ANY) == 0
               ? Status{}
               : fail(fmt::format("port {}: " MILLRACE_MAP_STATE ": cannot write", port), errno);
}

Status write_state(const std::string& dir, const std::string& port, const millrace_port_state& state) {
    const Fd map = pinned_state(dir);
    return map ? write_state(map.get(), port, state) : Status{};
}

bool in_place(const millrace_port_state& state, uint32_t program_id) {
    return state.abi == MILLRACE_ABI_ID && program_id != 0 &&
           (state.program == program_id || state.next == program_id);
}

}  // namespace millrace::steering
