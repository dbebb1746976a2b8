// SPDX-License-Identifier: BSD-3-Clause
// A routing table as an edge router of 2026 has it: 1.2 M IPv4 and 300 k IPv6 prefixes, made up from a seed.
//
// The model. Lengths are drawn from the mix of real tables (half of IPv6 is /48, 62 % of IPv4 is /24).
// Address space is given out in allocations, IPv4 /12 to /22 anywhere in unicast space, IPv6 /29 and /32 side
// by side in the regional registries' blocks. What is longer than an allocation lies within one: some
// announce one more-specific, few announce thousands (the choice is Zipf-like), mostly in runs of neighbours.
// An allocation has a home next hop, Zipf-like among all, which three of four of its prefixes have.
//
// The harsher model scatters the same lengths over unicast space at random, next hops too: nothing is
// neighbour to anything, and hardly anything compresses.
#pragma once

#include <cstdint>
#include <random>
#include <utility>
#include <vector>

#include "millrace/types.hpp"

namespace millrace::test {

struct FullTableOptions {
    Family family = Family::ipv4;
    size_t prefixes = 1'200'000;
    uint32_t next_hops = 2048;
    uint64_t seed = 1;
    bool uniform = false;  // the harsher model
};

// Different prefixes in random order; the values are 1 .. next_hops.
std::vector<std::pair<Prefix, uint32_t>> full_table(const FullTableOptions& options);

// 1 .. n, the small ones more often: P(k) is about 1 / (k ln n).
uint32_t zipf(std::mt19937_64& random, uint32_t n);

}  // namespace millrace::test
