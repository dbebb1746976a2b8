// SPDX-License-Identifier: BSD-3-Clause
#include "fib_sync/show.hpp"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "messages.hpp"
#include "recording_sink.hpp"

namespace millrace::sync::test {
namespace {

using nlohmann::json;

class Unheard : public NeighbourRequests {
    bool submit(const NeighbourRequest&) override { return true; }
};

class ShowTest : public testing::Test {
  protected:
    ShowTest() {
        bench_.apply({neighbour(e0, "192.0.2.1", 1), neighbour(e0, "2001:db8::9", 9, NUD_STALE),
                      neighbour(e1, "192.0.2.77", 7, NUD_FAILED), object(5, via("192.0.2.1", e0)),
                      by_id("10.0.0.0/8", 5), route("192.0.2.0/24", {on(e0)}),
                      route("10.9.0.0/16", {via("192.0.2.1", e0), via("192.0.2.77", e1, 3)}, 7),
                      typed("10.66.0.0/16", RTN_BLACKHOLE), route("2001:db8::/64", {on(e0)}, 256),
                      route("2001:db8:1::/48", {via("192.0.2.77", e1)}, 20)});
    }
    static std::vector<json> rows(const RowOpener& open, const ShowArguments& arguments = {}) {
        auto source = open(arguments);
        EXPECT_TRUE(source.has_value());
        std::vector<json> all;
        std::string row;
        while ((*source)->next(row)) {
            EXPECT_EQ(row.find('\n'), std::string::npos);
            all.push_back(json::parse(row));
        }
        return all;
    }
    Bench<RecordingSink> bench_;
    Unheard requests_;
    NeighbourCare care_{bench_.mirror, bench_.sink, requests_, true};
};

TEST_F(ShowTest, Routes) {
    const auto all = rows(show_routes(bench_.mirror));
    std::map<std::string, json> by_prefix;
    for (const json& row : all) {
        by_prefix[row["prefix"]] = row;
    }
    ASSERT_EQ(all.size(), 8U);
    const auto group_of = [&](const char* prefix) { return raw(bench_.sink.group_of(prefix)); };
    EXPECT_EQ(
        by_prefix["10.0.0.0/8"],
        json::parse(fmt::format(
            R"({{"family":"ipv4","prefix":"10.0.0.0/8","outcome":"forward","reason":"forwarded","protocol":"bgp","metric":20,"nexthop_id":5,"group":{},"via":[{{"gateway":"192.0.2.1","interface":"e0","weight":1,"usable":true}}]}})",
            group_of("10.0.0.0/8"))));
    EXPECT_EQ(by_prefix["10.9.0.0/16"]["outcome"], "forward");
    EXPECT_EQ(by_prefix["10.9.0.0/16"]["nexthop_id"], nullptr);
    EXPECT_EQ(by_prefix["10.9.0.0/16"]["via"][1],
              json::parse(R"({"gateway":"192.0.2.77","interface":"e1","weight":3,"usable":false})"));
    EXPECT_EQ(by_prefix["10.66.0.0/16"]["outcome"], "drop");
    EXPECT_EQ(by_prefix["10.66.0.0/16"]["reason"], "drop_blackhole");
    EXPECT_EQ(by_prefix["192.0.2.0/24"]["outcome"], "glean");
    EXPECT_EQ(by_prefix["192.0.2.0/24"]["via"][0]["gateway"], nullptr);
    EXPECT_EQ(by_prefix["192.0.2.1/32"]["protocol"], "neighbor");
    EXPECT_EQ(by_prefix["2001:db8::9/128"]["protocol"], "neighbor");
    EXPECT_EQ(by_prefix["2001:db8:1::/48"]["outcome"], "punt") << "its only member is not usable";
    EXPECT_EQ(by_prefix["2001:db8:1::/48"]["reason"], "punt_no_neighbour");
}

TEST_F(ShowTest, RoutesSelected) {
    const auto open = show_routes(bench_.mirror);
    EXPECT_EQ(rows(open, {{"family", "ipv4"}}).size(), 5U);
    EXPECT_EQ(rows(open, {{"family", "ipv6"}}).size(), 3U);
    EXPECT_EQ(rows(open, {{"prefix", "10.9.0.0/16"}}).size(), 1U);
    EXPECT_EQ(rows(open, {{"prefix", "10.9.1.0/24"}}).size(), 0U);
    EXPECT_EQ(rows(open, {{"prefix", "10.9.0.0/16"}, {"family", "ipv6"}}).size(), 0U);
    EXPECT_FALSE(open({{"prefix", "10.9.0.1/16"}}).has_value());
    EXPECT_FALSE(open({{"prefix", "ten"}}).has_value());
    EXPECT_FALSE(open({{"family", "ipx"}}).has_value());
}

TEST_F(ShowTest, TableMayChangeWhileShown) {
    auto source = show_routes(bench_.mirror)({});
    std::string row;
    ASSERT_TRUE((*source)->next(row));
    ASSERT_EQ(json::parse(row)["prefix"], "10.0.0.0/8");
    bench_.apply({removed(by_id("10.0.0.0/8", 5)),
                  removed(route("10.9.0.0/16", {via("192.0.2.1", e0), via("192.0.2.77", e1, 3)}, 7))});
    ASSERT_TRUE((*source)->next(row));
    EXPECT_EQ(json::parse(row)["prefix"], "10.66.0.0/16");
}

TEST_F(ShowTest, Nexthops) {
    std::map<std::string, int> outcomes;
    for (const json& row : rows(show_nexthops(bench_.mirror))) {
        ++outcomes[row["outcome"]];
        EXPECT_GE(row["routes"], 1);
        if (row["nexthop_id"] == 5) {
            EXPECT_EQ(row["members"][0]["gateway"], "192.0.2.1");
        }
    }
    // The object and the host route of 192.0.2.1 are groups of their own.
    EXPECT_EQ(outcomes, (std::map<std::string, int>{{"drop", 1}, {"forward", 4}, {"glean", 1}, {"punt", 1}}));
}

TEST_F(ShowTest, Neighbors) {
    for (uint64_t now = 0; now < 1000; now += 10) {
        care_.tick(now);
    }
    const auto all = rows(show_neighbors(bench_.mirror, care_));
    ASSERT_EQ(all.size(), 3U);
    EXPECT_EQ(
        all[0],
        json::parse(
            R"({"address":"192.0.2.1","interface":"e0","mac":"02:00:00:00:00:01","state":"reachable","usable":true,"host_route":true,"care":"managed"})"));
    EXPECT_EQ(all[1]["state"], "failed");
    EXPECT_EQ(all[1]["usable"], false);
    EXPECT_EQ(all[1]["host_route"], false);
    EXPECT_EQ(all[2]["state"], "stale");
    EXPECT_EQ(all[2]["care"], nullptr);
    EXPECT_EQ(rows(show_neighbors(bench_.mirror, care_), {{"family", "ipv6"}}).size(), 1U);
}

TEST_F(ShowTest, Sync) {
    RecordingSink sink;
    const auto sync = FibSync::create(sink, {"e0"});
    ASSERT_TRUE(sync.has_value()) << sync.error().text();
    const auto all = rows(show_sync(**sync));
    ASSERT_EQ(all.size(), 1U);
    EXPECT_EQ(all[0]["state"], "idle");
    EXPECT_EQ(all[0]["resyncs"], 0);
    EXPECT_EQ(all[0]["prefixes"], 0);
    EXPECT_EQ(all[0]["neighbor_requests"], 0);
    EXPECT_EQ(all[0]["neighbor_requests_refused"], 0);
}

}  // namespace
}  // namespace millrace::sync::test
