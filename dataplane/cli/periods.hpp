// SPDX-License-Identifier: BSD-3-Clause
// Something that is shown again and again, on the terminal's screen or line after line.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <functional>
#include <memory>
#include <thread>

#include "dataplane/cli/screen.hpp"

namespace millrace::cli {

class Periods {
  public:
    // plain: on a terminal, too, line after line.
    Periods(double seconds, bool plain)
        : period_(std::chrono::duration_cast<std::chrono::steady_clock::duration>(
              std::chrono::duration<double>(seconds))),
          next_(std::chrono::steady_clock::now()),
          screen_(plain ? nullptr : Screen::open()) {}

    // nullptr: there is none.
    [[nodiscard]] Screen* screen() { return screen_.get(); }

    // The next time is one period later; what was missed is not made up for.
    void advance() { next_ = std::max(next_ + period_, std::chrono::steady_clock::now()); }
    // Until then. press(key): of each key but q; draw(): after it, and when the screen's size changes. false:
    // it is to end.
    bool wait(const std::function<void(char)>& press, const std::function<void()>& draw) {
        while (true) {
            switch (event()) {
                case Screen::Event::due:
                    return true;
                case Screen::Event::end:
                    return false;
                case Screen::Event::key:
                    if (screen_->key() == 'q') {
                        return false;
                    }
                    press(screen_->key());
                    break;
                case Screen::Event::resized:
                    break;
            }
            draw();
        }
    }
    // The exit code; whatever signal ended the screen ends the program.
    int end() {
        const int signal = screen_ ? screen_->signal() : 0;
        screen_.reset();
        std::fflush(stdout);
        end_by(signal);
        return 0;
    }

  private:
    Screen::Event event() {
        if (screen_) {
            return screen_->wait(next_);
        }
        std::fflush(stdout);
        std::this_thread::sleep_until(next_);
        return Screen::Event::due;
    }

    std::chrono::steady_clock::duration period_;
    std::chrono::steady_clock::time_point next_;
    std::unique_ptr<Screen> screen_;
};

}  // namespace millrace::cli
