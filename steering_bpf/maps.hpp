// SPDX-License-Identifier: BSD-3-Clause
// The maps of one port as the ABI has them, and reading them. Internal to steering_bpf. Any thread.
#pragma once

#include <linux/bpf.h>

#include <array>
#include <cstdint>
#include <set>
#include <string>

#include "millrace/abi.h"
#include "millrace/result.hpp"
#include "steering_bpf/attach.hpp"
#include "steering_bpf/fd.hpp"

namespace millrace::steering {

enum class MapId : uint8_t {
    xsks,
    config,
    heartbeat,
    counters,
    local4,
    local6,
    keep4,
    keep6,
    keep_l4,
    judgement,
    firewall,
    state
};
inline constexpr size_t map_count = 12;

struct MapSpec {
    const char* name;
    bpf_map_type type;
    uint32_t key_size;
    uint32_t value_size;
    uint32_t entries;
};

// In the order of MapId.
inline constexpr std::array<MapSpec, map_count> map_specs = {{
    {MILLRACE_MAP_XSKS, BPF_MAP_TYPE_XSKMAP, 4, 4, MILLRACE_MAX_QUEUES},
    {MILLRACE_MAP_CONFIG, BPF_MAP_TYPE_ARRAY, 4, sizeof(millrace_steer_config), 1},
    {MILLRACE_MAP_HEARTBEAT, BPF_MAP_TYPE_ARRAY, 4, sizeof(millrace_heartbeat), 1},
    {MILLRACE_MAP_COUNTERS, BPF_MAP_TYPE_PERCPU_ARRAY, 4, sizeof(millrace_steer_counter),
     MILLRACE_STEER_REASON_COUNT},
    {MILLRACE_MAP_LOCAL4, BPF_MAP_TYPE_ARRAY_OF_MAPS, 4, 4, 1},
    {MILLRACE_MAP_LOCAL6, BPF_MAP_TYPE_ARRAY_OF_MAPS, 4, 4, 1},
    {MILLRACE_MAP_KEEP4, BPF_MAP_TYPE_LPM_TRIE, sizeof(millrace_lpm4), 1, MILLRACE_MAX_KEEP},
    {MILLRACE_MAP_KEEP6, BPF_MAP_TYPE_LPM_TRIE, sizeof(millrace_lpm6), 1, MILLRACE_MAX_KEEP},
    {MILLRACE_MAP_KEEP_L4, BPF_MAP_TYPE_ARRAY, 4, sizeof(uint64_t), MILLRACE_KEEP_L4_WORDS},
    {MILLRACE_MAP_JUDGEMENT, BPF_MAP_TYPE_ARRAY, 4, sizeof(millrace_judgement), 1},
    {MILLRACE_MAP_FIREWALL, BPF_MAP_TYPE_ARRAY, 4, sizeof(millrace_firewall), 1},
    {MILLRACE_MAP_STATE, BPF_MAP_TYPE_ARRAY, 4, sizeof(millrace_port_state), 1},
}};

constexpr const MapSpec& spec(MapId id) {
    return map_specs[static_cast<size_t>(id)];
}

// The map pinned in dir. Error: not there, or not of the type and size that this build knows.
Result<Fd> open_map(const std::string& dir, MapId id);

// A key of a trie: as many bytes as the map's keys have, then zeros. The value says nothing.
using MapKey = std::array<uint8_t, sizeof(millrace_lpm6)>;
inline constexpr uint8_t key_present = 1;
// Makes the keys of a map those wanted. The old go first, to make room; a key in both is never missing.
// Returns an errno, 0 = done.
int replace_keys(int fd, const std::set<MapKey>& wanted);

Result<millrace_steer_config> read_config(int fd);
Result<Counters> read_counters(int fd);  // summed over the CPUs

}  // namespace millrace::steering
