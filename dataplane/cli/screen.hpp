// SPDX-License-Identifier: BSD-3-Clause
// The whole terminal, for something that is drawn again and again. While it lives, keys come one by one,
// unseen, and signals that end or stop the program are taken; whatever ends it, the terminal is then as it
// was. One at a time.
#pragma once

#include <termios.h>

#include <chrono>
#include <csignal>
#include <memory>
#include <string>

#include "steering_bpf/fd.hpp"

namespace millrace::cli {

class Screen {
  public:
    // nullptr: standard output is no terminal that can be drawn on.
    static std::unique_ptr<Screen> open();
    ~Screen();
    Screen(const Screen&) = delete;
    Screen& operator=(const Screen&) = delete;

    enum class Event : uint8_t {
        due,      // the time has come
        key,      // key() says which
        resized,  // or seen again: to be drawn anew
        end,      // a signal, or the terminal is gone
    };
    Event wait(std::chrono::steady_clock::time_point until);
    [[nodiscard]] char key() const { return key_; }
    // That ended it; 0: none.
    [[nodiscard]] int signal() const { return signal_; }

    // What doesn't fit is left out.
    void draw(const std::string& text);

  private:
    Screen() = default;
    void enter();
    void leave();
    void stop();

    sigset_t old_mask_{};
    steering::Fd signals_;
    bool has_keys_ = false;  // standard input is a terminal, too
    termios before_{};
    char key_ = 0;
    int signal_ = 0;
};

// As if the signal had not been taken: the shell is to see what ended the program. 0: does nothing.
void end_by(int signal);

}  // namespace millrace::cli
