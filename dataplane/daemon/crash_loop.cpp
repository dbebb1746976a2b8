// SPDX-License-Identifier: BSD-3-Clause
#include "dataplane/daemon/crash_loop.hpp"

#include <fmt/core.h>
#include <spdlog/spdlog.h>
#include <systemd/sd-daemon.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <sstream>
#include <string_view>
#include <thread>

namespace millrace::dataplane {

namespace {

uint64_t now_ms() {
    const auto now = std::chrono::steady_clock::now().time_since_epoch();
    return static_cast<uint64_t>(std::chrono::duration_cast<std::chrono::milliseconds>(now).count());
}

std::string path_of(const std::string& socket) {
    return socket + ".crashes";
}

CrashLoop read(const std::string& socket) {
    std::ifstream file(path_of(socket));
    return CrashLoop::parse(std::string(std::istreambuf_iterator<char>(file), {}));
}

Status write(const std::string& socket, const CrashLoop& crashes) {
    std::ofstream file(path_of(socket));
    file << crashes.text() << std::flush;
    return file ? Status{} : fail(fmt::format("{}: cannot write", path_of(socket)), errno);
}

std::string_view variable(const char* name) {
    const char* value = getenv(name);  // NOLINT(concurrency-mt-unsafe): one thread
    return value == nullptr ? std::string_view() : value;
}

}  // namespace

CrashLoop CrashLoop::parse(const std::string& text) {
    CrashLoop out;
    std::istringstream in(text);
    // A minus would be taken, and wrap round.
    return text.find('-') == std::string::npos && in >> out.count_ >> out.started_ms_ ? out : CrashLoop{};
}

std::string CrashLoop::text() const {
    return fmt::format("{} {}\n", count_, started_ms_);
}

void CrashLoop::crashed(uint64_t now_ms) {
    count_ = now_ms - std::min(started_ms_, now_ms) < soon_ms ? count_ + 1 : 1;
}

uint64_t CrashLoop::wait_ms() const {
    if (count_ < free) {
        return 0;
    }
    const unsigned doubled = std::min(count_ - free, 16U);
    return std::min(first_wait_ms << doubled, longest_wait_ms);
}

void wait_after_crashes(const std::string& socket) {
    CrashLoop crashes = read(socket);
    if (const uint64_t wait = crashes.wait_ms(); wait > 0) {
        const std::string text = fmt::format(
            "crashed {} times in a row, soon after the start: all ports stay in the kernel for {} s",
            crashes.count(), wait / 1000);
        spdlog::warn("{}; 'systemctl stop millraced' and 'start' end that", text);
        sd_notifyf(0, "STATUS=%s", text.c_str());
        std::this_thread::sleep_for(std::chrono::milliseconds(wait));
    }
    crashes.started(now_ms());
    if (const Status written = write(socket, crashes); !written) {
        spdlog::debug("crashes are not counted: {}", written.error().text());
    }
}

Status note_end(const std::string& socket) {
    const std::string_view result = variable("SERVICE_RESULT");
    const std::string_view status = variable("EXIT_STATUS");
    CrashLoop crashes = read(socket);
    if (result == "core-dump" || result == "watchdog" || (result == "signal" && status != "KILL")) {
        crashes.crashed(now_ms());
    } else if (result == "success") {
        crashes = {};
    }
    return write(socket, crashes);
}

}  // namespace millrace::dataplane
