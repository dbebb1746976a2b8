// SPDX-License-Identifier: BSD-3-Clause
// Answers one question at a time on a thread of its own: the kernel may take long to answer, or hold its
// network configuration locked (RTNL) for as long as it likes, and the control thread has to go on.
#pragma once

#include <pthread.h>

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <ctime>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <thread>
#include <utility>

#include "fib_sync/wake_fd.hpp"
#include "millrace/result.hpp"

namespace millrace::sync {

template <class Question, class Answer>
class Background {
  public:
    // On that thread. stop: nobody wants the answer any more.
    using Work = std::function<Answer(const Question& question, const std::atomic<bool>& stop)>;
    struct Done {
        Answer answer;
        uint64_t cpu_ms = 0;  // that it took
    };

    // name: of the thread, at most 15 characters.
    static Result<std::unique_ptr<Background>> start(const char* name, Work work) {
        auto done = WakeFd::create();
        if (!done) {
            return tl::unexpected(done.error());
        }
        std::unique_ptr<Background> made(new Background(std::move(work), std::move(*done)));
        made->thread_ = std::thread([b = made.get()] { b->run(); });
        pthread_setname_np(made->thread_.native_handle(), name);
        return made;
    }
    // Waits for the answer under way.
    ~Background() {
        {
            const std::lock_guard lock(mutex_);
            stop_ = true;
        }
        wanted_.notify_one();
        thread_.join();
    }
    Background(const Background&) = delete;
    Background& operator=(const Background&) = delete;

    // The rest is one thread's, always the same. Not while one is under way.
    void ask(Question question) {
        asking_ = true;
        {
            const std::lock_guard lock(mutex_);
            question_ = std::move(question);
        }
        wanted_.notify_one();
    }
    [[nodiscard]] bool asking() const { return asking_; }
    // Readable once there is an answer, until take().
    [[nodiscard]] int fd() const { return done_fd_.fd(); }
    std::optional<Done> take() {
        if (!asking_) {
            return {};
        }
        const std::lock_guard lock(mutex_);
        asking_ = !done_;
        done_fd_.set(false);
        return std::exchange(done_, std::nullopt);
    }

  private:
    Background(Work work, WakeFd done) : work_(std::move(work)), done_fd_(std::move(done)) {}

    void run() {
        std::unique_lock lock(mutex_);
        while (true) {
            wanted_.wait(lock, [this] { return question_ || stop_; });
            if (stop_) {
                return;
            }
            const Question question = std::move(*std::exchange(question_, std::nullopt));
            lock.unlock();
            const uint64_t begin = cpu_ms();
            Done done{.answer = work_(question, stop_), .cpu_ms = cpu_ms() - begin};
            lock.lock();
            done_ = std::move(done);
            done_fd_.set(true);
        }
    }
    static uint64_t cpu_ms() {
        timespec t{};
        clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
        return static_cast<uint64_t>(t.tv_sec) * 1000 + static_cast<uint64_t>(t.tv_nsec) / 1'000'000;
    }

    Work work_;
    bool asking_ = false;
    std::mutex mutex_;
    std::condition_variable wanted_;
    std::optional<Question> question_;  // guarded by mutex_, as all that follows
    std::optional<Done> done_;
    WakeFd done_fd_;
    std::atomic<bool> stop_{false};
    std::thread thread_;
};

}  // namespace millrace::sync
