// SPDX-License-Identifier: BSD-3-Clause
// The part of keeps.hpp that reads policy rules. Pure, any thread.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <vector>

#include "fib_sync/policy.hpp"
#include "millrace/keep.hpp"

namespace millrace::sync {

struct RulePort {
    std::string name;
    bool reverse_path = false;  // an rp_filter is in force on what comes in
};

// rules: all of one family, in the kernel's order.
[[nodiscard]] std::vector<Keep> keeps_of_rules(Family family, std::span<const Rule> rules,
                                               std::span<const RulePort> ports);

// Of two prefixes that both hold for a packet, the longer; nullopt where there is none.
[[nodiscard]] std::optional<Prefix> more_specific(const std::optional<Prefix>& a,
                                                  const std::optional<Prefix>& b);

}  // namespace millrace::sync
