// SPDX-License-Identifier: BSD-3-Clause
#include "dataplane/fib/bucket_layout.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <map>
#include <vector>

#include "dataplane/fib/shared.hpp"

namespace millrace::dataplane {
namespace {

constexpr uint32_t mask = buckets_per_group - 1;
constexpr unsigned half = 7;  // of the bits of a bucket's number
static_assert((buckets_per_group & mask) == 0);

// SplitMix64: near keys give unrelated numbers.
uint64_t next_random(uint64_t& state) {
    uint64_t z = (state += 0x9e3779b97f4a7c15ULL);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
    return z ^ (z >> 31);
}

// The number that a member draws for a bucket is its rank in a permutation of all buckets. Each rank is drawn
// once, so shares err less than they would with independent numbers (Latin hypercube sampling).
class Permutation {
  public:
    explicit Permutation(uint64_t key) {
        for (Round& round : rounds_) {
            const uint64_t random = next_random(key);
            round = {static_cast<uint32_t>(random) | 1U, static_cast<uint32_t>(random >> 32)};
        }
    }
    // Each step can be undone modulo a power of two, so no two buckets have one rank.
    [[nodiscard]] uint32_t rank(uint32_t bucket) const {
        uint32_t x = bucket;
        for (const Round& round : rounds_) {
            x = (x * round.factor + round.addend) & mask;
            x ^= x >> half;
        }
        return x;
    }

  private:
    struct Round {
        uint32_t factor;
        uint32_t addend;
    };
    std::array<Round, 4> rounds_{};
};

// An exponentially distributed time for each rank. The first of several such clocks, each as fast as its
// weight, is a given one with a probability of its share of the weights.
const std::array<float, buckets_per_group>& times() {
    static const auto table = [] {
        std::array<float, buckets_per_group> t{};
        for (uint32_t rank = 0; rank < buckets_per_group; ++rank) {
            t[rank] = static_cast<float>(-std::log((rank + 0.5) / buckets_per_group));
        }
        return t;
    }();
    return table;
}

}  // namespace

void lay_out(std::span<const GroupMember> members, uint32_t* owners) {
    // By key: what order the members come in does not matter.
    std::map<uint64_t, std::pair<uint32_t, uint64_t>> by_key;  // -> adjacency, weight
    for (const GroupMember& m : members) {
        auto& [adjacency, weight] = by_key[m.key];
        adjacency = raw(m.adjacency);
        weight += m.weight;
    }
    std::vector<float> best(buckets_per_group, std::numeric_limits<float>::max());
    std::vector<uint32_t> owner(buckets_per_group);
    const auto& time = times();
    for (const auto& [key, member] : by_key) {
        const Permutation permutation(key);
        const float slowness = 1.0F / static_cast<float>(member.second);
        for (uint32_t b = 0; b < buckets_per_group; ++b) {
            const float t = time[permutation.rank(b)] * slowness;
            // Without a branch: the processor could not foretell it.
            const uint32_t better = 0U - static_cast<uint32_t>(t < best[b]);
            owner[b] ^= (owner[b] ^ member.first) & better;
            best[b] = std::min(best[b], t);
        }
    }
    for (uint32_t b = 0; b < buckets_per_group; ++b) {
        store_shared(owners[b], owner[b]);
    }
}

}  // namespace millrace::dataplane
