// SPDX-License-Identifier: BSD-3-Clause
#include <arpa/inet.h>
#include <fmt/core.h>
#include <gmock/gmock.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <string>
#include <thread>

#include "dataplane/metrics/control_samples.hpp"
#include "dataplane/metrics/exporter.hpp"

namespace millrace::dataplane {
namespace {

using namespace std::chrono_literals;
using testing::HasSubstr;
using testing::Not;
using testing::StartsWith;

// A control thread that answers, unless it stands still.
class Control {
  public:
    explicit Control(ControlSamples& samples) : samples_(samples), thread_([this] { run(); }) {}
    ~Control() {
        stop_ = true;
        thread_.join();
    }
    Control(const Control&) = delete;
    Control& operator=(const Control&) = delete;
    void stand_still(bool still) { still_ = still; }
    [[nodiscard]] unsigned answers() const { return answers_; }

  private:
    void run() {
        while (!stop_) {
            pollfd p{.fd = samples_.fd(), .events = POLLIN, .revents = 0};
            if (still_) {
                std::this_thread::sleep_for(1ms);
            } else if (poll(&p, 1, 10) > 0) {
                samples_.answer();
                ++answers_;
            }
        }
    }
    ControlSamples& samples_;
    std::atomic<bool> stop_ = false;
    std::atomic<bool> still_ = false;
    std::atomic<unsigned> answers_ = 0;
    std::thread thread_;
};

class MetricsTest : public testing::Test {
  protected:
    MetricsTest() {
        registry_.add("millrace_states", "Counted by the control thread", MetricKind::gauge,
                      MetricThread::control, [this] { return ++states_; });
        registry_.add({.name = "millrace_things_total",
                       .help = "By port and reason",
                       .kind = MetricKind::counter,
                       .labels = {"port", "reason"},
                       .collect = [](MetricSamples& out) {
                           out.push_back({{"eth0", "so"}, 12345678901234.0});
                           out.push_back({{"a\xff\"b", "so"}, 1});
                       }});
        samples_ = std::move(*ControlSamples::create(registry_));
    }
    MetricRegistry registry_;
    std::atomic<int> states_ = 0;
    std::unique_ptr<ControlSamples> samples_;
};

TEST_F(MetricsTest, ControlThreadIsAskedByAScrapeAlone) {
    Control control(*samples_);
    std::this_thread::sleep_for(50ms);
    EXPECT_EQ(control.answers(), 0U);
    EXPECT_FALSE(samples_->age());
    const auto first = samples_->take(1s);
    ASSERT_NE(first, nullptr);
    ASSERT_EQ(first->samples.size(), 1U) << "of the control thread's metrics alone";
    EXPECT_GT(samples_->take(1s)->samples[0][0].value, first->samples[0][0].value)
        << "each takes what was collected after it asked";
    EXPECT_LT(*samples_->age(), 1s);
    std::this_thread::sleep_for(50ms);
    const unsigned answers = control.answers();
    EXPECT_GE(answers, 2U);
    std::this_thread::sleep_for(100ms);
    EXPECT_EQ(control.answers(), answers) << "nobody asks";
}

TEST_F(MetricsTest, OneThatStandsStillCostsAScrapeItsPatience) {
    Control control(*samples_);
    const auto before = samples_->take(1s);
    ASSERT_NE(before, nullptr);
    control.stand_still(true);
    std::this_thread::sleep_for(20ms);
    const auto begin = ControlSamples::Clock::now();
    const auto last = samples_->take(100ms);
    const auto took = ControlSamples::Clock::now() - begin;
    EXPECT_GE(took, 100ms);
    EXPECT_LT(took, 1s);
    EXPECT_EQ(last, before);
    EXPECT_GE(*samples_->age(), 100ms);
}

TEST_F(MetricsTest, TheEndWaitsForNobody) {
    std::thread asks([this] { EXPECT_EQ(samples_->take(10s), nullptr); });
    std::this_thread::sleep_for(20ms);
    const auto begin = ControlSamples::Clock::now();
    samples_->end();
    asks.join();
    EXPECT_LT(ControlSamples::Clock::now() - begin, 1s);
}

// A port of loopback that was free a moment ago.
uint16_t free_port() {
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof(address);
    EXPECT_EQ(bind(fd, reinterpret_cast<const sockaddr*>(&address), size), 0);
    EXPECT_EQ(getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size), 0);
    close(fd);
    return ntohs(address.sin_port);
}

int connected(uint16_t port) {
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    EXPECT_EQ(connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof(address)), 0);
    return fd;
}

