// SPDX-License-Identifier: BSD-3-Clause
// The operator's socket, both ends, in one process: the daemon's server on a thread, the CLI's client here.
#include "dataplane/control/server.hpp"

#include <fmt/core.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <filesystem>
#include <thread>
#include <utility>

#include "dataplane/cli/client.hpp"

namespace millrace {
namespace {

class Numbers : public RowSource {
  public:
    explicit Numbers(int count) : count_(count) {}
    Step next(std::string& row) override {
        // Now and then it has nothing yet.
        if (next_ % 7 == 3 && !std::exchange(waited_, true)) {
            return Step::later;
        }
        waited_ = false;
        row = fmt::format(R"({{"n":{}}})", next_);
        return next_++ < count_ ? Step::row : Step::end;
    }

  private:
    int count_;
    int next_ = 0;
    bool waited_ = false;
};

class ServerTest : public testing::Test {
  protected:
    explicit ServerTest(std::chrono::milliseconds p = std::chrono::minutes(1)) : patience(p) {}
    void SetUp() override {
        folder = std::filesystem::temp_directory_path() / fmt::format("millrace-server-test-{}", getpid());
        path = folder / "sub" / "control.sock";
        loop = *dataplane::EventLoop::create();
        auto listening = dataplane::Server::listen(*loop, path, patience);
        ASSERT_TRUE(listening) << listening.error().text();
        server = std::move(*listening);
        server->add_show("numbers", [](const ShowArguments& a) -> Result<std::unique_ptr<RowSource>> {
            const auto count = a.find("count");
            if (count == a.end()) {
                return fail("count is missing");
            }
            return std::make_unique<Numbers>(std::stoi(count->second));
        });
        server->add_action("count", [this](const ShowArguments&) -> Result<std::unique_ptr<RowSource>> {
            ++acted;
            return std::make_unique<Numbers>(1);
        });
        // Also what ends the loop: stop() is not for other threads.
        timer = *loop->every(1000, [this] {
            if (stop) {
                loop->stop();
            }
        });
        thread = std::thread([this] { loop->run(); });
    }
    void TearDown() override {
        stop = true;
        thread.join();
        timer.reset();
        server.reset();
        loop.reset();
        EXPECT_FALSE(std::filesystem::exists(path)) << "the socket goes with the server";
        std::filesystem::remove_all(folder);
    }
    cli::Client connect() {
        auto client = cli::Client::connect(path);
        EXPECT_TRUE(client) << client.error().text();
        return std::move(*client);
    }

    // A client that speaks for itself; -1: refused.
    int raw_client() const {
        sockaddr_un address{};
        address.sun_family = AF_UNIX;
        path.copy(address.sun_path, sizeof(address.sun_path) - 1);
        const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        const timeval longest{5, 0};
        setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &longest, sizeof(longest));
        EXPECT_EQ(::connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof(address)), 0);
        return fd;
    }

    std::chrono::milliseconds patience;
    std::filesystem::path folder;
    std::string path;
    std::unique_ptr<dataplane::EventLoop> loop;
    std::unique_ptr<dataplane::Server> server;
    dataplane::EventLoop::Handle timer;
    std::atomic<int> acted{0};
    std::atomic<bool> stop{false};
    std::thread thread;
};

TEST_F(ServerTest, WhatIsDoneIsNoShowAndWhatIsShownIsNotDone) {
    auto client = cli::Client::connect(path);
    ASSERT_TRUE(client);
    int rows = 0;
    const auto row = [&](std::string_view) { ++rows; };
    EXPECT_TRUE(client->act("count", {}, row));
    EXPECT_EQ(rows, 1);
    EXPECT_EQ(client->show("count", {}, row).error().text(), "nothing is called 'count'");
    EXPECT_EQ(client->act("numbers", {}, row).error().text(), "nothing is called 'numbers'");
    EXPECT_EQ(acted, 1);
}

TEST_F(ServerTest, RowsComeWholeAndInOrder) {
    auto client = connect();
    for (const int count : {0, 1, 100000}) {
        int seen = 0;
        const auto status =
            client.show("numbers", {{"count", std::to_string(count)}}, [&](std::string_view row) {
                ASSERT_EQ(row, fmt::format(R"({{"n":{}}})", seen));
                ++seen;
            });
        EXPECT_TRUE(status);
        EXPECT_EQ(seen, count);
    }
}

