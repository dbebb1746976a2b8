// SPDX-License-Identifier: BSD-3-Clause
#include "dataplane/cli/client.hpp"

#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <fmt/core.h>

#include <array>
#include <cerrno>
#include <nlohmann/json.hpp>
#include <utility>

namespace millrace::cli {

namespace {
constexpr time_t answer_seconds = 5;  // a daemon that lives takes milliseconds

Error silent(const std::string& path) {
    return Error{fmt::format("millraced at {} has not answered for {} s: it hangs, and the kernel forwards; "
                             "'systemctl restart millraced'",
                             path, answer_seconds),
                 0};
}
}  // namespace

Result<Client> Client::connect(const std::string& path) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    if (path.size() >= sizeof(address.sun_path)) {
        return fail("control socket " + path + ": path too long", ENAMETOOLONG);
    }
    path.copy(address.sun_path, sizeof(address.sun_path) - 1);
    Client client(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), path);
    const timeval patience{answer_seconds, 0};
    setsockopt(client.fd_, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
    setsockopt(client.fd_, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
    if (client.fd_ < 0 ||
        ::connect(client.fd_, reinterpret_cast<const sockaddr*>(&address), sizeof(address)) < 0) {
        switch (errno) {
            case ENOENT:
            case ECONNREFUSED:
                return fail(
                    fmt::format("millraced isn't running (nothing answers at {}); 'systemctl status "
                                "millraced' tells more, --socket names another place",
                                path));
            case EAGAIN:
                return tl::unexpected(silent(path));
            case EACCES:
                return fail(fmt::format(
                    "no permission to use {}; it takes root, or a member of the group that owns it", path));
            default:
                return fail("control socket " + path, errno);
        }
    }
    return client;
}

Client::Client(Client&& other) noexcept
    : fd_(std::exchange(other.fd_, -1)), path_(std::move(other.path_)), buffer_(std::move(other.buffer_)) {}

Client::~Client() {
    if (fd_ >= 0) {
        close(fd_);
    }
}

Result<std::string_view> Client::read_line() {
    while (true) {
        const auto newline = buffer_.find('\n', start_);
        if (newline != std::string::npos) {
            const auto line = std::string_view(buffer_).substr(start_, newline - start_);
            start_ = newline + 1;
            return line;
        }
        buffer_.erase(0, start_);
        start_ = 0;
        std::array<char, 65536> chunk;
        const ssize_t n = recv(fd_, chunk.data(), chunk.size(), 0);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0 && errno == EAGAIN) {
            return tl::unexpected(silent(path_));
        }
        if (n <= 0) {
            return fail(fmt::format("millraced at {} closed the connection", path_), n < 0 ? errno : 0);
        }
        buffer_.append(chunk.data(), static_cast<size_t>(n));
    }
}

Status Client::ask(const char* verb, const std::string& what, const ShowArguments& arguments,
                   const std::function<void(std::string_view)>& row) {
    constexpr std::string_view row_begins = "{\"row\":";
    const std::string request = nlohmann::json{{verb, what}, {"arguments", arguments}}.dump() + "\n";
    if (send(fd_, request.data(), request.size(), MSG_NOSIGNAL) != static_cast<ssize_t>(request.size())) {
        return errno == EAGAIN ? Status(tl::unexpected(silent(path_)))
                               : fail("millraced at " + path_ + " doesn't take the request", errno);
    }
    while (true) {
        const auto line = read_line();
        if (!line) {
            return tl::unexpected(line.error());
        }
        // There may be millions of these: what can be told from its beginning is not parsed.
        if (line->starts_with(row_begins) && line->ends_with('}')) {
            row(line->substr(row_begins.size(), line->size() - row_begins.size() - 1));
            continue;
        }
        const auto answer = nlohmann::json::parse(*line, nullptr, false);
        if (answer.contains("end")) {
            return {};
        } else if (answer.contains("error")) {
            return fail(answer["error"].get<std::string>());
        } else {
            return fail("millraced at " + path_ +
                        " answered with something else than rows; is it another version?");
        }
    }
}

}  // namespace millrace::cli
