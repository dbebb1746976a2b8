// SPDX-License-Identifier: BSD-3-Clause
// millrace: the operator's tool.
#include <CLI/CLI.hpp>
#include <cstdio>
#include <string>
#include <utility>
#include <vector>

#include "dataplane/cli/actions.hpp"
#include "dataplane/cli/client.hpp"
#include "dataplane/cli/explain.hpp"
#include "dataplane/cli/sync_text.hpp"
#include "dataplane/cli/table.hpp"
#include "dataplane/cli/top.hpp"
#include "dataplane/cli/verify.hpp"
#include "dataplane/cli/watch.hpp"
#include "millrace/config.hpp"

using namespace millrace;

namespace {

struct ShowOptions {
    std::string socket = Config{}.control_socket;
    std::string what;
    std::vector<std::string> selection;
    std::string family;
    std::string via;
    std::string nexthop_id;
    std::string outcome;
    std::string protocol;
    bool count = false;
    bool json = false;
    bool all = false;
    double watch = 0;  // seconds between two; 0 = shown once
};

// What the command line asks for, in the daemon's terms; it knows whether the values make sense.
Result<ShowArguments> arguments_of(const ShowOptions& options) {
    ShowArguments arguments;
    const std::pair<const char*, const std::string&> named[] = {{"family", options.family},
                                                                {"via", options.via},
                                                                {"nexthop_id", options.nexthop_id},
                                                                {"outcome", options.outcome},
                                                                {"protocol", options.protocol}};
    for (const auto& [key, value] : named) {
        if (!value.empty()) {
            arguments[key] = value;
        }
    }
    if (options.count) {
        arguments["count"] = "true";
    }
    const auto& words = options.selection;
    if (options.what == "neighbors" && words.empty() && arguments.size() == arguments.count("family")) {
        return arguments;
    }
    if (options.what != "routes") {
        if (!words.empty() || !arguments.empty()) {
            return fail(fmt::format("show {} takes {}", options.what,
                                    options.what == "neighbors" ? "--family alone" : "no selection"));
        }
        return arguments;
    }
    if (words.empty()) {
        return arguments;
    }
    const std::string second = words.size() > 1 ? words[1] : "";
    if (words[0] == "lookup") {
        if (second.empty()) {
            return fail("lookup: of which address? As 'millrace show routes lookup 192.0.2.1'");
        }
        arguments["lookup"] = second;
        return arguments;
    }
    if (words[0] == "longer" || words[0] == "exact") {
        return fail(fmt::format("{0}: which prefix? As 'millrace show routes 10.0.0.0/8 {0}'", words[0]));
    }
    arguments["prefix"] = words[0];
    if (!second.empty()) {
        if (second != "longer" && second != "exact") {
            return fail(
                fmt::format("'{}' after a prefix: it can be followed by 'exact' or 'longer'", second));
        }
        arguments["match"] = second;
    }
    return arguments;
}

// Where one route was asked for and there is none.
std::string nothing_found(const ShowArguments& arguments) {
    if (arguments.contains("lookup")) {
        return fmt::format(
            "the fast path has no route to {}{}", arguments.at("lookup"),
            arguments.size() == 1 ? ": its packets are handed to the kernel" : " of that kind");
    }
    const auto match = arguments.find("match");
    if (!arguments.contains("prefix") || (match != arguments.end() && match->second == "longer")) {
        return {};
    }
    return fmt::format("the fast path has no route of exactly {}{}", arguments.at("prefix"),
                       arguments.size() - arguments.count("match") == 1 ? "" : " of that kind");
}

int failed(const Error& error, int code) {
    fmt::print(stderr, "millrace: {}\n", error.text());
    return code;
}

Status show(const ShowOptions& options, const ShowArguments& arguments, std::FILE* out) {
    auto client = cli::Client::connect(options.socket);
    if (!client) {
        return tl::unexpected(client.error());
    }
    const bool sync = options.what == "sync";
    const bool counts = options.what == "counters" || options.what == "steering";
    cli::Table table(
        sync ? std::vector<cli::Column>{} : *cli::columns_of(options.count ? "count" : options.what), out);
    cli::Table kept(*cli::columns_of("kept"), out);    // of steering, in front of the counters
    cli::Table hooks(*cli::columns_of("hooks"), out);  // the firewall's, behind them
    bool any_kept = false;
    bool any_hook = false;
    const char* separator = "[\n";
    uint64_t rows = 0;
    Status shown = client->show(options.what, arguments, [&](std::string_view text) {
        ++rows;
        if (options.json) {
            fmt::print(out, "{}{}", separator, text);
            separator = ",\n";
            return;
        }
        const auto row = nlohmann::json::parse(text);
        if (sync) {
            fmt::print(out, "{}", cli::sync_text(row));
        } else if (row.value("kind", "") == "kept") {
            kept.add(row);
            any_kept = true;
        } else if (row.value("kind", "") == "hook") {
            hooks.add(row);
            any_hook = true;
        } else if (!counts || options.all || row.value("packets", 0ULL) != 0) {
            table.add(row);
        }
    });
    if (!shown) {
        return shown;
    }
    if (options.json) {
        fmt::print(out, "{}", *separator == '[' ? "[]\n" : "\n]\n");
        return {};
    }
    if (const std::string nothing = nothing_found(arguments); rows == 0 && !nothing.empty()) {
        return fail(nothing);
    }
    if (options.what == "steering") {
        if (any_kept) {
            kept.finish();
        } else {
            fmt::print(out, "Nothing is kept in the kernel by policy.\n");
        }
        fmt::print(out, "\n");
        if (any_hook) {
            hooks.finish();
            fmt::print(out, "\n");
        }
    }
    if (!sync) {
        table.finish();
    }
    return {};
}

int run_show(const ShowOptions& options, const ShowArguments& arguments) {
    if (options.watch > 0) {
        std::string title = "millrace show " + options.what;
        for (const std::string& word : options.selection) {
            title += " " + word;
        }
        return cli::watch({.seconds = options.watch, .title = std::move(title), .json = options.json},
                          [&](std::FILE* out) { return show(options, arguments, out); });
    }
    const Status shown = show(options, arguments, stdout);
    return shown ? 0 : failed(shown.error(), 1);
}

}  // namespace

