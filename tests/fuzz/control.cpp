// SPDX-License-Identifier: BSD-3-Clause
// What a client may send to the operator's socket: the real server reads it, answers each line with whole
// lines of JSON or closes, and goes on.
#include <fmt/core.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <thread>

#include "dataplane/control/server.hpp"

using namespace millrace;

namespace {

class TwoRows : public RowSource {
  public:
    explicit TwoRows(ShowArguments arguments) : arguments_(std::move(arguments)) {}
    Step next(std::string& row) override {
        if (left_ == 0) {
            return Step::end;
        }
        if (--left_ == 1) {
            return Step::later;
        }
        row = nlohmann::json(arguments_).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
        return Step::row;
    }

  private:
    ShowArguments arguments_;
    int left_ = 3;
};

std::string path_of() {
    return (std::filesystem::temp_directory_path() / fmt::format("millrace-fuzz-{}.sock", getpid())).string();
}

// Lives as long as the process.
void serve() {
    std::thread([] {
        auto loop = dataplane::EventLoop::create();
        auto server = dataplane::Server::listen(**loop, path_of());
        if (!server) {
            std::fprintf(stderr, "%s\n", server.error().text().c_str());
            std::abort();
        }
        (*server)->add_show("rows", [](const ShowArguments& a) -> Result<std::unique_ptr<RowSource>> {
            return std::make_unique<TwoRows>(a);
        });
        (*loop)->run();
    }).detach();
}

int connect_to_it() {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    path_of().copy(address.sun_path, sizeof(address.sun_path) - 1);
    for (int attempt = 0; attempt < 1000; ++attempt) {
        const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        const timeval patience{10, 0};
        setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
        if (connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof(address)) == 0) {
            return fd;
        }
        close(fd);
        usleep(10'000);
    }
    std::fprintf(stderr, "the server is gone\n");
    std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    static const bool serving = [] {
        serve();
        return true;
    }();
    static_cast<void>(serving);
    const int fd = connect_to_it();
    send(fd, data, size, MSG_NOSIGNAL);
    shutdown(fd, SHUT_WR);
    std::string answer;
    std::array<char, 65536> chunk{};
    ssize_t n = 0;
    while ((n = recv(fd, chunk.data(), chunk.size(), 0)) > 0) {
        answer.append(chunk.data(), static_cast<size_t>(n));
    }
    const bool hangs = n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK);
    close(fd);
    bool good = !hangs && (answer.empty() || answer.back() == '\n');
    for (size_t at = 0; good && at < answer.size();) {
        const size_t end = answer.find('\n', at);
        good = nlohmann::json::accept(answer.substr(at, end - at));
        at = end + 1;
    }
    if (!good) {
        std::fprintf(stderr, "%s: %s\n", hangs ? "no end of the answer" : "not lines of JSON",
                     answer.c_str());
        std::abort();
    }
    return 0;
}
