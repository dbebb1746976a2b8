// SPDX-License-Identifier: BSD-3-Clause
// millrace-steer: attaches the classifier to ports, detaches it, shows what it does. Runs to completion; what
// it attaches stays. Exit codes: 0 done, 1 failed for at least one port, 2 wrong usage.
#include <bpf/libbpf.h>
#include <fmt/core.h>
#include <fmt/ranges.h>
#include <linux/capability.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <exception>
#include <iterator>
#include <string>
#include <vector>

#include "steering_bpf/attach.hpp"
#include "steering_bpf/report.hpp"

namespace {

using namespace millrace;
using namespace millrace::steering;

constexpr int failed = 1;
constexpr int wrong_usage = 2;

struct Arguments {
    std::vector<std::string> ports;
    AttachOptions attach;
    bool all = false;
    bool all_reasons = false;
    bool json = false;
};

int complain(const std::string& text) {
    fmt::print(stderr, "millrace-steer: {}\n", text);
    return failed;
}

// CAP_SYS_ADMIN stands for CAP_BPF too.
bool privileged() {
    __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
    __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3] = {};
    if (syscall(SYS_capget, &header, data) != 0) {
        return false;
    }
    const auto has = [&](int capability) {
        return (data[CAP_TO_INDEX(capability)].effective & CAP_TO_MASK(capability)) != 0;
    };
    return has(CAP_NET_ADMIN) && (has(CAP_BPF) || has(CAP_SYS_ADMIN));
}

std::string removed_text(const std::vector<std::string>& pins) {
    return pins.empty() ? "" : fmt::format("; removed pins of another version: {}", fmt::join(pins, ", "));
}

int run_attach(const Arguments& arguments) {
    int code = 0;
    for (const std::string& port : arguments.ports) {
        const auto report = attach(port, arguments.attach);
        if (!report) {
            code = complain(report.error().text());
            continue;
        }
        fmt::print("{}: {} in {} mode (program {}){}{}\n", port,
                   report->already_attached ? "already attached"
                   : report->upgraded       ? "upgraded"
                                            : "attached",
                   name(report->mode), report->program_id,
                   !report->upgraded   ? ""
                   : report->maps_kept ? "; its maps stay"
                                       : "; with new maps, for a millraced of this version",
                   removed_text(report->removed));
    }
    return code;
}

int run_detach(Arguments arguments) {
    if (arguments.all) {
        auto found = status(arguments.attach.pin_root);
        if (!found) {
            return complain(found.error().text());
        }
        for (const PortStatus& port : *found) {
            arguments.ports.push_back(port.port);
        }
    }
    int code = 0;
    for (const std::string& port : arguments.ports) {
        const auto done = detach(port, arguments.attach.pin_root);
        if (!done) {
            code = complain(done.error().text());
            continue;
        }
        fmt::print("{}: detached{}\n", port, removed_text(*done));
    }
    return code;
}

int run_status(const Arguments& arguments) {
    auto found = status(arguments.attach.pin_root);
    if (!found) {
        return complain(found.error().text());
    }
    int code = 0;
    for (const std::string& port : arguments.ports) {
        if (std::none_of(found->begin(), found->end(), [&](const PortStatus& s) { return s.port == port; })) {
            code = complain(fmt::format("port {}: no classifier attached", port));
        }
    }
    const auto wanted = [&](const PortStatus& s) {
        return arguments.ports.empty() ||
               std::find(arguments.ports.begin(), arguments.ports.end(), s.port) != arguments.ports.end();
    };
    std::erase_if(*found, [&](const PortStatus& s) { return !wanted(s); });
    if (arguments.json) {
        std::vector<std::string> rows;
        std::transform(found->begin(), found->end(), std::back_inserter(rows), report_json);
        fmt::print("[\n{}\n]\n", fmt::join(rows, ",\n"));
    } else {
        for (const PortStatus& port : *found) {
            fmt::print("{}", report_text(port, arguments.all_reasons));
        }
    }
    if (found->empty() && arguments.ports.empty() && !arguments.json) {
        fmt::print("no port has a classifier attached ({})\n", arguments.attach.pin_root);
    }
    return code;
}

int command_line(int argc, char** argv) {
    Arguments arguments;
    CLI::App app("Attaches millrace's classifier to netdevs.", "millrace-steer");
    app.set_version_flag("--version", "millrace-steer " MILLRACE_VERSION);
    app.require_subcommand(1);
    const auto pin_root = [&](CLI::App* command) {
        command->add_option("--pin-root", arguments.attach.pin_root, "where links and maps are pinned")
            ->capture_default_str()
            ->type_name("DIR");
    };

    CLI::App* attach_command = app.add_subcommand("attach", "load the classifier on ports, and pin it");
    attach_command->add_option("PORT", arguments.ports, "netdevs")->required();
    std::string mode = "auto";
    attach_command->add_option("--mode", mode, "auto (native, else generic), native or generic")
        ->check(CLI::IsMember({"auto", "native", "generic"}).description(""))
        ->type_name("MODE");
    attach_command->add_flag("--force", arguments.attach.force, "remove pins that this version doesn't know");
    pin_root(attach_command);
    attach_command->footer("Example: millrace-steer attach e0 e1 --mode native");

    CLI::App* detach_command = app.add_subcommand("detach", "take the classifier off ports");
    CLI::Option* detach_ports = detach_command->add_option("PORT", arguments.ports, "netdevs");
    detach_command->add_flag("--all", arguments.all, "every port that has one")->excludes(detach_ports);
    pin_root(detach_command);
    detach_command->footer("Example: millrace-steer detach e0");
    detach_command->callback([&] {
        if (arguments.ports.empty() && !arguments.all) {
            throw CLI::RequiredError("PORT or --all");
        }
    });

    CLI::App* status_command = app.add_subcommand("status", "show ports and their counters");
    status_command->add_option("PORT", arguments.ports, "netdevs; none = all that have a classifier");
    status_command->add_flag("--json", arguments.json, "an array of objects, with all counters");
    status_command->add_flag("--all-reasons", arguments.all_reasons, "counters that are zero, too");
    pin_root(status_command);
    status_command->footer("Example: millrace-steer status e0 --all-reasons");

    app.footer(
        "Examples:\n"
        "  millrace-steer attach e0 e1\n"
        "  millrace-steer status --json\n"
        "  millrace-steer detach --all");
    try {
        app.parse(argc, argv);
    } catch (const CLI::ParseError& error) {
        return app.exit(error) == 0 ? 0 : wrong_usage;
    }
    libbpf_set_print(nullptr);  // errors carry what it said
    if (!privileged()) {
        return complain("needs root, or CAP_BPF and CAP_NET_ADMIN");
    }
    if (attach_command->parsed()) {
        for (const Mode m : {Mode::automatic, Mode::native, Mode::generic}) {
            if (mode == name(m)) {
                arguments.attach.mode = m;
            }
        }
        return run_attach(arguments);
    }
    return detach_command->parsed() ? run_detach(arguments) : run_status(arguments);
}

}  // namespace

int main(int argc, char** argv) {
    try {
        return command_line(argc, argv);
    } catch (const std::exception& error) {  // out of memory, or stdout is gone
        std::fputs("millrace-steer: ", stderr);
        std::fputs(error.what(), stderr);
        std::fputs("\n", stderr);
        return failed;
    }
}
