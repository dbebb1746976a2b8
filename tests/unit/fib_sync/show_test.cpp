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
        for (auto step = (*source)->next(row); step != RowSource::Step::end; step = (*source)->next(row)) {
            if (step == RowSource::Step::row) {
                EXPECT_EQ(row.find('\n'), std::string::npos);
                all.push_back(json::parse(row));
            }
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
    bench_.apply({typed("10.9.1.0/24", RTN_BLACKHOLE), typed("10.10.0.0/16", RTN_PROHIBIT),
                  by_id("2001:db8:2::/48", 5), route("11.0.0.0/8", {via("192.0.2.1", e0)})});
    const std::pair<ShowArguments, std::vector<std::string>> cases[] = {
        {{{"family", "ipv4"}},
         {"10.0.0.0/8", "10.9.0.0/16", "10.9.1.0/24", "10.10.0.0/16", "10.66.0.0/16", "11.0.0.0/8",
          "192.0.2.0/24", "192.0.2.1/32"}},
        {{{"family", "ipv6"}}, {"2001:db8::/64", "2001:db8::9/128", "2001:db8:1::/48", "2001:db8:2::/48"}},
        {{{"prefix", "10.9.0.0/16"}}, {"10.9.0.0/16"}},
        {{{"prefix", "10.9.0.0/16"}, {"match", "exact"}}, {"10.9.0.0/16"}},
        {{{"prefix", "10.9.2.0/24"}}, {}},
        {{{"prefix", "10.9.0.0/16"}, {"match", "longer"}}, {"10.9.0.0/16", "10.9.1.0/24"}},
        {{{"prefix", "10.8.0.0/14"}, {"match", "longer"}}, {"10.9.0.0/16", "10.9.1.0/24", "10.10.0.0/16"}},
        {{{"prefix", "172.16.0.0/12"}, {"match", "longer"}}, {}},
        {{{"prefix", "::/0"}, {"match", "longer"}, {"outcome", "glean"}}, {"2001:db8::/64"}},
        {{{"lookup", "10.9.1.77"}}, {"10.9.1.0/24"}},
        {{{"lookup", "10.200.0.1"}}, {"10.0.0.0/8"}},
        {{{"lookup", "192.0.2.1"}}, {"192.0.2.1/32"}},
        {{{"lookup", "192.0.2.2"}}, {"192.0.2.0/24"}},
        {{{"lookup", "2001:db8::9"}, {"family", "ipv6"}}, {"2001:db8::9/128"}},
        {{{"lookup", "172.16.0.1"}}, {}},
        {{{"lookup", "10.9.1.77"}, {"outcome", "forward"}}, {}},
        {{{"outcome", "drop"}}, {"10.9.1.0/24", "10.66.0.0/16"}},
        {{{"outcome", "punt"}}, {"10.10.0.0/16", "2001:db8:1::/48"}},
        {{{"via", "192.0.2.77"}}, {"10.9.0.0/16", "2001:db8:1::/48"}},
        {{{"via", "e1"}, {"family", "ipv6"}}, {"2001:db8:1::/48"}},
        {{{"via", "e0"}, {"outcome", "glean"}}, {"192.0.2.0/24", "2001:db8::/64"}},
        {{{"via", "wan"}}, {}},
        {{{"nexthop_id", "5"}}, {"10.0.0.0/8", "2001:db8:2::/48"}},
        {{{"nexthop_id", "6"}}, {}},
        {{{"protocol", "neighbor"}}, {"192.0.2.1/32", "2001:db8::9/128"}},
        {{{"protocol", "bgp"}, {"prefix", "10.0.0.0/8"}, {"match", "longer"}, {"via", "192.0.2.1"}},
         {"10.0.0.0/8", "10.9.0.0/16"}},
        {{{"protocol", "186"}, {"nexthop_id", "5"}}, {"10.0.0.0/8", "2001:db8:2::/48"}},
        {{{"protocol", "ospf"}}, {}},
    };
    for (const auto& [arguments, wanted] : cases) {
        std::vector<std::string> shown;
        for (const json& row : rows(open, arguments)) {
            shown.push_back(row["prefix"]);
        }
        EXPECT_EQ(shown, wanted) << json(arguments);
        // The same, counted.
        ShowArguments counting = arguments;
        counting["count"] = "true";
        size_t routes = 0;
        for (const json& row : rows(open, counting)) {
            routes += row["routes"].get<size_t>();
            EXPECT_EQ(row["routes"], row["forward"].get<int>() + row["glean"].get<int>() +
                                         row["punt"].get<int>() + row["drop"].get<int>());
        }
        EXPECT_EQ(routes, wanted.size()) << json(counting);
    }
}

TEST_F(ShowTest, RoutesCounted) {
    const auto open = show_routes(bench_.mirror);
    const auto four = json::parse(R"({"family":"ipv4","routes":5,"forward":3,"glean":1,"punt":0,"drop":1})");
    const auto six = json::parse(R"({"family":"ipv6","routes":3,"forward":1,"glean":1,"punt":1,"drop":0})");
    EXPECT_EQ(rows(open, {{"count", "true"}}), (std::vector{four, six}));
    EXPECT_EQ(rows(open, {{"count", "true"}, {"family", "ipv6"}}), (std::vector{six}));
    bench_.apply({link(e0, "e0", false), removed(typed("10.66.0.0/16", RTN_BLACKHOLE))});
    const auto now = rows(open, {{"count", "true"}, {"outcome", "punt"}});
    ASSERT_EQ(now.size(), 2U);
    EXPECT_EQ(now[0]["routes"], 3) << "10/8, 10.9/16 and the host route";
    EXPECT_EQ(now[0]["forward"], 0);
}

