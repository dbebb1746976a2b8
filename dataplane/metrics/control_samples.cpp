// SPDX-License-Identifier: BSD-3-Clause
#include "dataplane/metrics/control_samples.hpp"

#include <sys/eventfd.h>

#include <algorithm>
#include <cerrno>
#include <utility>

namespace millrace::dataplane {

namespace {
constexpr std::chrono::milliseconds ask_again{20};
}  // namespace

Result<std::unique_ptr<ControlSamples>> ControlSamples::create(const MetricRegistry& registry) {
    steering::Fd fd(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
    if (!fd) {
        return fail("metrics: no descriptor", errno);
    }
    return std::unique_ptr<ControlSamples>(new ControlSamples(registry, std::move(fd)));
}

void ControlSamples::ask() {
    eventfd_write(asked_fd_.get(), 1);  // full: it is readable already
}

void ControlSamples::answer() {
    eventfd_t asked = 0;
    eventfd_read(asked_fd_.get(), &asked);
    auto collected = std::make_shared<Collected>();
    collected->at = Clock::now();
    for (const Metric& metric : registry_.all()) {
        if (metric.thread == MetricThread::control) {
            metric.collect(collected->samples.emplace_back());
        }
    }
    std::shared_ptr<const Collected> before;  // freed without the lock
    {
        // A thread that holds it may be without a core.
        const std::unique_lock lock(mutex_, std::try_to_lock);
        if (!lock.owns_lock()) {
            return;
        }
        before = std::exchange(last_, std::move(collected));
        ++answers_;
    }
    changed_.notify_all();
}

std::shared_ptr<const ControlSamples::Collected> ControlSamples::take(std::chrono::milliseconds patience) {
    const auto until = Clock::now() + patience;
    std::unique_lock lock(mutex_);
    const uint64_t before = answers_;
    while (answers_ == before && !ended_.load() && Clock::now() < until) {
        lock.unlock();  // else the answer may find it locked, and be lost
        ask();
        lock.lock();
        changed_.wait_until(lock, std::min(until, Clock::now() + ask_again),
                            [&] { return answers_ != before || ended_.load(); });
    }
    return last_;
}

std::optional<ControlSamples::Clock::duration> ControlSamples::age() {
    const std::lock_guard lock(mutex_);
    return last_ == nullptr ? std::nullopt : std::optional(Clock::now() - last_->at);
}

void ControlSamples::end() {
    ended_.store(true);
    changed_.notify_all();
}

}  // namespace millrace::dataplane
