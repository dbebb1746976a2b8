// SPDX-License-Identifier: BSD-3-Clause
#include "dataplane/fib/bucket_layout.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <random>
#include <vector>

namespace millrace::dataplane {
namespace {

using Members = std::vector<GroupMember>;

std::vector<uint32_t> laid_out(const Members& members) {
    std::vector<uint32_t> owners(buckets_per_group);
    lay_out(members, owners.data());
    return owners;
}

// Keys that differ as little as those of neighbouring gateways do.
Members members_of(const std::vector<uint32_t>& weights, uint64_t first_key = 1) {
    Members out;
    for (const uint32_t w : weights) {
        const auto n = static_cast<uint32_t>(out.size());
        out.push_back({AdjacencyId{n + 1}, w, first_key + n});
    }
    return out;
}

std::map<uint32_t, double> shares(const Members& members) {
    std::map<uint32_t, double> out;
    for (const uint32_t owner : laid_out(members)) {
        out[owner] += 1.0 / buckets_per_group;
    }
    return out;
}

void expect_moves_only(const std::vector<uint32_t>& before, const std::vector<uint32_t>& after,
                       const std::vector<uint32_t>& from) {
    for (size_t b = 0; b < before.size(); ++b) {
        if (std::find(from.begin(), from.end(), before[b]) == from.end()) {
            ASSERT_EQ(after[b], before[b]) << "bucket " << b;
        }
    }
}

TEST(BucketLayout, SharesFollowTheWeightsWhateverTheKeys) {
    const std::vector<std::vector<uint32_t>> cases = {{1, 1},
                                                      {1, 3},
                                                      {1, 2, 3, 4},
                                                      {10, 20, 70},
                                                      {256, 1},
                                                      {65536, 65536},
                                                      {65536, 32768, 1},
                                                      std::vector<uint32_t>(3, 1),
                                                      std::vector<uint32_t>(7, 5),
                                                      std::vector<uint32_t>(16, 1),
                                                      std::vector<uint32_t>(64, 1)};
    for (const auto& weights : cases) {
        double total = 0;
        for (const uint32_t w : weights) {
            total += w;
        }
        for (uint64_t key = 1; key < 50 * 64; key += 64) {
            auto share = shares(members_of(weights, key));
            for (uint32_t i = 0; i < weights.size(); ++i) {
                // Five standard deviations.
                ASSERT_NEAR(share[i + 1], weights[i] / total, 0.017)
                    << weights.size() << " members, member " << i << ", keys from " << key;
            }
        }
    }
}

TEST(BucketLayout, OrderOfTheMembersDoesNotMatter) {
    Members members = members_of({1, 2, 3, 4, 5});
    const auto before = laid_out(members);
    std::reverse(members.begin(), members.end());
    EXPECT_EQ(laid_out(members), before);
}

TEST(BucketLayout, AMemberGivenTwiceCountsTwice) {
    Members members = members_of({2, 1});
    const auto before = laid_out(members);
    members[0].weight = 1;
    members.push_back(members[0]);
    EXPECT_EQ(laid_out(members), before);
}

TEST(BucketLayout, OnlyTheBucketsOfAMemberThatGoesMove) {
    std::mt19937 random(1);
    for (int run = 0; run < 100; ++run) {
        Members members = members_of(std::vector<uint32_t>(2 + random() % 9), random());
        for (auto& m : members) {
            m.weight = 1 + random() % 256;
        }
        const auto before = laid_out(members);
        const auto gone = static_cast<ptrdiff_t>(random() % members.size());
        const uint32_t id = raw(members[static_cast<size_t>(gone)].adjacency);
        members.erase(members.begin() + gone);
        const auto after = laid_out(members);
        expect_moves_only(before, after, {id});
        EXPECT_EQ(std::count(after.begin(), after.end(), id), 0);
        // A second one: what the first one left is not dealt out anew.
        const auto then = laid_out({members.begin() + 1, members.end()});
        if (members.size() > 1) {
            expect_moves_only(after, then, {raw(members.front().adjacency)});
        }
    }
}

TEST(BucketLayout, MoreWeightTakesAndNothingElseMoves) {
    Members members = members_of({1, 1, 1});
    const auto before = laid_out(members);
    members[1].weight = 4;
    const auto after = laid_out(members);
    for (size_t b = 0; b < before.size(); ++b) {
        ASSERT_TRUE(after[b] == before[b] || after[b] == 2) << "bucket " << b;
    }
}

TEST(BucketLayout, RoutersInARowDoNotChooseAlike) {
    // What the first router sends to its second member, the second router still spreads over all of its own.
    const auto first = laid_out(members_of({1, 1}, 100));
    const auto second = laid_out(members_of({1, 1}, 200));
    double both = 0;
    double one = 0;
    for (size_t b = 0; b < first.size(); ++b) {
        one += first[b] == 2 ? 1 : 0;
        both += first[b] == 2 && second[b] == 2 ? 1 : 0;
    }
    EXPECT_NEAR(both / one, 0.5, 0.04);
}

}  // namespace
}  // namespace millrace::dataplane