TEST_F(ShowTest, WrongSelectionsAreRefusedInTheOperatorsWords) {
    const auto open = show_routes(bench_.mirror);
    const std::pair<ShowArguments, const char*> cases[] = {
        {{{"prefix", "10.9.0.1/16"}}, "prefix: 10.9.0.1/16 has host bits set; the network is 10.9.0.0/16"},
        {{{"prefix", "ten"}}, "prefix: \"ten\" is none; as 10.0.0.0/8 or 2001:db8::/32"},
        {{{"prefix", "10.0.0.0/33"}}, "prefix: \"10.0.0.0/33\" is none; as 10.0.0.0/8 or 2001:db8::/32"},
        {{{"prefix", "10.0.0.0/8"}, {"family", "ipv6"}}, "10.0.0.0/8 is ipv4, and --family asks for ipv6"},
        {{{"prefix", "10.0.0.0/8"}, {"match", "shorter"}}, "match: \"shorter\" is neither exact nor longer"},
        {{{"match", "longer"}}, "longer: than which prefix? As 10.0.0.0/8 longer"},
        {{{"lookup", "10.0.0.0/8"}}, "lookup: \"10.0.0.0/8\" is no IPv4 or IPv6 address"},
        {{{"lookup", "10.0.0.1"}, {"prefix", "10.0.0.0/8"}}, "lookup: of an address alone, without a prefix"},
        {{{"lookup", "::1"}, {"family", "ipv4"}}, "::1 is ipv6, and --family asks for ipv4"},
        {{{"family", "ipx"}}, "family: \"ipx\" is neither ipv4 nor ipv6"},
        {{{"outcome", "fly"}}, "outcome: \"fly\" is none of forward, glean, punt, drop"},
        {{{"protocol", "carp"}}, "protocol: \"carp\" is none; as bgp, static, kernel, neighbor, or 0 to 255"},
        {{{"protocol", "256"}}, "protocol: \"256\" is none; as bgp, static, kernel, neighbor, or 0 to 255"},
        {{{"nexthop_id", "0"}}, "nexthop_id: \"0\" is no id of a nexthop object (`ip nexthop` lists them)"},
        {{{"nexthop_id", "-5"}}, "nexthop_id: \"-5\" is no id of a nexthop object (`ip nexthop` lists them)"},
        {{{"via", "eth77"}}, "via: \"eth77\" is neither an address nor an interface here"},
        {{{"count", "yes"}}, "count: \"yes\" is neither true nor false"},
        {{{"prefxi", "10.0.0.0/8"}}, "routes: no argument is called \"prefxi\""},
    };
    for (const auto& [arguments, words] : cases) {
        const auto source = open(arguments);
        ASSERT_FALSE(source.has_value()) << json(arguments);
        EXPECT_EQ(source.error().text(), words);
    }
}

// However little a filter takes, the daemon's loop goes round between pieces of the walk.
TEST_F(ShowTest, LongWalksComeInPieces) {
    std::vector<Message> many;
    for (unsigned i = 0; i < 20'000; ++i) {
        many.emplace_back(by_id(fmt::format("20.{}.{}.0/24", i / 256, i % 256), 5));
    }
    many.emplace_back(typed("21.0.0.0/8", RTN_BLACKHOLE));
    bench_.apply(many);
    for (const ShowArguments& arguments :
         {ShowArguments{{"protocol", "ospf"}}, ShowArguments{{"protocol", "bgp"}, {"count", "true"}},
          ShowArguments{{"prefix", "20.0.0.0/8"}, {"match", "longer"}, {"outcome", "drop"}}}) {
        auto source = show_routes(bench_.mirror)(arguments);
        std::string row;
        size_t pieces = 0;
        for (auto step = (*source)->next(row); step != RowSource::Step::end; step = (*source)->next(row)) {
            pieces += step == RowSource::Step::later ? 1 : 0;
        }
        EXPECT_GE(pieces, 20U) << json(arguments);
        EXPECT_LE(pieces, 21U) << json(arguments);
    }
    auto within = show_routes(bench_.mirror)({{"prefix", "20.70.0.0/16"}, {"match", "longer"}});
    std::string row;
    size_t shown = 0;
    while ((*within)->next(row) == RowSource::Step::row) {
        ++shown;
    }
    EXPECT_EQ(shown, 256U) << "it begins at the prefix and ends behind it, without a pause";
}

// What the rows of a group have in common is kept while they are made; not longer than it is true.
TEST_F(ShowTest, AGroupThatChangesWhileShownIsShownAsItIs) {
    bench_.apply({by_id("20.0.0.0/8", 5)});
    auto source = show_routes(bench_.mirror)({{"nexthop_id", "5"}});
    std::string row;
    ASSERT_EQ((*source)->next(row), RowSource::Step::row);
    EXPECT_EQ(json::parse(row)["outcome"], "forward");
    bench_.apply({neighbour(e0, "192.0.2.1", 1, NUD_FAILED)});
    ASSERT_EQ((*source)->next(row), RowSource::Step::row);
    EXPECT_EQ(json::parse(row)["prefix"], "20.0.0.0/8");
    EXPECT_EQ(json::parse(row)["outcome"], "punt");
    EXPECT_EQ(json::parse(row)["via"][0]["usable"], false);
}

TEST_F(ShowTest, TableMayChangeWhileShown) {
    auto source = show_routes(bench_.mirror)({});
    std::string row;
    ASSERT_EQ((*source)->next(row), RowSource::Step::row);
    ASSERT_EQ(json::parse(row)["prefix"], "10.0.0.0/8");
    bench_.apply({removed(by_id("10.0.0.0/8", 5)),
                  removed(route("10.9.0.0/16", {via("192.0.2.1", e0), via("192.0.2.77", e1, 3)}, 7))});
    ASSERT_EQ((*source)->next(row), RowSource::Step::row);
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
