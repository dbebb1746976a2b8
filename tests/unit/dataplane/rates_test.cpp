// SPDX-License-Identifier: BSD-3-Clause
// What `millrace top` makes of two samples, and how it looks.
#include <gtest/gtest.h>

#include <sstream>
#include <string>
#include <vector>

#include "dataplane/cli/rates.hpp"
#include "dataplane/cli/top_text.hpp"

namespace millrace::cli {
namespace {

using Json = nlohmann::json;
using namespace std::chrono_literals;

const std::chrono::steady_clock::time_point begin{1000s};

Json port(const char* name, uint64_t rx_packets, uint64_t rx_bytes, const char* state = "served") {
    return {{"port", name},      {"state", state},    {"rx_packets", rx_packets}, {"rx_bytes", rx_bytes},
            {"tx_packets", 10U}, {"tx_bytes", 1000U}, {"tx_dropped", 0U},         {"punted_packets", 0U}};
}

Json worker(uint64_t running_us, uint64_t busy_us, uint64_t asleep_us, uint64_t started_ms = 5) {
    return {{"worker", 0U},
            {"core", 1U},
            {"thread", 77U},
            {"started_ms", started_ms},
            {"running_us", running_us},
            {"busy_us", busy_us},
            {"asleep_us", asleep_us},
            {"sleeps", 0U},
            {"bursts", 0U},
            {"rx_packets", 0U},
            {"rx_bytes", 0U},
            {"tx_packets", 0U},
            {"tx_bytes", 0U}};
}

Json verdict(const char* name, const char* reason, uint64_t packets, uint64_t bytes) {
    return {{"kind", "verdict"}, {"port", name}, {"reason", reason}, {"packets", packets}, {"bytes", bytes}};
}

Json reason(const char* name, const char* reason, uint64_t packets) {
    return {{"port", name}, {"reason", reason}, {"packets", packets}};
}

Sample sample(std::chrono::milliseconds after, std::vector<Json> ports, std::vector<Json> workers,
              std::vector<Json> reasons = {}, std::vector<Json> verdicts = {}) {
    const auto at = begin + after;
    return {.ports = {at, std::move(ports)},
            .workers = {at, std::move(workers)},
            .reasons = {at, std::move(reasons)},
            .verdicts = {at, std::move(verdicts)}};
}

TEST(Rates, AreWhatGrewDividedByTheTime) {
    const auto rates =
        rates_between(sample(0s, {port("a0", 100, 6000)}, {worker(1'000'000, 500'000, 100'000)},
                             {reason("a0", "forwarded", 7)},
                             {verdict("a0", "redirect", 100, 6000), verdict("a0", "arp", 5, 300)}),
                      sample(2s, {port("a0", 1100, 66000)}, {worker(3'000'000, 1'000'000, 1'600'000)},
                             {reason("a0", "forwarded", 1007)},
                             {verdict("a0", "redirect", 1100, 66000), verdict("a0", "arp", 5, 300),
                              verdict("a0", "not_ours", 1000, 1000)}));
    ASSERT_TRUE(rates);
    EXPECT_DOUBLE_EQ(rates->seconds, 2);
    ASSERT_EQ(rates->ports.size(), 1U);
    EXPECT_DOUBLE_EQ(rates->ports[0].rx_packets, 500);
    EXPECT_DOUBLE_EQ(rates->ports[0].rx_bits, 240'000);
    EXPECT_DOUBLE_EQ(rates->ports[0].tx_packets, 0);
    EXPECT_DOUBLE_EQ(rates->ports[0].seen, 500) << "a reason that is new has no former value to compare with";
    EXPECT_DOUBLE_EQ(rates->ports[0].redirected, 500);
    ASSERT_EQ(rates->workers.size(), 1U);
    EXPECT_DOUBLE_EQ(rates->workers[0].busy, 0.25);
    EXPECT_DOUBLE_EQ(rates->workers[0].asleep, 0.75);
    ASSERT_EQ(rates->reasons.size(), 2U) << "of what didn't grow there is no row";
    EXPECT_EQ(rates->reasons[0].reason, "redirect");
    ASSERT_TRUE(rates->reasons[0].bits);
    EXPECT_DOUBLE_EQ(*rates->reasons[0].bits, 240'000);
    EXPECT_EQ(rates->reasons[1].reason, "forwarded");
    EXPECT_FALSE(rates->reasons[1].bits);
}

TEST(Rates, OfAnotherLifeOfTheDaemonAreNone) {
    const auto before = sample(0s, {port("a0", 100, 6000)}, {worker(9'000'000, 0, 0, 5)});
    // It has run for longer than the other one had: only its beginning tells them apart.
    EXPECT_FALSE(
        rates_between(before, sample(60s, {port("a0", 200, 12000)}, {worker(20'000'000, 0, 0, 40'000)})));
    EXPECT_FALSE(rates_between(
        before, sample(1s, {port("a0", 100, 6000)}, {worker(10'000'000, 0, 0, 5), worker(1, 0, 0, 5)})));
    EXPECT_TRUE(rates_between(before, sample(1s, {port("a0", 100, 6000)}, {worker(10'000'000, 0, 0, 5)})));
}

// As a classifier's, which was detached and attached again while the daemon ran.
TEST(Rates, ACounterThatIsSmallerHasBegunAtZero) {
    const auto rates = rates_between(sample(0s, {}, {}, {}, {verdict("a0", "redirect", 1000, 60000)}),
                                     sample(1s, {}, {}, {}, {verdict("a0", "redirect", 30, 1800)}));
    ASSERT_TRUE(rates);
    ASSERT_EQ(rates->reasons.size(), 1U);
    EXPECT_DOUBLE_EQ(rates->reasons[0].packets, 30);
}

TEST(Rates, TakeNoTimeForNoDivisor) {
    const auto same = sample(0s, {port("a0", 1, 60)}, {worker(1, 1, 1)});
    const auto rates = rates_between(same, same);
    ASSERT_TRUE(rates);
    EXPECT_DOUBLE_EQ(rates->ports[0].rx_packets, 0);
    EXPECT_DOUBLE_EQ(rates->workers[0].busy, 0);
}

std::vector<std::string> order(Rates rates, SortBy by) {
    sort(rates, by);
    std::vector<std::string> names;
    for (const PortRates& p : rates.ports) {
        names.push_back(p.port);
    }
    return names;
}

TEST(Rates, AreSorted) {
    Rates rates;
    rates.ports = {{.port = "b", .rx_packets = 10, .rx_bits = 9000},
                   {.port = "c", .rx_packets = 30, .rx_bits = 8000},
                   {.port = "a", .rx_packets = 10, .rx_bits = 100}};
    EXPECT_EQ(order(rates, SortBy::packets), (std::vector<std::string>{"c", "a", "b"}));
    EXPECT_EQ(order(rates, SortBy::bits), (std::vector<std::string>{"b", "c", "a"}));
    EXPECT_EQ(order(rates, SortBy::name), (std::vector<std::string>{"a", "b", "c"}));
}

TEST(TopText, NumbersAreShort) {
    const std::pair<double, const char*> cases[] = {
        {0, "0"},           {0.04, "0.0"},     {0.5, "0.5"},      {9.94, "9.9"},     {9.96, "10"},
        {12.4, "12"},       {999.4, "999"},    {999.6, "1.00k"},  {1234, "1.23k"},   {9994, "9.99k"},
        {9996, "10.0k"},    {99'940, "99.9k"}, {99'960, "100k"},  {999'499, "999k"}, {999'501, "1.00M"},
        {14.88e6, "14.9M"}, {100e9, "100G"},   {1.6e12, "1.60T"}, {18e18, "18.0E"}};
    for (const auto& [value, text] : cases) {
        EXPECT_EQ(short_number(value), text) << value;
        EXPECT_LE(short_number(value).size(), 5U) << value;
    }
}

TEST(TopText, FitsInto80Columns) {
    Rates rates;
    for (const double value : {0.0, 0.5, 999.4, 123'456.0, 999.4e9}) {
        rates.ports.push_back(
            {"port-of-15-char", false, value, value, value, value, value, value, value, value});
        rates.workers.push_back({1023, 1023, 1, 1, value, value, value, value, value, value});
        rates.reasons.push_back({"port-of-15-char", true, "punt_encapsulation", value, value});
    }
    std::istringstream text(top_text(rates));
    size_t lines = 0;
    for (std::string line; std::getline(text, line); ++lines) {
        EXPECT_LE(line.size(), 80U) << line;
    }
    EXPECT_EQ(lines, 3 * 6 + 2U);
}

}  // namespace
}  // namespace millrace::cli
