// SPDX-License-Identifier: BSD-3-Clause
// Errors that can be recovered from are values: what failed, in the operator's words, and the errno behind
// it.
#pragma once

#include <string>
#include <system_error>
#include <tl/expected.hpp>
#include <utility>

namespace millrace {

struct Error {
    std::string what;  // one line: the thing it is about, what is wrong, what to do
    int code = 0;      // errno, or 0 where no system call stands behind it

    // "what: <strerror>" where there is an errno, else what.
    [[nodiscard]] std::string text() const {
        return code == 0 ? what : what + ": " + std::generic_category().message(code);
    }
};

template <class T>
using Result = tl::expected<T, Error>;
using Status = Result<void>;

// errno_value is a positive errno. Any thread.
[[nodiscard]] inline tl::unexpected<Error> fail(std::string what, int errno_value = 0) {
    return tl::unexpected<Error>(Error{std::move(what), errno_value});
}

}  // namespace millrace