TEST_F(ServerTest, ErrorsAreTheDaemonsWords) {
    auto client = connect();
    const auto none = [](std::string_view) { FAIL(); };
    EXPECT_EQ(client.show("numbers", {}, none).error().what, "count is missing");
    EXPECT_EQ(client.show("letters", {}, none).error().what, "nothing is called 'letters'");
}

TEST_F(ServerTest, GarbageIsAnsweredAndHarmsNobody) {
    auto other = connect();
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    path.copy(address.sun_path, sizeof(address.sun_path) - 1);
    for (const std::string& garbage : {std::string("\n"), std::string("{]\n"), std::string("[1]\n"),
                                       std::string("{\"show\":1}\n"), std::string("\0\xff\n", 3)}) {
        const int fd = socket(AF_UNIX, SOCK_STREAM, 0);
        ASSERT_EQ(::connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof(address)), 0);
        ASSERT_EQ(send(fd, garbage.data(), garbage.size(), 0), static_cast<ssize_t>(garbage.size()));
        std::array<char, 256> answer{};
        ASSERT_GT(recv(fd, answer.data(), answer.size(), 0), 0);
        EXPECT_EQ(std::string(answer.data()).find("{\"error\":"), 0U);
        close(fd);
    }
    const int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    ASSERT_EQ(::connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof(address)), 0);
    const std::string endless(100000, 'x');
    send(fd, endless.data(), endless.size(), MSG_NOSIGNAL);
    char c = 0;
    EXPECT_LE(recv(fd, &c, 1, 0), 0) << "a line without end is cut off";
    close(fd);
    EXPECT_TRUE(other.show("numbers", {{"count", "3"}}, [](std::string_view) {}));
}

TEST_F(ServerTest, AClientThatLeavesMidwayHarmsNobody) {
    {
        const std::string request = R"({"show":"numbers","arguments":{"count":"1000000"}})";
        sockaddr_un address{};
        address.sun_family = AF_UNIX;
        path.copy(address.sun_path, sizeof(address.sun_path) - 1);
        const int fd = socket(AF_UNIX, SOCK_STREAM, 0);
        ASSERT_EQ(::connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof(address)), 0);
        send(fd, (request + "\n").data(), request.size() + 1, 0);
        char c = 0;
        ASSERT_EQ(recv(fd, &c, 1, 0), 1);
        close(fd);
    }
    EXPECT_TRUE(connect().show("numbers", {{"count", "3"}}, [](std::string_view) {}));
}

// As `echo REQUEST | socat - UNIX:...` does: the whole answer comes all the same, and then the end.
TEST_F(ServerTest, AClientThatSendsNothingMoreGetsItsWholeAnswer) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    path.copy(address.sun_path, sizeof(address.sun_path) - 1);
    const int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    ASSERT_EQ(::connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof(address)), 0);
    const std::string request = "{\"show\":\"numbers\",\"arguments\":{\"count\":\"50000\"}}\n";
    const std::string twice = request + request;  // the second waits behind the first
    ASSERT_EQ(send(fd, twice.data(), twice.size(), 0), static_cast<ssize_t>(twice.size()));
    ASSERT_EQ(shutdown(fd, SHUT_WR), 0);
    std::string answer;
    std::array<char, 65536> chunk{};
    for (ssize_t n = 0; (n = recv(fd, chunk.data(), chunk.size(), 0)) > 0;) {
        answer.append(chunk.data(), static_cast<size_t>(n));
    }
    close(fd);
    EXPECT_EQ(std::count(answer.begin(), answer.end(), '\n'), 2 * 50001);
    EXPECT_TRUE(answer.ends_with("{\"end\":{\"rows\":50000}}\n"));
}

TEST_F(ServerTest, ASecondDaemonIsRefused) {
    auto second_loop = *dataplane::EventLoop::create();
    const auto second = dataplane::Server::listen(*second_loop, path);
    ASSERT_FALSE(second);
    EXPECT_NE(second.error().text().find("another millraced is running"), std::string::npos);
    EXPECT_TRUE(connect().show("numbers", {{"count", "1"}}, [](std::string_view) {}));
}

class ImpatientServerTest : public ServerTest {
  protected:
    ImpatientServerTest() : ServerTest(std::chrono::milliseconds(300)) {}
};

TEST_F(ImpatientServerTest, AClientThatAsksNothingIsLetGo) {
    const int idle = raw_client();
    char c = 0;
    EXPECT_EQ(recv(idle, &c, 1, 0), 0) << "the connection ends";
    close(idle);
    EXPECT_TRUE(connect().show("numbers", {{"count", "1"}}, [](std::string_view) {}));
}

