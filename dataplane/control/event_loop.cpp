// SPDX-License-Identifier: BSD-3-Clause
#include "dataplane/control/event_loop.hpp"

#include <pthread.h>

#include <csignal>
#include <utility>

namespace millrace::dataplane {

Result<std::unique_ptr<EventLoop>> EventLoop::create() {
    std::unique_ptr<EventLoop> loop(new EventLoop);
    if (const int error = sd_event_new(&loop->event_); error < 0) {
        return fail("event loop", -error);
    }
    return loop;
}

EventLoop::~EventLoop() {
    sd_event_unref(event_);
}

EventLoop::Source::~Source() {
    sd_event_source_disable_unref(source_);
}

void EventLoop::Source::listen_for(uint32_t events) {
    sd_event_source_set_io_events(source_, events);
}

Result<EventLoop::Handle> EventLoop::on_io(int fd, uint32_t events, std::function<void(uint32_t)> handler) {
    Handle handle(new Source);
    handle->handler_ = std::move(handler);
    const auto call = [](sd_event_source*, int, uint32_t revents, void* self) {
        const auto copy = static_cast<Source*>(self)->handler_;  // it may end its own source
        copy(revents);
        return 0;
    };
    if (const int error = sd_event_add_io(event_, &handle->source_, fd, events, call, handle.get());
        error < 0) {
        return fail("event loop: descriptor", -error);
    }
    return handle;
}

Result<EventLoop::Handle> EventLoop::every(uint64_t period_us, std::function<void()> handler) {
    Handle handle(new Source);
    handle->period_us_ = period_us;
    handle->handler_ = [handler = std::move(handler)](uint32_t) { handler(); };
    const auto call = [](sd_event_source* source, uint64_t, void* self) {
        auto* me = static_cast<Source*>(self);
        sd_event_source_set_time_relative(source, me->period_us_);
        sd_event_source_set_enabled(source, SD_EVENT_ONESHOT);
        me->handler_(0);
        return 0;
    };
    // Accuracy 1 us: the default of 250 ms would let heartbeats go stale.
    if (const int error = sd_event_add_time_relative(event_, &handle->source_, CLOCK_MONOTONIC, period_us, 1,
                                                     call, handle.get());
        error < 0) {
        return fail("event loop: timer", -error);
    }
    // Ahead of a flood of netlink messages: those may keep the loop busy, the heartbeat may not wait.
    sd_event_source_set_priority(handle->source_, SD_EVENT_PRIORITY_IMPORTANT);
    return handle;
}

Result<EventLoop::Handle> EventLoop::on_signal(int signal, std::function<void()> handler) {
    Handle handle(new Source);
    handle->handler_ = [handler = std::move(handler)](uint32_t) { handler(); };
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, signal);
    pthread_sigmask(SIG_BLOCK, &set, nullptr);
    const auto call = [](sd_event_source*, const struct signalfd_siginfo*, void* self) {
        static_cast<Source*>(self)->handler_(0);
        return 0;
    };
    if (const int error = sd_event_add_signal(event_, &handle->source_, signal, call, handle.get());
        error < 0) {
        return fail("event loop: signal", -error);
    }
    return handle;
}

Status EventLoop::run() {
    if (const int error = sd_event_loop(event_); error < 0) {
        return fail("event loop", -error);
    }
    return {};
}

void EventLoop::stop() {
    sd_event_exit(event_, 0);
}

}  // namespace millrace::dataplane
