// SPDX-License-Identifier: BSD-3-Clause
#include "dataplane/cli/screen.hpp"

#include <fmt/core.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <string_view>

namespace millrace::cli {

namespace {

// xterm's, as each terminal of today has them: a second screen without cursor.
constexpr std::string_view enter_screen = "\x1b[?1049h\x1b[?25l";
constexpr std::string_view leave_screen = "\x1b[?25h\x1b[?1049l";
constexpr std::string_view home = "\x1b[H";
constexpr std::string_view clear_rest_of_line = "\x1b[K";
constexpr std::string_view clear_below = "\x1b[J";

void put(std::string_view text) {
    while (!text.empty()) {
        const ssize_t n = write(STDOUT_FILENO, text.data(), text.size());
        if (n < 0 && errno != EINTR && errno != EAGAIN) {
            return;  // the terminal is gone: wait() will tell
        }
        text.remove_prefix(n > 0 ? static_cast<size_t>(n) : 0);
    }
}

// The first columns of a line of UTF-8; what would move the cursor is shown as "?".
std::string cut(std::string_view line, size_t columns) {
    std::string out;
    for (const char c : line) {
        const auto byte = static_cast<unsigned char>(c);
        const bool begins = (byte & 0xC0) != 0x80;
        if (begins && columns-- == 0) {
            break;
        }
        out += byte < 0x20 || byte == 0x7F ? '?' : c;
    }
    return out;
}

}  // namespace

std::unique_ptr<Screen> Screen::open() {
    const char* kind = std::getenv("TERM");  // NOLINT(concurrency-mt-unsafe): one thread
    if (isatty(STDOUT_FILENO) != 1 || kind == nullptr || std::string_view(kind) == "dumb") {
        return nullptr;
    }
    std::unique_ptr<Screen> screen(new Screen);
    sigset_t taken;
    sigemptyset(&taken);
    for (const int s : {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGTSTP, SIGWINCH}) {
        sigaddset(&taken, s);
    }
    screen->signals_ = steering::Fd(signalfd(-1, &taken, SFD_CLOEXEC | SFD_NONBLOCK));
    if (!screen->signals_) {
        return nullptr;
    }
    pthread_sigmask(SIG_BLOCK, &taken, &screen->old_mask_);
    screen->has_keys_ = isatty(STDIN_FILENO) == 1 && tcgetattr(STDIN_FILENO, &screen->before_) == 0;
    screen->enter();
    return screen;
}

Screen::~Screen() {
    leave();
    pthread_sigmask(SIG_SETMASK, &old_mask_, nullptr);
}

void Screen::enter() {
    if (has_keys_) {
        termios keys = before_;
        keys.c_lflag &= ~static_cast<tcflag_t>(ICANON | ECHO);
        keys.c_cc[VMIN] = 1;
        keys.c_cc[VTIME] = 0;
        tcsetattr(STDIN_FILENO, TCSANOW, &keys);
    }
    put(enter_screen);
}

void Screen::leave() {
    put(leave_screen);
    if (has_keys_) {
        tcsetattr(STDIN_FILENO, TCSADRAIN, &before_);
    }
}

// Until the shell lets it go on.
void Screen::stop() {
    leave();
    raise(SIGSTOP);
    enter();
}

Screen::Event Screen::wait(std::chrono::steady_clock::time_point until) {
    while (true) {
        const auto left =
            std::chrono::ceil<std::chrono::milliseconds>(until - std::chrono::steady_clock::now());
        std::array<pollfd, 2> fds = {
            pollfd{.fd = signals_.get(), .events = POLLIN, .revents = 0},
            pollfd{.fd = has_keys_ ? STDIN_FILENO : -1, .events = POLLIN, .revents = 0}};
        const int ready = poll(fds.data(), fds.size(), static_cast<int>(std::max<int64_t>(0, left.count())));
        if (ready == 0) {
            return Event::due;
        }
        signalfd_siginfo told{};
        if (ready > 0 && fds[0].revents != 0 && read(signals_.get(), &told, sizeof(told)) == sizeof(told)) {
            const auto number = static_cast<int>(told.ssi_signo);
            if (number == SIGTSTP) {
                stop();
            }
            if (number == SIGTSTP || number == SIGWINCH) {
                return Event::resized;
            }
            signal_ = number;
            return Event::end;
        }
        if (ready > 0 && fds[1].revents != 0) {
            return read(STDIN_FILENO, &key_, 1) == 1 ? Event::key : Event::end;
        }
    }
}

void Screen::draw(const std::string& text) {
    winsize size{};
    if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_row == 0 || size.ws_col == 0) {
        size.ws_row = 24;
        size.ws_col = 80;
    }
    std::string out(home);
    size_t begin = 0;
    for (unsigned row = 0; row < size.ws_row && begin < text.size(); ++row) {
        const size_t end = std::min(text.find('\n', begin), text.size());
        // No newline behind the last row: the screen would move up.
        out += fmt::format("{}{}{}", row == 0 ? "" : "\r\n",
                           cut(std::string_view(text).substr(begin, end - begin), size.ws_col),
                           clear_rest_of_line);
        begin = end + 1;
    }
    put(out.append(clear_below));
}

void end_by(int signal) {
    if (signal != 0) {
        std::signal(signal, SIG_DFL);
        raise(signal);
    }
}

}  // namespace millrace::cli
