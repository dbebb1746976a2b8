// SPDX-License-Identifier: BSD-3-Clause
// The words of rows: what numbers are called, and parts that several rows have. Any thread, but for what
// takes a Mirror (control thread).
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "fib_sync/mirror.hpp"
#include "millrace/reason.hpp"
#include "millrace/result.hpp"

namespace millrace::sync {

// What becomes of packets to a prefix, in one word.
enum class Outcome : uint8_t { forward, glean, punt, drop };
inline constexpr size_t outcome_count = 4;
[[nodiscard]] std::string_view name(Outcome outcome);
[[nodiscard]] Outcome outcome_of(Reason reason);

inline constexpr std::string_view neighbor_protocol = "neighbor";  // of a neighbour's host route
// RTPROT_*: the name that iproute2 gives it, or the number.
[[nodiscard]] std::string protocol_name(uint8_t protocol);

[[nodiscard]] constexpr std::string_view family_name(Family family) {
    return family == Family::ipv4 ? "ipv4" : "ipv6";
}

[[nodiscard]] Result<Family> parse_family(const std::string& text);

// One line of JSON. An interface's name may be any bytes: what is not UTF-8 is replaced.
[[nodiscard]] std::string text_of(const nlohmann::ordered_json& json);

// The id, or null.
[[nodiscard]] nlohmann::ordered_json nexthop_json(const Groups::Group& group);
// [{"gateway","interface","weight","usable"}, ...]
[[nodiscard]] nlohmann::ordered_json members_json(const Mirror& mirror, const Groups::Group& group);

}  // namespace millrace::sync
