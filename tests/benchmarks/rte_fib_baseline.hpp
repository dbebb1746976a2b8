// SPDX-License-Identifier: BSD-3-Clause
// DPDK's own FIBs with 4-byte next hops, as what ours is measured against.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "millrace/types.hpp"

struct rte_fib;
struct rte_fib6;

namespace millrace::test {

// Starts the EAL on memory without hugetlbfs, as the daemon does, that is backed by transparent huge pages
// all the same, and lets DPDK use AVX-512. Ends the program when that fails.
void start_eal(size_t megabytes);

class RteFib {
  public:
    enum class Lookup { scalar, avx512 };

    RteFib(Family family, std::span<const std::pair<Prefix, uint32_t>> table);
    ~RteFib();
    RteFib(const RteFib&) = delete;
    RteFib& operator=(const RteFib&) = delete;

    // Routes that it had no room for.
    [[nodiscard]] size_t refused() const { return refused_; }
    // false: not on this CPU, or not in this DPDK.
    bool select(Lookup lookup);
    // Keys are what rte_fib takes: IPv4 addresses in host order, IPv6 ones as 16 bytes.
    using Key6 = std::array<uint8_t, 16>;
    void lookup_bulk(const uint32_t* keys, uint64_t* out, unsigned count) const;
    void lookup_bulk(const Key6* keys, uint64_t* out, unsigned count) const;

  private:
    rte_fib* fib4_ = nullptr;
    rte_fib6* fib6_ = nullptr;
    size_t refused_ = 0;
};

}  // namespace millrace::test