std::string get(uint16_t port, const std::string& path) {
    const int fd = connected(port);
    const std::string request = "GET " + path + " HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    EXPECT_EQ(send(fd, request.data(), request.size(), MSG_NOSIGNAL), static_cast<ssize_t>(request.size()));
    std::string answer;
    std::array<char, 4096> buffer{};
    for (ssize_t n = 1; (n = read(fd, buffer.data(), buffer.size())) > 0;) {
        answer.append(buffer.data(), static_cast<size_t>(n));
    }
    close(fd);
    return answer;
}

class ExporterTest : public MetricsTest {
  protected:
    ExporterTest() : control_(*samples_) {
        auto started = Exporter::start(listen_, registry_, *samples_);
        EXPECT_TRUE(started) << started.error().text();
        exporter_ = std::move(*started);
    }
    uint16_t port_ = free_port();
    std::string listen_ = fmt::format("127.0.0.1:{}", port_);
    Control control_;
    std::unique_ptr<Exporter> exporter_;
};

TEST_F(ExporterTest, WritesTheTextFormat) {
    const std::string text = get(port_, "/metrics");
    EXPECT_THAT(text, StartsWith("HTTP/1.1 200 OK\r\n"));
    EXPECT_THAT(text, HasSubstr("# HELP millrace_states Counted by the control thread\n"
                                "# TYPE millrace_states gauge\n"
                                "millrace_states "));
    EXPECT_THAT(text, HasSubstr("# TYPE millrace_things_total counter\n"));
    EXPECT_THAT(text, testing::ContainsRegex(
                          R"(millrace_things_total\{port="eth0",reason="so"\} 12345678901234(\.0*)?)"));
    EXPECT_THAT(text, HasSubstr("port=\"a\xef\xbf\xbd\\\"b\"")) << "what is no UTF-8 is replaced";
    EXPECT_THAT(get(port_, "/etc/passwd"), StartsWith("HTTP/1.1 404"));
}

TEST_F(ExporterTest, WithoutAnAnswerOfTheControlThreadTheRestIsThere) {
    control_.stand_still(true);
    std::this_thread::sleep_for(20ms);
    const std::string text = get(port_, "/metrics");
    EXPECT_THAT(text, HasSubstr("millrace_things_total{"));
    EXPECT_THAT(text, Not(HasSubstr("millrace_states")));
}

TEST_F(ExporterTest, ThoseThatHangAreLetGo) {
    std::array<int, 8> hang{};
    for (int& fd : hang) {
        fd = connected(port_);
    }
    EXPECT_EQ(send(hang[0], "GET /met", 8, MSG_NOSIGNAL), 8);
    const auto begin = ControlSamples::Clock::now();
    EXPECT_THAT(get(port_, "/metrics"), HasSubstr("\nmillrace_states "));
    EXPECT_LT(ControlSamples::Clock::now() - begin, Exporter::most_idle * hang.size());
    for (const int fd : hang) {
        close(fd);
    }
}

TEST_F(ExporterTest, AnAddressThatIsTakenIsOneLine) {
    const auto second = Exporter::start(listen_, registry_, *samples_);
    ASSERT_FALSE(second);
    EXPECT_EQ(second.error().text(), "metrics: nobody can listen on " + listen_ + ": Address already in use");
}

TEST_F(ExporterTest, AnAddressOfAnotherMachineIsOneLine) {
    const auto second = Exporter::start("192.0.2.1:10179", registry_, *samples_);
    ASSERT_FALSE(second);
    EXPECT_EQ(second.error().text(),
              "metrics: nobody can listen on 192.0.2.1:10179: Cannot assign requested address");
}

TEST_F(ExporterTest, EndsAtOnceWhileAScrapeWaits) {
    control_.stand_still(true);
    std::this_thread::sleep_for(20ms);
    std::thread scrapes([this] { get(port_, "/metrics"); });
    const int hangs = connected(port_);
    std::this_thread::sleep_for(50ms);
    const auto begin = ControlSamples::Clock::now();
    exporter_.reset();
    EXPECT_LT(ControlSamples::Clock::now() - begin, 100ms);
    registry_ = MetricRegistry{};
    scrapes.join();
    close(hangs);
}

}  // namespace
}  // namespace millrace::dataplane