TEST_F(ImpatientServerTest, AClientThatTakesNothingOfItsAnswerIsLetGo) {
    const int slow = raw_client();
    const std::string request = "{\"show\":\"numbers\",\"arguments\":{\"count\":\"10000000\"}}\n";
    ASSERT_EQ(send(slow, request.data(), request.size(), 0), static_cast<ssize_t>(request.size()));
    pollfd ended{.fd = slow, .events = POLLRDHUP, .revents = 0};
    ASSERT_EQ(poll(&ended, 1, 20'000), 1) << "it takes nothing, and nothing happens";
    std::array<char, 65536> chunk{};
    uint64_t bytes = 0;
    ssize_t n = 0;
    while ((n = recv(slow, chunk.data(), chunk.size(), 0)) > 0) {
        bytes += static_cast<uint64_t>(n);
    }
    EXPECT_EQ(n, 0) << "the connection has ended";
    EXPECT_LT(bytes, 10'000'000U) << "what the socket held";
    close(slow);
}

TEST_F(ImpatientServerTest, AClientThatTakesItsTimeButMovesIsServed) {
    const int fd = raw_client();
    const std::string request = "{\"show\":\"numbers\",\"arguments\":{\"count\":\"1\"}}\n";
    for (int i = 0; i < 4; ++i) {
        std::this_thread::sleep_for(std::chrono::milliseconds(200));
        ASSERT_EQ(send(fd, request.data(), request.size(), MSG_NOSIGNAL),
                  static_cast<ssize_t>(request.size()));
        std::array<char, 256> answer{};
        ASSERT_GT(recv(fd, answer.data(), answer.size(), 0), 0);
    }
    close(fd);
}

// Both look before either listens: one gets the path, and keeps it.
TEST_F(ServerTest, OfTwoStartsAtOnceOneListens) {
    for (int round = 0; round < 50; ++round) {
        const std::string where = folder / fmt::format("both-{}.sock", round);
        std::atomic<int> listening{0};
        std::atomic<int> ended{0};
        const auto start = [&] {
            auto own = *dataplane::EventLoop::create();
            auto one = dataplane::Server::listen(*own, where);
            listening += one ? 1 : 0;
            ++ended;
            while (ended != 2) {
                std::this_thread::yield();
            }
            if (one) {
                EXPECT_TRUE(std::filesystem::exists(where)) << "the other one took it away";
            }
        };
        std::thread other(start);
        start();
        other.join();
        ASSERT_EQ(listening, 1) << "round " << round;
    }
}

// The one that is refused leaves the other's socket alone.
TEST_F(ServerTest, WhetherOneCouldListenIsAskedWithoutATrace) {
    EXPECT_FALSE(dataplane::Server::could_listen(path));
    EXPECT_TRUE(std::filesystem::exists(path));
    EXPECT_TRUE(dataplane::Server::could_listen(folder / "other" / "c.sock"));
    EXPECT_FALSE(std::filesystem::exists(folder / "other" / "c.sock"));
    const auto refused = dataplane::Server::could_listen("/proc/nowhere/c.sock");
    ASSERT_FALSE(refused);
    EXPECT_NE(refused.error().text().find("/proc/nowhere/c.sock"), std::string::npos);
    EXPECT_FALSE(dataplane::Server::could_listen("/tmp/" + std::string(200, 'x')));
}

TEST(Client, ADaemonThatTakesNoConnectionIsGivenUp) {
    const std::string path =
        std::filesystem::temp_directory_path() / fmt::format("millrace-mute-{}", getpid());
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    path.copy(address.sun_path, sizeof(address.sun_path) - 1);
    const int mute = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    ASSERT_EQ(bind(mute, reinterpret_cast<const sockaddr*>(&address), sizeof(address)), 0);
    ASSERT_EQ(listen(mute, 0), 0);
    const auto first = cli::Client::connect(path);  // fills the backlog
    const auto begin = std::chrono::steady_clock::now();
    const auto second = cli::Client::connect(path);
    EXPECT_FALSE(second);
    EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(10));
    close(mute);
    unlink(path.c_str());
}

TEST(Client, NoDaemonIsOneClearLine) {
    const auto client = cli::Client::connect("/nonexistent/control.sock");
    ASSERT_FALSE(client);
    EXPECT_NE(client.error().text().find("millraced isn't running"), std::string::npos);
}

}  // namespace
}  // namespace millrace
