// SPDX-License-Identifier: BSD-3-Clause
// millrace: the operator's tool.
#include <CLI/CLI.hpp>
#include <cstdio>
#include <string>

#include "dataplane/cli/client.hpp"
#include "dataplane/cli/table.hpp"
#include "millrace/config.hpp"

using namespace millrace;

namespace {

struct ShowOptions {
    std::string socket = Config{}.control_socket;
    std::string what;
    std::string family;
    std::string prefix;
    bool json = false;
    bool all = false;
};

int show(const ShowOptions& options) {
    auto client = cli::Client::connect(options.socket);
    if (!client) {
        fmt::print(stderr, "millrace: {}\n", client.error().text());
        return 1;
    }
    ShowArguments arguments;
    if (!options.family.empty()) {
        arguments["family"] = options.family;
    }
    if (!options.prefix.empty()) {
        arguments["prefix"] = options.prefix;
    }
    const bool counts = options.what == "counters" || options.what == "steering";
    cli::Table table(*cli::columns_of(options.what));
    cli::Table kept(*cli::columns_of("kept"));  // of steering, in front of the counters
    bool any_kept = false;
    const char* separator = "[\n";
    uint64_t rows = 0;
    const Status shown = client->show(options.what, arguments, [&](const nlohmann::json& row) {
        ++rows;
        if (options.json) {
            fmt::print("{}{}", separator, row.dump());
            separator = ",\n";
        } else if (row.value("kind", "") == "kept") {
            kept.add(row);
            any_kept = true;
        } else if (!counts || options.all || row.value("packets", 0ULL) != 0) {
            table.add(row);
        }
    });
    if (!shown) {
        fmt::print(stderr, "millrace: {}\n", shown.error().text());
        return 1;
    }
    if (options.json) {
        fmt::print("{}", *separator == '[' ? "[]\n" : "\n]\n");
    } else if (rows == 0 && !options.prefix.empty()) {
        fmt::print(stderr, "millrace: the fast path has no route of exactly {}\n", options.prefix);
        return 1;
    } else {
        if (options.what == "steering") {
            if (any_kept) {
                kept.finish();
            } else {
                std::puts("Nothing is kept in the kernel by policy.");
            }
            std::puts("");
        }
        table.finish();
    }
    return 0;
}

}  // namespace

int main(int argc, char** argv) {
    CLI::App app{"millrace: look into a running millraced"};
    app.set_version_flag("--version", MILLRACE_VERSION);
    app.require_subcommand(1);
    ShowOptions options;
    app.add_option("--socket", options.socket, "the daemon's control socket")->capture_default_str();

    CLI::App* command = app.add_subcommand("show", "print what the fast path has and does");
    command->add_option("WHAT", options.what, "what to show")
        ->required()
        ->check(CLI::IsMember({"routes", "nexthops", "neighbors", "ports", "steering", "counters", "sync"}));
    command->add_option("PREFIX", options.prefix, "routes: this prefix alone, as 10.0.0.0/8");
    command->add_option("--family", options.family, "routes, neighbors: of one family")
        ->check(CLI::IsMember({"ipv4", "ipv6"}));
    command->add_flag("--json", options.json, "an array of objects, for machines");
    command->add_flag("--all", options.all, "counters and steering: also what is zero");
    command->footer(
        "Examples:\n"
        "  millrace show routes                what the FIB does with each prefix\n"
        "  millrace show routes 10.0.0.0/8     one prefix\n"
        "  millrace show counters              packets by ingress port and reason\n"
        "  millrace show steering --json       what the kernel keeps and why, verdicts, for machines");
    app.footer("'millrace show --help' lists what there is to show.");

    try {
        app.parse(argc, argv);
    } catch (const CLI::ParseError& e) {
        return app.exit(e) == 0 ? 0 : 2;
    }
    if ((!options.prefix.empty() && options.what != "routes") ||
        (!options.family.empty() && options.what != "routes" && options.what != "neighbors")) {
        fmt::print(stderr, "millrace: show {} takes no PREFIX or --family\n", options.what);
        return 2;
    }
    return show(options);
}
