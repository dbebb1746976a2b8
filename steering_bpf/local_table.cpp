// SPDX-License-Identifier: BSD-3-Clause
#include "steering_bpf/local_table.hpp"

#include <bpf/bpf.h>

#include <algorithm>
#include <cerrno>
#include <vector>

namespace millrace::steering {
namespace {

constexpr uint32_t growth = 4;
constexpr uint32_t batch = 4096;  // entries; more than ever share a bucket
constexpr uint8_t present = 1;    // the value says nothing

}  // namespace

Result<LocalTable> LocalTable::create(Family family, uint32_t most) {
    LocalTable table(family, most);
    table.entries_ = std::min<uint32_t>(MILLRACE_FIRST_LOCAL, most);
    auto map = table.make_map(table.entries_);
    if (!map) {
        return tl::unexpected(map.error());
    }
    table.map_ = std::move(*map);
    return table;
}

Result<Fd> LocalTable::make_map(uint32_t entries) const {
    LIBBPF_OPTS(bpf_map_create_opts, options);
    options.map_flags = BPF_F_NO_PREALLOC;  // as the classifier's template: see maps.bpf.h
    Fd map(bpf_map_create(BPF_MAP_TYPE_HASH, family_ == Family::ipv4 ? "own4" : "own6",
                          family_ == Family::ipv4 ? 4 : 16, sizeof(present), entries, &options));
    if (!map) {
        return fail(fmt::format("no room for a table of {} own {} addresses", entries, family_name()), errno);
    }
    return map;
}

Status LocalTable::copy_to(int map) const {
    const size_t width = family_ == Family::ipv4 ? 4 : 16;
    std::vector<uint8_t> keys(batch * width);
    std::vector<uint8_t> values(batch);
    uint32_t position = 0;
    for (bool first = true, last = false; !last; first = false) {
        uint32_t count = batch;
        if (bpf_map_lookup_batch(map_.get(), first ? nullptr : &position, &position, keys.data(),
                                 values.data(), &count, nullptr) != 0) {
            last = errno == ENOENT;
            if (!last) {
                return fail(fmt::format("cannot read the own {} addresses", family_name()), errno);
            }
        }
        if (count != 0 && bpf_map_update_batch(map, keys.data(), values.data(), &count, nullptr) != 0) {
            return fail(fmt::format("no room for the own {} addresses in a bigger table", family_name()),
                        errno);
        }
    }
    return {};
}

Status LocalTable::grow() {
    if (entries_ == most_) {
        return fail(fmt::format("the router has more than {} {} addresses", most_, family_name()));
    }
    const uint32_t entries = entries_ > most_ / growth ? most_ : entries_ * growth;
    auto map = make_map(entries);
    if (!map) {
        return tl::unexpected(map.error());
    }
    if (auto copied = copy_to(map->get()); !copied) {
        return copied;
    }
    map_ = std::move(*map);
    entries_ = entries;
    ++generation_;
    return {};
}

Status LocalTable::add(const IpAddress& address) {
    if (size_ == entries_) {
        uint8_t value = 0;
        if (bpf_map_lookup_elem(map_.get(), address.bytes.data(), &value) == 0) {
            return {};
        }
        if (auto bigger = grow(); !bigger) {
            return bigger;
        }
    }
    if (bpf_map_update_elem(map_.get(), address.bytes.data(), &present, BPF_NOEXIST) == 0) {
        ++size_;
        return {};
    }
    return errno == EEXIST ? Status{}
                           : fail(fmt::format("own {} addresses: the kernel stores no more than {}",
                                              family_name(), size_),
                                  errno);
}

Status LocalTable::remove(const IpAddress& address) {
    if (bpf_map_delete_elem(map_.get(), address.bytes.data()) == 0) {
        --size_;
        return {};
    }
    return errno == ENOENT ? Status{}
                           : fail(fmt::format("own address {}: cannot remove", address.text()), errno);
}

}  // namespace millrace::steering
