// SPDX-License-Identifier: BSD-3-Clause
#include "dataplane/cli/sync_text.hpp"

#include <fmt/core.h>

#include <string_view>

#include "dataplane/cli/table.hpp"

namespace millrace::cli {

namespace {

using Json = nlohmann::json;

std::string number(const Json& row, const char* key) {
    return grouped(row.value(key, uint64_t{0}));
}

std::string seconds(uint64_t ms) {
    return ms < 60'000 ? fmt::format("{:.1f} s", static_cast<double>(ms) / 1000)
                       : fmt::format("{} min {} s", ms / 60'000, ms / 1000 % 60);
}

std::string state(const Json& row) {
    const std::string name = row.value("state", "?");
    const Json resync = row.value("resync", Json());
    if (resync.is_null()) {
        return name == "synced" ? "in sync" : name;
    }
    const std::string stage = resync.value("stage", "?");
    std::string text = stage == "applying" ? "applying" : "dumping " + stage;
    text += ": " + number(resync, "done");
    if (resync["expected"].is_number()) {
        const char* about = stage == "applying" ? "" : "about ";
        text += fmt::format(" of {}{}", about, number(resync, "expected"));
    }
    return text + fmt::format(", since {}", seconds(resync.value("running_ms", uint64_t{0})));
}

std::string audit(const Json& row) {
    std::string text = fmt::format("{} walks, {} differences, {} repaired", number(row, "audit_walks"),
                                   number(row, "audit_differences"), number(row, "audit_repaired"));
    if (const Json ago = row.value("audit_last_walk_ago_ms", Json()); ago.is_number()) {
        text += fmt::format("; the last one {} ago, took {}", seconds(ago.get<uint64_t>()),
                            seconds(row.value("audit_last_walk_ms", uint64_t{0})));
    }
    return text;
}

std::string last(const Json& last) {
    if (last.is_null()) {
        return "none";
    }
    return fmt::format("{} ago, took {}: {}", seconds(last.value("ago_ms", uint64_t{0})),
                       seconds(last.value("duration_ms", uint64_t{0})), last.value("reason", "?"));
}

std::string told(const Json& last) {
    const Json tables = last.value("told", Json::object());
    return fmt::format("{} IPv4 and {} IPv6 routes, {} prefixes changed", number(tables, "IPv4 routes"),
                       number(tables, "IPv6 routes"), number(last, "changed"));
}

}  // namespace

std::string sync_text(const Json& row) {
    std::string text;
    const auto line = [&text](std::string_view name, const std::string& what) {
        text += fmt::format("{:<12}  {}\n", name, what);
    };
    line("state", state(row));
    if (const Json resync = row.value("resync", Json()); !resync.is_null()) {
        line("reason", resync.value("reason", "?"));
    }
    const Json last_resync = row.value("last_resync", Json());
    line("last resync", last(last_resync));
    if (!last_resync.is_null()) {
        line("", told(last_resync));
    }
    line("resyncs", fmt::format("{} completed, {} given up and begun again", number(row, "resyncs"),
                                number(row, "restarts")));
    line("because of", fmt::format("{} overruns, {} full queues, {} doubts,", number(row, "overruns"),
                                   number(row, "queue_overflows"), number(row, "doubts")));
    line("", fmt::format("{} interrupted dumps, {} failed dumps", number(row, "interrupted"),
                         number(row, "dump_failures")));
    line("messages", fmt::format("{} understood, {} of other kinds, {} malformed", number(row, "messages"),
                                 number(row, "ignored"), number(row, "decode_errors")));
    line("", fmt::format("{} batches given to the fast path", number(row, "commits")));
    line("holds", fmt::format("{} prefixes by {} groups over {} adjacencies", number(row, "prefixes"),
                              number(row, "groups"), number(row, "adjacencies")));
    line("", fmt::format("{} nexthop objects, {} neighbours", number(row, "nexthop_objects"),
                         number(row, "neighbors")));
    line("neighbours", fmt::format("{} requests to the kernel, {} refused", number(row, "neighbor_requests"),
                                   number(row, "neighbor_requests_refused")));
    line("audit", audit(row));
    if (const Json walk = row.value("audit_progress", Json()); !walk.is_null()) {
        const uint64_t total = walk.value("total", uint64_t{0});
        line("", fmt::format("now: {} {}{}", walk.value("what", "?"), number(walk, "done"),
                             total == 0 ? "" : " of " + grouped(total)));
    }
    return text;
}

}  // namespace millrace::cli
