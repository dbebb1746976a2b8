// SPDX-License-Identifier: BSD-3-Clause
#include "steering_bpf/maps.hpp"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include <cerrno>
#include <vector>

namespace millrace::steering {

Result<Fd> open_map(const std::string& dir, MapId id) {
    const MapSpec& want = spec(id);
    const std::string path = fmt::format("{}/{}", dir, want.name);
    Fd fd(bpf_obj_get(path.c_str()));
    if (!fd) {
        return fail(fmt::format("{}: cannot open", path), errno);
    }
    bpf_map_info info{};
    uint32_t size = sizeof(info);
    if (bpf_obj_get_info_by_fd(fd.get(), &info, &size) != 0) {
        return fail(fmt::format("{}: no information", path), errno);
    }
    if (info.type != want.type || info.key_size != want.key_size || info.value_size != want.value_size ||
        info.max_entries != want.entries) {
        return fail(fmt::format(
            "{}: made by another version of millrace; 'millrace-steer attach' of this one replaces it",
            path));
    }
    return fd;
}

int replace_keys(int fd, const std::set<MapKey>& wanted) {
    std::set<MapKey> old;
    MapKey key{};
    const uint8_t* previous = nullptr;
    while (bpf_map_get_next_key(fd, previous, key.data()) == 0) {
        previous = old.insert(key).first->data();
    }
    if (errno != ENOENT) {
        return errno;
    }
    for (const MapKey& k : old) {
        if (!wanted.contains(k) && bpf_map_delete_elem(fd, k.data()) != 0 && errno != ENOENT) {
            return errno;
        }
    }
    for (const MapKey& k : wanted) {
        if (!old.contains(k) && bpf_map_update_elem(fd, k.data(), &key_present, BPF_ANY) != 0) {
            return errno;
        }
    }
    return 0;
}

Result<millrace_steer_config> read_config(int fd) {
    const uint32_t key = 0;
    millrace_steer_config config{};
    if (bpf_map_lookup_elem(fd, &key, &config) != 0) {
        return fail(MILLRACE_MAP_CONFIG ": cannot read", errno);
    }
    return config;
}

Result<Counters> read_counters(int fd) {
    const int cpus = libbpf_num_possible_cpus();
    if (cpus < 0) {
        return fail("cannot count the CPUs", -cpus);
    }
    Counters sums{};
    std::vector<millrace_steer_counter> row(static_cast<size_t>(cpus));
    for (uint32_t reason = 0; reason < sums.size(); ++reason) {
        if (bpf_map_lookup_elem(fd, &reason, row.data()) != 0) {
            return fail(MILLRACE_MAP_COUNTERS ": cannot read", errno);
        }
        for (const auto& cpu : row) {
            sums[reason].packets += cpu.packets;
            sums[reason].bytes += cpu.bytes;
        }
    }
    return sums;
}

}  // namespace millrace::steering