int main(int argc, char** argv) {
    CLI::App app{"millrace: look into a running millraced, and tell it what to do"};
    app.set_version_flag("--version", MILLRACE_VERSION);
    app.require_subcommand(1);
    ShowOptions options;
    app.add_option("--socket", options.socket, "the daemon's control socket")->capture_default_str();

    CLI::App* command = app.add_subcommand("show", "print what the fast path has and does");
    command->add_option("WHAT", options.what, "what to show")
        ->required()
        ->check(CLI::IsMember(
            {"routes", "nexthops", "neighbors", "ports", "steering", "counters", "workers", "sync"}));
    command->add_option("SELECTION", options.selection, "routes: PREFIX [exact|longer], or lookup ADDRESS")
        ->expected(0, 2);
    command->add_option("--family", options.family, "routes, neighbors: of one family")
        ->check(CLI::IsMember({"ipv4", "ipv6"}));
    command->add_option("--via", options.via, "routes: over this gateway or interface")->type_name("NAME");
    command->add_option("--nexthop-id", options.nexthop_id, "routes: of this nexthop object")->type_name("N");
    command->add_option("--outcome", options.outcome, "routes: with this outcome")
        ->check(CLI::IsMember({"forward", "glean", "punt", "drop"}));
    command->add_option("--protocol", options.protocol, "routes: of bgp, static, kernel, neighbor, ...")
        ->type_name("NAME");
    command->add_flag("--count", options.count, "routes: how many, by family and outcome");
    command->add_flag("--json", options.json, "an array of objects, for machines");
    command->add_flag("--all", options.all, "counters and steering: also what is zero");
    command
        ->add_option("--watch", options.watch,
                     "again and again, until q or Ctrl-C; every second, or --watch=SECONDS")
        ->expected(0, 1)
        ->default_str("1")
        ->check(CLI::Range(0.1, 3600.0))
        ->type_name("SECONDS");
    command->footer(
        "Examples:\n"
        "  millrace show routes                      what the FIB does with each prefix\n"
        "  millrace show routes 10.0.0.0/8           one prefix\n"
        "  millrace show routes 10.0.0.0/8 longer    it, and all within\n"
        "  millrace show routes lookup 192.0.2.1     what a packet to an address meets\n"
        "  millrace show routes --via eth1 --count   how many lead over an interface\n"
        "  millrace show counters                    packets by ingress port and reason\n"
        "  millrace show ports --watch               every second\n"
        "  millrace show steering --json             what the kernel keeps and why, verdicts");
    cli::Command other;
    cli::add_verify(app, options.socket, other);
    cli::add_actions(app, options.socket, other);
    cli::add_top(app, options.socket, other);
    cli::add_explain(app, options.socket, other);
    cli::add_debug(app, options.socket, other);
    app.footer("'millrace show --help' lists what there is to show.");

    try {
        app.parse(argc, argv);
    } catch (const CLI::ParseError& e) {
        return app.exit(e) == 0 ? 0 : 2;
    }
    if (other) {
        return other();
    }
    const auto arguments = arguments_of(options);
    return arguments ? run_show(options, *arguments) : failed(arguments.error(), 2);
}
