// SPDX-License-Identifier: BSD-3-Clause
#include "dataplane/cli/actions.hpp"

#include <fmt/core.h>

#include <cstdio>
#include <functional>
#include <memory>
#include <nlohmann/json.hpp>

#include "dataplane/cli/client.hpp"

namespace millrace::cli {

namespace {

struct ActionOptions {
    std::string port;  // empty = all
    bool json = false;
};

using Json = nlohmann::json;
// Prints a row. false: it is no success.
using Print = std::function<bool(const Json&)>;

int act(const std::string& socket, const std::string& what, const ActionOptions& options,
        const Print& print) {
    auto client = Client::connect(socket);
    if (!client) {
        fmt::print(stderr, "millrace: {}\n", client.error().text());
        return 1;
    }
    ShowArguments arguments;
    if (!options.port.empty()) {
        arguments["port"] = options.port;
    }
    int code = 0;
    Json rows = Json::array();
    const Status done = client->act(what, arguments, [&](std::string_view text) {
        rows.push_back(Json::parse(text));
        if (!options.json) {
            code = print(rows.back()) ? code : 1;
        }
    });
    if (!done) {
        fmt::print(stderr, "millrace: {}\n", done.error().text());
        return 1;
    }
    if (options.json) {
        fmt::print("{}\n", rows.dump(1));
    }
    return code;
}

bool print_drained(const Json& row) {
    const auto port = row.value("port", "");
    if (row["left"].is_null()) {
        fmt::print("{}: drained; the kernel forwards\n", port);
        return true;
    }
    fmt::print(stderr, "{}: the kernel forwards; not empty after a second: {}\n", port,
               row["left"].get<std::string>());
    return false;
}

bool print_undrained(const Json& row) {
    const auto port = row.value("port", "");
    const bool served = row["reason"].is_null();
    fmt::print("{}: {}\n", port,
               served ? "on the fast path" : "left to the kernel: " + row["reason"].get<std::string>());
    return true;
}

bool print_reloaded(const Json& row) {
    std::string changed;
    for (const auto& what : row["changed"]) {
        changed += (changed.empty() ? "" : ", ") + what.get<std::string>();
    }
    if (changed.empty()) {
        fmt::print("nothing has changed\n");
    } else {
        fmt::print(
            "changed: {}{}\n", changed,
            row.value("again", false) ? "; millraced starts again, the kernel forwards meanwhile" : "");
    }
    return true;
}

}  // namespace

void add_actions(CLI::App& app, const std::string& socket, Command& command) {
    const auto add = [&](const char* name, const char* text, bool of_ports, const char* footer, Print print) {
        const auto options = std::make_shared<ActionOptions>();
        CLI::App* verb = app.add_subcommand(name, text);
        if (of_ports) {
            verb->add_option("PORT", options->port, "this one only");
        }
        verb->add_flag("--json", options->json, "an array of objects, for machines");
        verb->footer(footer);
        verb->callback([options, name, print = std::move(print), &socket, &command] {
            command = [=, &socket] { return act(socket, name, *options, print); };
        });
    };
    add("drain", "hand the ports' traffic over to the kernel, losing nothing", true,
        "What the fast path has in its rings goes out first. It lasts until 'millrace undrain', or until "
        "millraced\nis stopped and started.\n"
        "Exit status: 0 drained, 1 not.\n"
        "Example: millrace drain eth0 && ethtool -L eth0 combined 4; millrace undrain eth0",
        print_drained);
    add("undrain", "bring drained ports back to the fast path", true, "Example: millrace undrain eth0",
        print_undrained);
    add("reload", "read the configuration file again", false,
        "[keep] and [log] are applied at once; for the rest millraced starts itself again, drained. A file "
        "with a\nmistake is refused, and all stays as it was.\n"
        "Example: millraced --check && millrace reload",
        print_reloaded);
}

}  // namespace millrace::cli
