// SPDX-License-Identifier: BSD-3-Clause
#include "fib_sync/metrics.hpp"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "fib_sync/show.hpp"
#include "messages.hpp"
#include "recording_sink.hpp"

namespace millrace::sync::test {
namespace {

using nlohmann::json;

class PrefixCountsTest : public testing::Test {
  protected:
    PrefixCountsTest() {
        bench_.apply(
            {neighbour(e0, "192.0.2.1", 1), route("192.0.2.0/24", {on(e0)}),
             route("10.1.0.0/16", {via("192.0.2.1", e0)}), route("10.2.0.0/16", {via("192.0.2.1", e0)}),
             route("10.3.0.0/16", {via("192.0.2.9", e0)}), typed("10.66.0.0/16", RTN_BLACKHOLE),
             route("2001:db8::/64", {on(e0)}, 256), route("2001:db8:1::/48", {via("192.0.2.1", e0)}, 20)});
    }
    // As 'millrace show routes --count' has them.
    json shown(Family family) {
        auto source =
            show_routes(bench_.mirror)({{"count", "true"}, {"family", std::string(family_name(family))}});
        std::string row;
        EXPECT_EQ((*source)->next(row), RowSource::Step::row);
        return json::parse(row);
    }
    void expect_as_shown(const PrefixCounts::Counts* counts) {
        ASSERT_NE(counts, nullptr);
        for (const Family family : {Family::ipv4, Family::ipv6}) {
            const json row = shown(family);
            for (size_t o = 0; o < outcome_count; ++o) {
                EXPECT_EQ(counts->by_outcome.at(family == Family::ipv6 ? 1 : 0).at(o),
                          row[std::string(name(static_cast<Outcome>(o)))])
                    << family_name(family) << " " << name(static_cast<Outcome>(o));
            }
        }
    }
    Bench<RecordingSink> bench_;
};

TEST_F(PrefixCountsTest, AreThoseOfTheShow) {
    ASSERT_GE(shown(Family::ipv4)["forward"], 3);
    PrefixCounts counts(bench_.mirror);
    expect_as_shown(counts.step());
    bench_.apply({route("10.4.0.0/16", {via("192.0.2.1", e0)})});
    expect_as_shown(counts.step());
}

TEST_F(PrefixCountsTest, ALongTableIsCountedInSteps) {
    const size_t groups = bench_.mirror.groups().all().size();
    ASSERT_GE(groups, 3U);
    PrefixCounts counts(bench_.mirror, 1);
    for (size_t i = 1; i < groups; ++i) {
        EXPECT_EQ(counts.step(), nullptr);
    }
    expect_as_shown(counts.step());
    EXPECT_NE(counts.step(), nullptr) << "the last whole round stays";
}

}  // namespace
}  // namespace millrace::sync::test
