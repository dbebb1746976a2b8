// SPDX-License-Identifier: BSD-3-Clause
// The route part of decode.hpp; and what it shares with the rest.
#pragma once

#include <fmt/core.h>

#include <string_view>

#include "fib_sync/attributes.hpp"
#include "fib_sync/decode.hpp"

namespace millrace::sync {

// The error for an attribute whose value has the wrong size or content.
[[nodiscard]] inline tl::unexpected<Error> bad(std::string_view message, std::string_view attribute) {
    return fail(fmt::format("{}: malformed {}", message, attribute));
}

// name: of the message, for errors. payload: behind the netlink header. flags: nlmsg_flags.
[[nodiscard]] Result<std::optional<Message>> decode_route(std::string_view name, bool removed, uint16_t flags,
                                                          Bytes payload);

}  // namespace millrace::sync
