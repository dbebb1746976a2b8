// SPDX-License-Identifier: BSD-3-Clause
#include "dataplane/cli/top.hpp"

#include <fmt/chrono.h>
#include <fmt/core.h>

#include <chrono>
#include <cstdio>
#include <ctime>
#include <map>
#include <memory>
#include <optional>

#include "dataplane/cli/periods.hpp"
#include "dataplane/cli/rates.hpp"
#include "dataplane/cli/sample.hpp"
#include "dataplane/cli/top_text.hpp"

namespace millrace::cli {

namespace {

struct TopOptions {
    double interval = 1;  // seconds
    uint64_t count = 0;   // 0 = until it is ended
    std::string sort = "packets";
    bool json = false;
};

const std::map<std::string, SortBy, std::less<>> orders = {
    {"packets", SortBy::packets}, {"bits", SortBy::bits}, {"name", SortBy::name}};

// One interval, as it is to be shown.
struct Interval {
    std::time_t time = 0;
    std::string state{};           // "ok"; "away"; "again": it answers, but what it counts has begun anew
    std::string what{};            // one line, unless "ok"
    std::optional<Rates> rates{};  // if "ok"
};

class Intervals {
  public:
    Intervals(std::string socket, Sample first) : socket_(std::move(socket)), before_(std::move(first)) {}

    Interval next() {
        auto now = take_sample(socket_);
        Interval interval{.time = std::time(nullptr)};
        if (!now) {
            before_.reset();
            interval.state = "away";
            interval.what = now.error().text();
            return interval;
        }
        interval.rates = before_ ? rates_between(*before_, *now) : std::nullopt;
        interval.state = interval.rates ? "ok" : "again";
        interval.what = interval.rates ? ""
                        : before_      ? "millraced has started again, and counts from zero"
                                       : "millraced answers again";
        before_ = std::move(*now);
        return interval;
    }

  private:
    std::string socket_;
    std::optional<Sample> before_;
};

std::string json_line(const Interval& interval) {
    nlohmann::ordered_json line{{"time", fmt::format("{:%Y-%m-%dT%H:%M:%SZ}", fmt::gmtime(interval.time))},
                                {"state", interval.state}};
    if (interval.rates) {
        line.update(json_of(*interval.rates));
    } else {
        line["reason"] = interval.what;
    }
    return line.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

std::string block(const Interval& interval) {
    const auto time = fmt::localtime(interval.time);
    return interval.rates ? fmt::format("{:%Y-%m-%d %H:%M:%S}  {:.1f} s\n{}\n", time, interval.rates->seconds,
                                        top_text(*interval.rates))
                          : fmt::format("{:%Y-%m-%d %H:%M:%S}  {}\n", time, interval.what);
}

std::string page(const Interval& interval, const std::string& by) {
    const std::string heading =
        interval.rates ? fmt::format("{:.1f} s, by {}", interval.rates->seconds, by) : interval.what;
    return fmt::format("millrace top  {:%H:%M:%S}  {}\n{}\n{}", fmt::localtime(interval.time), heading,
                       "keys: q quits; p, b, n sort by packets, bits, name",
                       interval.rates ? "\n" + top_text(*interval.rates) : "");
}

// The order that a key stands for, in place of by.
void choose(char key, std::string& by) {
    for (const auto& [name, order] : orders) {
        by = name[0] == key ? name : by;
    }
}

int top(const std::string& socket, const TopOptions& options) {
    auto first = take_sample(socket);
    if (!first) {
        fmt::print(stderr, "millrace: {}\n", first.error().text());
        return 1;
    }
    Intervals intervals(socket, std::move(*first));
    Periods periods(options.interval, options.json);
    if (periods.screen() != nullptr) {
        periods.screen()->draw("millrace top: counting\n");
    }
    std::optional<Interval> shown;
    std::string by = options.sort;
    for (uint64_t n = 0; options.count == 0 || n < options.count; ++n) {
        periods.advance();
        const auto again = [&] {
            if (!shown) {
                return;
            }
            if (shown->rates) {
                sort(*shown->rates, orders.at(by));
            }
            periods.screen()->draw(page(*shown, by));
        };
        if (!periods.wait([&](char key) { choose(key, by); }, again)) {
            break;
        }
        const std::string said = shown ? shown->what : "";
        shown = intervals.next();
        if (shown->rates) {
            sort(*shown->rates, orders.at(by));
        }
        if (options.json) {
            fmt::print("{}\n", json_line(*shown));
        } else if (periods.screen() != nullptr) {
            periods.screen()->draw(page(*shown, by));
        } else if (shown->rates || shown->what != said) {
            fmt::print("{}", block(*shown));
        }
    }
    return periods.end();
}

}  // namespace

void add_top(CLI::App& app, const std::string& socket, Command& command) {
    const auto options = std::make_shared<TopOptions>();
    CLI::App* verb = app.add_subcommand("top", "rates by port, worker and reason, again and again");
    verb->add_option("--interval", options->interval, "seconds between two looks")
        ->check(CLI::Range(0.1, 3600.0))
        ->type_name("SECONDS")
        ->capture_default_str();
    verb->add_option("--count", options->count, "ends after so many")
        ->check(CLI::Range(uint64_t{1}, uint64_t{1'000'000'000}))
        ->type_name("N");
    verb->add_option("--sort", options->sort, "the largest first, or by name")
        ->check(CLI::IsMember({"packets", "bits", "name"}))
        ->capture_default_str();
    verb->add_flag("--json", options->json, "one object a line, for machines");
    verb->footer(
        "On a terminal: q quits; p, b and n sort by packets, bits and name. Elsewhere block after block.\n"
        "Exit status: 0, 1 where millraced isn't there at the beginning. When it goes later, top says so and waits.\n"
        "Example: millrace top --interval 10 --count 6 --json >rates.json");
    verb->callback(
        [options, &socket, &command] { command = [options, &socket] { return top(socket, *options); }; });
}

}  // namespace millrace::cli
