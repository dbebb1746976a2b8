// SPDX-License-Identifier: BSD-3-Clause
#include "dataplane/daemon/log.hpp"

#include <sched.h>
#include <spdlog/async.h>
#include <spdlog/sinks/base_sink.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <csignal>
#include <memory>
#include <mutex>
#include <string_view>
#include <thread>

namespace millrace::dataplane {

namespace {

// Not stdio's stream: whoever else uses that would wait for the reader too.
class Stderr : public spdlog::sinks::base_sink<std::mutex> {
  public:
    [[nodiscard]] bool busy() const { return busy_.load(); }

  protected:
    void sink_it_(const spdlog::details::log_msg& message) override {
        busy_ = true;
        write_all(message);
        busy_ = false;
    }
    void flush_() override {}

  private:
    void write_all(const spdlog::details::log_msg& message) {
        spdlog::memory_buf_t line;
        formatter_->format(message, line);
        std::string_view rest(line.data(), line.size());
        while (!rest.empty()) {
            const ssize_t n = write(STDERR_FILENO, rest.data(), rest.size());
            if (n < 0 && errno == EINTR) {
                continue;
            }
            if (n <= 0) {
                return;  // nobody reads it
            }
            rest.remove_prefix(static_cast<size_t>(n));
        }
    }
    std::atomic<bool> busy_{false};
};

struct Log {
    std::shared_ptr<spdlog::details::thread_pool> pool;
    std::shared_ptr<Stderr> sink;
    uint64_t told = 0;
};

Log& log() {
    // Never destroyed: that would wait for the reader.
    static Log* const the_log = new Log;
    return *the_log;
}

void be_the_logs_thread(const Config& config) {
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, nullptr);  // they are the control thread's
    cpu_set_t beside;
    CPU_ZERO(&beside);
    sched_getaffinity(0, sizeof(beside), &beside);
    for (const uint16_t core : config.workers.cores) {
        CPU_CLR(core, &beside);
    }
    if (CPU_COUNT(&beside) > 0) {
        sched_setaffinity(0, sizeof(beside), &beside);
    }
}

}  // namespace

void start_log(const Config& config) {
    std::signal(SIGPIPE, SIG_IGN);
    log().pool = std::make_shared<spdlog::details::thread_pool>(log_room, 1,
                                                                [&config] { be_the_logs_thread(config); });
    log().sink = std::make_shared<Stderr>();
    auto logger = std::make_shared<spdlog::async_logger>("millraced", log().sink, log().pool,
                                                         spdlog::async_overflow_policy::overrun_oldest);
    // Under systemd the journal adds the time, and reads the priority from the prefix.
    spdlog::set_default_logger(logger);
    spdlog::set_level(spdlog::level::from_str(config.log_level));
    spdlog::set_pattern("%Y-%m-%d %H:%M:%S.%e %l: %v");
}

bool flush_log(std::chrono::milliseconds longest) {
    if (!log().pool) {
        return true;
    }
    const auto end = std::chrono::steady_clock::now() + longest;
    // Twice: in between, the thread has begun with what it took from the queue.
    for (int idle = 0; idle < 2;) {
        idle = log().pool->queue_size() == 0 && !log().sink->busy() ? idle + 1 : 0;
        if (std::chrono::steady_clock::now() > end) {
            return false;
        }
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    return true;
}

uint64_t lost_log_lines() {
    return log().pool ? log().pool->overrun_counter() : 0;
}

void tell_of_lost_log_lines() {
    const uint64_t lost = lost_log_lines();
    if (lost == log().told || log().pool->queue_size() > log_room / 2) {
        return;
    }
    spdlog::warn("{} lines of the log were lost: its reader did not take them", lost - log().told);
    log().told = lost;
}

}  // namespace millrace::dataplane
