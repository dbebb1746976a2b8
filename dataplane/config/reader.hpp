// SPDX-License-Identifier: BSD-3-Clause
// Reads a TOML file key by key, and says of the first mistake where it is. Any thread.
#pragma once

#include <fmt/core.h>

#include <bit>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>

#include "dataplane/config/toml.hpp"
#include "millrace/result.hpp"

namespace millrace::dataplane {

// One pass over the file. The first mistake ends it; later readers do nothing.
class Reader {
  public:
    explicit Reader(std::string file) : file_(std::move(file)) {}

    using Keys = std::map<std::string_view, std::function<void(const toml::node&)>, std::less<>>;

    // Calls the handler of each key of a table; a key without one is a mistake.
    void table(const toml::node& node, const std::string& where, const Keys& keys) {
        const toml::table* t = node.as_table();
        if (t == nullptr) {
            mistake(node, fmt::format("{} must be a table", where));
            return;
        }
        for (const auto& [key, value] : *t) {
            const auto found = keys.find(key.str());
            if (found == keys.end()) {
                std::string known;
                for (const auto& [name, handler] : keys) {
                    known += (known.empty() ? "" : ", ") + std::string(name);
                }
                mistake(value, fmt::format("unknown key '{}' in {}; known are: {}", key.str(), where, known));
                return;
            }
            found->second(value);
            if (error_) {
                return;
            }
        }
    }

    template <class T>
    auto number(std::string_view key, T& out, int64_t low, int64_t high) {
        return [=, this, &out](const toml::node& node) {
            const auto value = node.value_exact<int64_t>();
            if (!value || *value < low || *value > high) {
                mistake(node, fmt::format("{} must be a whole number from {} to {}", key, low, high));
            } else {
                out = static_cast<T>(*value);
            }
        };
    }

    // A whole number is as good as one with a point.
    auto real(std::string_view key, double& out, double low, double high) {
        return [=, this, &out](const toml::node& node) {
            const auto value = node.value<double>();
            if (!value || !node.is_number() || *value < low || *value > high) {
                mistake(node, fmt::format("{} must be a number from {} to {}", key, low, high));
            } else {
                out = *value;
            }
        };
    }

    template <class T>
    auto power_of_two(std::string_view key, T& out, int64_t low, int64_t high) {
        return [=, this, &out](const toml::node& node) {
            number(key, out, low, high)(node);
            if (!error_ && !std::has_single_bit(out)) {
                mistake(node, fmt::format("{} must be a power of two", key));
            }
        };
    }

    auto text(std::string_view key, std::string& out, const std::set<std::string_view>& allowed = {}) {
        return [=, this, &out](const toml::node& node) {
            const auto value = node.value_exact<std::string>();
            if (!value || value->empty() || (!allowed.empty() && !allowed.contains(*value))) {
                std::string list;
                for (const auto& a : allowed) {
                    list += fmt::format("{}\"{}\"", list.empty() ? " of " : ", ", a);
                }
                mistake(node, list.empty() ? fmt::format("{} must be a string, not empty", key)
                                           : fmt::format("{} must be one{}", key, list));
            } else {
                out = *value;
            }
        };
    }

    auto each(std::string_view key, const std::function<void(const toml::node&)>& handler) {
        return [=, this](const toml::node& node) {
            const toml::array* array = node.as_array();
            if (array == nullptr) {
                mistake(node, fmt::format("{} must be a list: [...]", key));
                return;
            }
            for (const auto& element : *array) {
                if (!error_) {
                    handler(element);
                }
            }
        };
    }

    void mistake(const toml::node& node, const std::string& what) {
        if (!error_) {
            error_ = Error{fmt::format("{}:{}: {}", file_, node.source().begin.line, what), 0};
        }
    }
    void mistake(const std::string& what) {
        if (!error_) {
            error_ = Error{fmt::format("{}: {}", file_, what), 0};
        }
    }
    [[nodiscard]] const std::optional<Error>& error() const { return error_; }

  private:
    std::string file_;
    std::optional<Error> error_;
};

}  // namespace millrace::dataplane
