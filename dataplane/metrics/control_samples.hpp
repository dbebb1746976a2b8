// SPDX-License-Identifier: BSD-3-Clause
// The samples of metrics that only the control thread may collect, for other threads. They are collected when
// somebody asks, and never else; the control thread waits for nobody, and whoever asks waits a little and
// then takes the last ones, which say how old they are.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <optional>
#include <vector>

#include "millrace/metric.hpp"
#include "millrace/result.hpp"
#include "steering_bpf/fd.hpp"

namespace millrace::dataplane {

class ControlSamples {
  public:
    using Clock = std::chrono::steady_clock;
    struct Collected {
        std::vector<MetricSamples> samples;  // of the control thread's metrics, in the registry's order
        Clock::time_point at;
    };

    // registry outlives it. Error: no descriptor.
    static Result<std::unique_ptr<ControlSamples>> create(const MetricRegistry& registry);

    // Readable when somebody asks: call answer(). For life.
    [[nodiscard]] int fd() const { return asked_fd_.get(); }
    // Control thread. Never waits: what others are about to read stays as it was, and they ask again.
    void answer();

    // Any thread but the control thread. nullptr: there was no answer yet.
    std::shared_ptr<const Collected> take(std::chrono::milliseconds patience);
    // Of the last ones; nullopt: there are none. Any thread but the control thread.
    std::optional<Clock::duration> age();
    // Who waits does so no longer, and nobody will again. Any thread.
    void end();

  private:
    ControlSamples(const MetricRegistry& registry, steering::Fd fd)
        : registry_(registry), asked_fd_(std::move(fd)) {}
    void ask();

    const MetricRegistry& registry_;
    steering::Fd asked_fd_;
    std::mutex mutex_;
    std::condition_variable changed_;
    std::shared_ptr<const Collected> last_;  // guarded by mutex_
    uint64_t answers_ = 0;                   // the same
    std::atomic<bool> ended_{false};
};

}  // namespace millrace::dataplane
