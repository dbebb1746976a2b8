// SPDX-License-Identifier: BSD-3-Clause
// The operator's end of the daemon's socket (the protocol is described in dataplane/control/server.hpp).
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "millrace/result.hpp"
#include "millrace/rows.hpp"

namespace millrace::cli {

class Client {
  public:
    static Result<Client> connect(const std::string& path);
    ~Client();
    Client(Client&& other) noexcept;
    Client(const Client&) = delete;
    Client& operator=(const Client&) = delete;
    Client& operator=(Client&&) = delete;

    // Calls row for each row as it comes, with its text: one JSON object. Error: the daemon's own words, or
    // that it went away.
    Status show(const std::string& what, const ShowArguments& arguments,
                const std::function<void(std::string_view)>& row) {
        return ask("show", what, arguments, row);
    }
    // The same of something that it is to do.
    Status act(const std::string& what, const ShowArguments& arguments,
               const std::function<void(std::string_view)>& row) {
        return ask("do", what, arguments, row);
    }

  private:
    Status ask(const char* verb, const std::string& what, const ShowArguments& arguments,
               const std::function<void(std::string_view)>& row);
    Client(int fd, std::string path) : fd_(fd), path_(std::move(path)) {}
    // Good until the next call.
    Result<std::string_view> read_line();
    int fd_;
    std::string path_;
    std::string buffer_;
    size_t start_ = 0;
};

}  // namespace millrace::cli
