// SPDX-License-Identifier: BSD-3-Clause
#include "dataplane/daemon/keep_log.hpp"

#include <spdlog/spdlog.h>

#include <set>
#include <string>

namespace millrace::dataplane {

namespace {

// What the log says of them. Thousands of prefixes may share a reason, and anybody's ICMP can make them come
// and go: of these there is one line.
std::set<std::string> lines_of(std::span<const Keep> keeps) {
    std::set<std::string> lines;
    for (const Keep& k : keeps) {
        if (k.cause == KeepCause::bypass || k.cause == KeepCause::heartbeat) {
            continue;  // told at the start, and by who listens to the heart
        }
        if (k.prefix &&
            (k.cause == KeepCause::limit || k.cause == KeepCause::learned || k.cause == KeepCause::punts)) {
            lines.insert(fmt::format("prefixes that 'millrace show steering' lists: {}",
                                     k.cause == KeepCause::learned ? "learned by ICMP"
                                     : k.cause == KeepCause::punts ? "punted in bulk"
                                                                   : k.text));
        } else {
            // How many rules a chain has is no news.
            const std::string text = k.cause == KeepCause::netfilter
                                         ? k.text.substr(0, k.text.rfind(": ")) + " ([firewall] changes that)"
                                         : k.text;
            lines.insert(
                fmt::format("{}{}: {}", k.port.empty() ? "" : "port " + k.port + ": ", k.what(), text));
        }
    }
    return lines;
}

void say(std::string_view what, const std::set<std::string>& now, const std::set<std::string>& before) {
    for (const std::string& line : now) {
        if (!before.contains(line)) {
            spdlog::info("{}: {}", what, line);
        }
    }
}

}  // namespace

void log_change(std::span<const Keep> before, std::span<const Keep> now) {
    const std::set<std::string> then_lines = lines_of(before);
    const std::set<std::string> now_lines = lines_of(now);
    say("left to the kernel", now_lines, then_lines);
    say("no longer left to the kernel", then_lines, now_lines);
}

}  // namespace millrace::dataplane
