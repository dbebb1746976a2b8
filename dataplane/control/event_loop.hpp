// SPDX-License-Identifier: BSD-3-Clause
// The control thread's event loop, over sd-event. Handlers run one at a time on the thread that calls run().
#pragma once

#include <systemd/sd-event.h>

#include <cstdint>
#include <functional>
#include <memory>

#include "millrace/result.hpp"

namespace millrace::dataplane {

class EventLoop {
  public:
    static Result<std::unique_ptr<EventLoop>> create();
    ~EventLoop();
    EventLoop(const EventLoop&) = delete;
    EventLoop& operator=(const EventLoop&) = delete;

    // A registration ends with its object. Handlers must not throw.
    class Source {
      public:
        ~Source();
        Source(const Source&) = delete;
        Source& operator=(const Source&) = delete;
        // events: EPOLLIN, EPOLLOUT; of on_io sources only.
        void listen_for(uint32_t events);

      private:
        friend class EventLoop;
        Source() = default;
        sd_event_source* source_ = nullptr;
        uint64_t period_us_ = 0;
        std::function<void(uint32_t events)> handler_;
    };
    using Handle = std::unique_ptr<Source>;

    // handler gets the events that came.
    Result<Handle> on_io(int fd, uint32_t events, std::function<void(uint32_t events)> handler);
    // Every period_us microseconds; periods that were missed are not made up for.
    Result<Handle> every(uint64_t period_us, std::function<void()> handler);
    // The signal is blocked for the process from here on; call before any thread is started.
    Result<Handle> on_signal(int signal, std::function<void()> handler);

    Status run();
    void stop();

  private:
    EventLoop() = default;
    sd_event* event_ = nullptr;
};

}  // namespace millrace::dataplane
