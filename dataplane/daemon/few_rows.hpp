// SPDX-License-Identifier: BSD-3-Clause
#pragma once

#include <nlohmann/json.hpp>
#include <utility>
#include <vector>

#include "millrace/rows.hpp"

namespace millrace::dataplane {

using Row = nlohmann::ordered_json;

// Names of netdevs may be any bytes: what is not UTF-8 is replaced.
inline std::string text_of(const Row& row) {
    return row.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

// For tables that are short whatever the router carries.
class FewRows : public RowSource {
  public:
    explicit FewRows(std::vector<Row> rows) : rows_(std::move(rows)) {}
    Step next(std::string& row) override {
        if (next_ == rows_.size()) {
            return Step::end;
        }
        row = text_of(rows_[next_++]);
        return Step::row;
    }

  private:
    std::vector<Row> rows_;
    size_t next_ = 0;
};

}  // namespace millrace::dataplane
