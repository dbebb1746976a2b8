// SPDX-License-Identifier: BSD-3-Clause
// Rows as a table for a terminal. Prints as rows come: the first ones set the widths, so that a table of a
// million rows starts at once.
#pragma once

#include <cstdio>
#include <functional>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace millrace::cli {

struct Column {
    std::string title;
    std::function<std::string(const nlohmann::json&)> cell;
    bool right = false;  // numbers
};

class Table {
  public:
    explicit Table(std::vector<Column> columns, std::FILE* out = stdout)
        : columns_(std::move(columns)), out_(out) {}
    void add(const nlohmann::json& row);
    // Prints what waits, and the titles if there was no row at all.
    void finish();

  private:
    void flush();
    void print(const std::vector<std::string>& cells) const;

    std::vector<Column> columns_;
    std::FILE* out_;
    std::vector<size_t> widths_;  // empty until the first flush
    std::vector<std::vector<std::string>> waiting_;
};

// 1,200,000
std::string grouped(uint64_t number);

// What `millrace show` shows as a table, and how; "count" is for `show routes --count`. nullptr when there is
// no such table.
const std::vector<Column>* columns_of(const std::string& what);

}  // namespace millrace::cli
