// SPDX-License-Identifier: BSD-3-Clause
#include "dataplane/cli/verify.hpp"

#include <fmt/core.h>
#include <unistd.h>

#include <fmt/core.h>

#include <chrono>
#include <cstdio>
#include <memory>

#include "dataplane/cli/client.hpp"
#include "dataplane/cli/table.hpp"

namespace millrace::cli {

namespace {

constexpr int same = 0;
constexpr int different = 1;
constexpr int not_done = 2;

struct VerifyOptions {
    uint64_t sample = 0;  // 0 = all
    bool json = false;
};

struct PlantOptions {
    std::string kind;
    std::string prefix;
};

int failed(const Error& error) {
    fmt::print(stderr, "millrace: {}\n", error.text());
    return not_done;
}

// One line that is rewritten on a terminal; elsewhere a line every two seconds.
class ProgressLine {
  public:
    void show(const nlohmann::json& row) {
        const uint64_t total = row.value("total", 0ULL);
        const std::string line =
            fmt::format("{} {}{}", row.value("what", ""), grouped(row.value("done", 0ULL)),
                        total == 0 ? "" : " of " + grouped(total));
        const auto now = std::chrono::steady_clock::now();
        if (terminal_) {
            fmt::print(stderr, "\r{:<70}", line);
            shown_ = true;
        } else if (now >= next_) {
            fmt::print(stderr, "{}\n", line);
            next_ = now + std::chrono::seconds(2);
        }
    }
    void clear() {
        if (shown_) {
            fmt::print(stderr, "\r{:<70}\r", "");
            shown_ = false;
        }
    }

  private:
    bool terminal_ = isatty(STDERR_FILENO) == 1;
    bool shown_ = false;
    std::chrono::steady_clock::time_point next_ = std::chrono::steady_clock::now() + std::chrono::seconds(2);
};

std::string summary_text(const nlohmann::json& s, uint64_t sample) {
    const auto count = [&](const char* key) { return grouped(s.value(key, 0ULL)); };
    const uint64_t differences = s.value("differences", 0ULL);
    std::string out = fmt::format("verified {} IPv4 and {} IPv6 {}", count("routes4"), count("routes6"),
                                  sample == 0 ? "routes" : "prefixes");
    if (sample == 0) {
        out += fmt::format(", {} nexthops, {} neighbors", count("nexthops"), count("neighbors"));
    }
    out += fmt::format(" in {:.1f} s: ", s.value("seconds", 0.0));
    out += differences == 0   ? "no difference"
           : differences == 1 ? "1 difference, being repaired"
                              : grouped(differences) + " differences, being repaired";
    if (s.value("without_room", 0ULL) != 0) {
        out += fmt::format("\n{} prefixes are left to the kernel: the FIB is full", count("without_room"));
    }
    if (s.value("not_asked", 0ULL) != 0) {
        out += fmt::format(
            "\n{} of them were compared with the mirror only: no packet finds them in the kernel's "
            "main table",
            count("not_asked"));
    }
    return out;
}

int verify(const std::string& socket, const VerifyOptions& options) {
    auto client = Client::connect(socket);
    if (!client) {
        return failed(client.error());
    }
    ShowArguments arguments;
    if (options.sample != 0) {
        arguments["sample"] = std::to_string(options.sample);
    }
    ProgressLine progress;
    Table table(*columns_of("differences"));
    nlohmann::json differences = nlohmann::json::array();
    nlohmann::json summary;
    std::string failure;
    const Status done = client->show("verify", arguments, [&](std::string_view text) {
        const auto row = nlohmann::json::parse(text);
        const std::string kind = row.value("kind", "");
        if (kind == "progress") {
            progress.show(row);
        } else if (kind == "difference") {
            differences.push_back(row);
        } else if (kind == "failure") {
            failure = row.value("what", "");
        } else if (kind == "summary") {
            summary = row;
        }
    });
    progress.clear();
    if (!done) {
        return failed(done.error());
    }
    if (!failure.empty() || !summary.is_object()) {
        return failed({.what = failure.empty() ? "millraced ended the comparison without a word" : failure});
    }
    if (options.json) {
        summary["list"] = differences;
        summary.erase("kind");
        fmt::print("{}\n", summary.dump(1));
    } else {
        if (!differences.empty()) {
            for (const auto& row : differences) {
                table.add(row);
            }
            table.finish();
        }
        fmt::print("{}\n", summary_text(summary, options.sample));
    }
    return summary.value("differences", 0ULL) == 0 ? same : different;
}

int plant(const std::string& socket, const PlantOptions& options) {
    auto client = Client::connect(socket);
    if (!client) {
        return failed(client.error());
    }
    const Status planted = client->show(
        "plant", {{"kind", options.kind}, {"prefix", options.prefix}},
        [](std::string_view text) { fmt::print("{}\n", nlohmann::json::parse(text).value("planted", "")); });
    return planted ? 0 : failed(planted.error());
}

}  // namespace

void add_verify(CLI::App& app, const std::string& socket, Command& command) {
    const auto options = std::make_shared<VerifyOptions>();
    CLI::App* verb = app.add_subcommand("verify", "compare the kernel's tables with the fast path");
    verb->add_option("--sample", options->sample, "only so many prefixes, picked at random")
        ->check(CLI::Range(uint64_t{1}, uint64_t{1'000'000}))
        ->type_name("N");
    verb->add_flag("--json", options->json, "one object, for machines");
    verb->footer(
        "Traffic goes on meanwhile. What differs is shown, and millraced repairs it.\n"
        "Exit status: 0 no difference, 1 differences, 2 could not compare.\n"
        "Examples:\n"
        "  millrace verify                  everything, some seconds for a full table\n"
        "  millrace verify --sample 1000    a quick look");
    verb->callback(
        [options, &socket, &command] { command = [options, &socket] { return verify(socket, *options); }; });
}

void add_debug(CLI::App& app, const std::string& socket, Command& command) {
    const auto options = std::make_shared<PlantOptions>();
    CLI::App* verb = app.add_subcommand("debug", "for drills")->group("");
    verb->require_subcommand(1);
    CLI::App* planting = verb->add_subcommand("plant", "make a difference that an audit has to find");
    planting->add_option("KIND", options->kind, "what is to go wrong")
        ->required()
        ->check(CLI::IsMember({"fib", "fib-group", "mirror", "mirror-route"}));
    planting->add_option("PREFIX", options->prefix, "of this route")->required();
    planting->footer(
        "  fib           the fast path loses the prefix\n"
        "  fib-group     the fast path does with it as with another one\n"
        "  mirror        the mirror loses the route\n"
        "  mirror-route  the mirror takes it for a blackhole\n"
        "millraced must have been started with --debug-hooks.");
    planting->callback(
        [options, &socket, &command] { command = [options, &socket] { return plant(socket, *options); }; });
}

}  // namespace millrace::cli
