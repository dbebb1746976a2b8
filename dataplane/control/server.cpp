// SPDX-License-Identifier: BSD-3-Clause
#include "dataplane/control/server.hpp"

#include <fcntl.h>
#include <poll.h>
#include <spdlog/spdlog.h>
#include <sys/epoll.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <filesystem>
#include <iterator>
#include <nlohmann/json.hpp>
#include <utility>

namespace millrace::dataplane {

namespace {

constexpr size_t max_request = 65536;         // bytes of one line
constexpr size_t output_watermark = 65536;    // rows are made while less than this waits to be sent
constexpr std::chrono::seconds quiet{10};     // between two lines of the log that say the same
constexpr int looks = 60;                     // for clients that wait, in the time that they may
constexpr std::chrono::milliseconds turn{2};  // ... and no longer than this: others wait for the loop

Result<sockaddr_un> address_of(const std::string& path) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    if (path.size() >= sizeof(address.sun_path)) {
        return fail(
            fmt::format("control socket {}: path is longer than {}", path, sizeof(address.sun_path) - 1));
    }
    path.copy(address.sun_path, sizeof(address.sun_path) - 1);
    return address;
}

bool somebody_answers(const sockaddr_un& address) {
    // One that stands still has a full backlog: EAGAIN, instead of waiting for it.
    const steering::Fd fd(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    return connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) == 0 ||
           errno == EAGAIN;
}

// The address, if nobody else has it: the lock is held by who is to listen there. The kernel lets it go with
// the process, however that ends.
Result<sockaddr_un> take_address(const std::string& path, steering::Fd& lock) {
    auto address = address_of(path);
    if (!address) {
        return address;
    }
    std::error_code code;
    std::filesystem::create_directories(std::filesystem::path(path).parent_path(), code);
    if (code) {
        return fail(fmt::format("control socket {}: its folder can't be made", path), code.value());
    }
    lock = steering::Fd(open((path + ".lock").c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600));
    if (!lock) {
        return fail(fmt::format("control socket {}: its lock can't be made", path), errno);
    }
    if (flock(lock.get(), LOCK_EX | LOCK_NB) != 0 || somebody_answers(*address)) {
        return fail(fmt::format("control socket {}: another millraced is running", path));
    }
    return address;
}

std::string error_line(const std::string& what) {
    return nlohmann::json{{"error", what}}.dump() + "\n";
}

}  // namespace

Server::Client::~Client() {
    handle.reset();
    if (fd >= 0) {
        close(fd);
    }
}

Status Server::bind_socket() {
    const auto address = take_address(path_, lock_);
    if (!address) {
        return tl::unexpected(address.error());
    }
    unlink(path_.c_str());  // of one that was killed
    fd_ = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd_ < 0 || fchmod(fd_, 0660) < 0 ||
        bind(fd_, reinterpret_cast<const sockaddr*>(&*address), sizeof(*address)) < 0 ||
        chmod(path_.c_str(), 0660) < 0 || ::listen(fd_, 16) < 0) {
        return fail(fmt::format("control socket {}", path_), errno);
    }
    return {};
}

Result<std::unique_ptr<Server>> Server::listen(EventLoop& loop, const std::string& path,
                                               std::chrono::milliseconds patience) {
    std::unique_ptr<Server> server(new Server(loop, path));
    if (auto bound = server->bind_socket(); !bound) {
        return tl::unexpected(bound.error());
    }
    auto handle = loop.on_io(server->fd_, EPOLLIN, [s = server.get()](uint32_t) { s->accept_client(); });
    if (!handle) {
        return tl::unexpected(handle.error());
    }
    server->handle_ = std::move(*handle);
    const auto period = std::chrono::duration_cast<std::chrono::microseconds>(patience) / looks;
    auto timer = loop.every(static_cast<uint64_t>(period.count()), [s = server.get(), patience] {
        s->drop_those_that_wait(patience);
        s->handle_->listen_for(EPOLLIN);  // descriptors that others had may be free again
    });
    if (!timer) {
        return tl::unexpected(timer.error());
    }
    server->timer_ = std::move(*timer);
    return server;
}

Status Server::could_listen(const std::string& path) {
    const auto loop = EventLoop::create();
    if (!loop) {
        return tl::unexpected(loop.error());
    }
    return Server(**loop, path).bind_socket();
}

void Server::drop_those_that_wait(std::chrono::milliseconds patience) {
    const auto now = std::chrono::steady_clock::now();
    for (auto client = clients_.begin(); client != clients_.end();) {
        const auto next = std::next(client);
        // Rows that are still to be made are ours to wait for, where the socket would take them.
        pollfd socket{.fd = client->fd, .events = POLLOUT, .revents = 0};
        const bool ours = client->rows != nullptr && client->output.empty() && poll(&socket, 1, 0) == 1;
        if (ours) {
            client->moved = now;
        } else if (now - client->moved > patience) {
            const bool slow = client->rows != nullptr || !client->output.empty();
            spdlog::info("control socket: a client {} for {} s; connection closed",
                         slow ? "took nothing of its answer" : "asked nothing",
                         std::chrono::duration_cast<std::chrono::seconds>(patience).count());
            drop(client);
        }
        client = next;
    }
}

