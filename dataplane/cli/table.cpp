// SPDX-License-Identifier: BSD-3-Clause
#include "dataplane/cli/table.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <cstdio>
#include <map>

namespace millrace::cli {

namespace {

constexpr size_t rows_that_set_widths = 200;

std::string plain(const nlohmann::json& v) {
    if (v.is_string()) {
        return v.get<std::string>();
    }
    if (v.is_boolean()) {
        return v.get<bool>() ? "yes" : "no";
    }
    return v.is_null() ? "-" : v.dump();
}

Column field(std::string title, std::string key) {
    return {std::move(title), [key = std::move(key)](const nlohmann::json& row) {
                return row.contains(key) ? plain(row[key]) : "-";
            }};
}

Column number(std::string title, std::string key) {
    Column c = field(std::move(title), std::move(key));
    c.right = true;
    return c;
}

// "10.0.1.2 a0", "dev a0", several joined by ", ", with weights where they differ from 1.
std::string via(const nlohmann::json& row, const std::string& key) {
    const auto members = row.find(key);
    if (members == row.end()) {
        return "-";
    }
    std::string out;
    for (const auto& hop : *members) {
        out += out.empty() ? "" : ", ";
        const std::string interface = plain(hop["interface"]);
        out += hop["gateway"].is_null() ? "dev " + interface : plain(hop["gateway"]) + " " + interface;
        const auto weight = hop.value("weight", 1);
        out += weight == 1 ? "" : fmt::format(" x{}", weight);
        out += hop.value("usable", true) ? "" : " (unusable)";
    }
    return out.empty() ? "-" : out;
}

// "forward", or what else and why.
std::string outcome(const nlohmann::json& row) {
    const std::string what = plain(row["outcome"]);
    const std::string reason = row.value("reason", "");
    return what == "punt" ? reason : what;
}

// Of the time since the worker began.
std::string share(const nlohmann::json& row, const char* key) {
    const double whole = row.value("running_us", 0.0);
    return whole == 0 ? "-" : fmt::format("{:.1f}%", std::min(100.0, 100 * row.value(key, 0.0) / whole));
}

Column hops(const char* key) {
    return {"VIA", [key](const nlohmann::json& row) { return via(row, key); }};
}

const std::map<std::string, std::vector<Column>, std::less<>>& all_columns() {
    static const std::map<std::string, std::vector<Column>, std::less<>> all = {
        {"routes",
         {field("PREFIX", "prefix"),
          {"OUTCOME", outcome},
          field("PROTO", "protocol"),
          number("METRIC", "metric"),
          hops("via")}},
        {"count",
         {field("FAMILY", "family"), number("ROUTES", "routes"), number("FORWARD", "forward"),
          number("GLEAN", "glean"), number("PUNT", "punt"), number("DROP", "drop")}},
        {"nexthops",
         {number("GROUP", "group"),
          number("ID", "nexthop_id"),
          {"OUTCOME", outcome},
          number("ROUTES", "routes"),
          hops("members")}},
        {"neighbors",
         {field("ADDRESS", "address"), field("PORT", "interface"), field("MAC", "mac"),
          field("STATE", "state"), field("USABLE", "usable"), field("CARE", "care")}},
        {"ports",
         {field("PORT", "port"), field("STATE", "state"), field("UP", "usable"), number("MTU", "mtu"),
          number("QUEUES", "queues"), field("XDP", "xdp_mode"), field("SOCKETS", "xsk_mode"),
          number("RX", "rx_packets"), number("TX", "tx_packets"), number("TX-DROP", "tx_dropped"),
          number("PUNTED", "punted_packets"), field("", "reason")}},
        {"kept",
         {{"PORT",
           [](const nlohmann::json& row) { return row["port"].is_null() ? "all" : plain(row["port"]); }},
          field("KEPT IN THE KERNEL", "what"),
          field("CAUSE", "text")}},
        {"hooks",
         {{"WHERE",
           [](const nlohmann::json& row) {
               const std::string family = row["family"].is_null() ? "" : plain(row["family"]);
               return family.empty() ? plain(row["port"]) : family == "ipv4" ? "IPv4" : "IPv6";
           }},
          field("HOOK", "hook"),
          field("TRANSIT", "follows"),
          field("WHOSE", "text")}},
        {"steering",
         {field("PORT", "port"), field("REASON", "reason"), number("PACKETS", "packets"),
          number("BYTES", "bytes"), field("", "text")}},
        {"counters",
         {field("PORT", "port"), field("REASON", "reason"), number("PACKETS", "packets"), field("", "text")}},
        {"workers",
         {number("WORKER", "worker"),
          number("CORE", "core"),
          {"BUSY", [](const nlohmann::json& row) { return share(row, "busy_us"); }, true},
          {"ASLEEP", [](const nlohmann::json& row) { return share(row, "asleep_us"); }, true},
          number("SLEEPS", "sleeps"),
          number("BURSTS", "bursts"),
          number("RX", "rx_packets"),
          number("TX", "tx_packets"),
          number("TX-DROP", "tx_dropped")}},
        {"differences", {field("PREFIX", "subject"), field("WHERE", "where"), field("WHAT", "what")}},
    };
    return all;
}

}  // namespace

std::string grouped(uint64_t number) {
    std::string digits = std::to_string(number);
    for (size_t at = digits.size(); at > 3; at -= 3) {
        digits.insert(at - 3, ",");
    }
    return digits;
}

const std::vector<Column>* columns_of(const std::string& what) {
    const auto found = all_columns().find(what);
    return found == all_columns().end() ? nullptr : &found->second;
}

void Table::add(const nlohmann::json& row) {
    std::vector<std::string> cells;
    cells.reserve(columns_.size());
    for (const Column& c : columns_) {
        cells.push_back(c.cell(row));
    }
    waiting_.push_back(std::move(cells));
    if (!widths_.empty() || waiting_.size() >= rows_that_set_widths) {
        flush();
    }
}

void Table::finish() {
    flush();
}

void Table::flush() {
    if (widths_.empty()) {
        std::vector<std::string> titles;
        for (const Column& c : columns_) {
            titles.push_back(c.title);
            widths_.push_back(c.title.size());
        }
        for (const auto& cells : waiting_) {
            for (size_t i = 0; i < cells.size(); ++i) {
                widths_[i] = std::max(widths_[i], cells[i].size());
            }
        }
        print(titles);
    }
    for (const auto& cells : waiting_) {
        print(cells);
    }
    waiting_.clear();
}

void Table::print(const std::vector<std::string>& cells) const {
    std::string line;
    for (size_t i = 0; i < cells.size(); ++i) {
        const bool last = i + 1 == cells.size();
        if (columns_[i].right) {
            line += fmt::format("{:>{}}", cells[i], widths_[i]);
        } else if (last) {
            line += cells[i];
        } else {
            line += fmt::format("{:<{}}", cells[i], widths_[i]);
        }
        line += last ? "" : "  ";
    }
    line.erase(line.find_last_not_of(' ') + 1);
    fmt::print(out_, "{}\n", line);
}

}  // namespace millrace::cli