Server::~Server() {
    clients_.clear();
    timer_.reset();
    handle_.reset();
    if (fd_ >= 0) {
        close(fd_);
        unlink(path_.c_str());
    }
}

void Server::accept_client() {
    const int fd = accept4(fd_, nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (fd < 0) {
        if (errno == EMFILE || errno == ENFILE) {
            handle_->listen_for(0);  // it would stay readable
            // Each connection that ends may let another one come as far as this.
            const auto now = std::chrono::steady_clock::now();
            if (now - std::exchange(full_at_, now) > quiet) {
                spdlog::warn("control socket: no descriptor for another connection until some are free");
            }
        }
        return;
    }
    const auto client = clients_.emplace(clients_.end());
    client->fd = fd;
    client->moved = std::chrono::steady_clock::now();
    auto handle = loop_.on_io(fd, EPOLLIN, [this, client](uint32_t events) {
        if (!serve(*client, events)) {
            drop(client);
        }
    });
    if (!handle) {
        spdlog::warn("control socket: {}", handle.error().text());
        clients_.erase(client);
        return;
    }
    client->handle = std::move(*handle);
}

void Server::drop(std::list<Client>::iterator client) {
    clients_.erase(client);
    handle_->listen_for(EPOLLIN);
}

bool Server::serve(Client& client, uint32_t events) {
    if ((events & (EPOLLHUP | EPOLLERR)) != 0 || ((events & EPOLLIN) != 0 && !receive(client))) {
        return false;
    }
    produce(client);
    if (!send_output(client)) {
        return false;
    }
    const bool more =
        client.rows != nullptr || !client.output.empty() || client.input.find('\n') != std::string::npos;
    if (client.ended && !more) {
        return false;
    }
    client.handle->listen_for((client.ended ? 0U : uint32_t{EPOLLIN}) | (more ? uint32_t{EPOLLOUT} : 0U));
    return true;
}

bool Server::receive(Client& client) {
    std::array<char, 4096> buffer;
    const ssize_t n = recv(client.fd, buffer.data(), buffer.size(), 0);
    if (n < 0) {
        return errno == EAGAIN || errno == EINTR;
    }
    client.input.append(buffer.data(), static_cast<size_t>(n));
    if (client.input.size() > max_request) {
        spdlog::warn("control socket: a request of over {} bytes; connection closed", max_request);
        return false;
    }
    client.ended = n == 0;
    client.moved = std::chrono::steady_clock::now();
    return true;
}

void Server::begin(Client& client, const std::string& line) {
    const auto request = nlohmann::json::parse(line, nullptr, false);
    const bool is_action = request.is_object() && request.contains("do");
    const char* verb = is_action ? "do" : "show";
    if (!request.is_object() || !request.contains(verb) || !request[verb].is_string()) {
        client.output += error_line(
            "a request is one JSON object a line: {\"show\": NAME, \"arguments\": {...}}, or \"do\"");
        return;
    }
    const auto& name = request[verb].get_ref<const std::string&>();
    const auto& known = is_action ? actions_ : shows_;
    const auto found = known.find(name);
    if (found == known.end()) {
        client.output += error_line(fmt::format("nothing is called '{}'", name));
        return;
    }
    ShowArguments arguments;
    if (request.contains("arguments") && request["arguments"].is_object()) {
        for (const auto& [key, value] : request["arguments"].items()) {
            arguments[key] = value.is_string() ? value.get<std::string>() : value.dump();
        }
    }
    auto rows = found->second(arguments);
    if (!rows) {
        client.output += error_line(rows.error().text());
        return;
    }
    client.rows = std::move(*rows);
    client.row_count = 0;
}

void Server::produce(Client& client) {
    std::string row;
    const auto until = std::chrono::steady_clock::now() + turn;
    while (client.output.size() < output_watermark && std::chrono::steady_clock::now() < until) {
        if (client.rows == nullptr) {
            const auto newline = client.input.find('\n');
            if (newline == std::string::npos) {
                return;
            }
            const std::string line = client.input.substr(0, newline);
            client.input.erase(0, newline + 1);
            begin(client, line);
            continue;
        }
        switch (client.rows->next(row)) {
            case RowSource::Step::row:
                client.output.append("{\"row\":").append(row).append("}\n");
                ++client.row_count;
                break;
            case RowSource::Step::later:
                return;  // the socket stays writable: the loop comes back when it has served the others
            case RowSource::Step::end:
                client.output += fmt::format("{{\"end\":{{\"rows\":{}}}}}\n", client.row_count);
                client.rows.reset();
                break;
        }
    }
}

bool Server::send_output(Client& client) {
    if (client.output.empty()) {
        return true;
    }
    const ssize_t n = send(client.fd, client.output.data(), client.output.size(), MSG_NOSIGNAL);
    if (n < 0) {
        return errno == EAGAIN || errno == EINTR;
    }
    client.output.erase(0, static_cast<size_t>(n));
    client.moved = std::chrono::steady_clock::now();
    return true;
}

}  // namespace millrace::dataplane
