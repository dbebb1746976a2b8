// SPDX-License-Identifier: BSD-3-Clause
#include "steering_bpf/libbpf_log.hpp"

#include <fmt/ranges.h>

#include <array>
#include <cstdio>

namespace millrace::steering {
namespace {

constexpr size_t kept_lines = 3;

thread_local LibbpfLog* current = nullptr;

int keep(libbpf_print_level level, const char* format, va_list arguments) {
    if (level != LIBBPF_WARN || current == nullptr) {
        return 0;
    }
    std::array<char, 1024> line{};
    const int written = std::vsnprintf(line.data(), line.size(), format, arguments);
    current->add(line.data());
    return written;
}

}  // namespace

LibbpfLog::LibbpfLog() : previous_(libbpf_set_print(keep)) {
    current = this;
}

LibbpfLog::~LibbpfLog() {
    current = nullptr;
    libbpf_set_print(previous_);
}

void LibbpfLog::add(std::string line) {
    while (!line.empty() && (line.back() == '\n' || line.back() == ' ')) {
        line.pop_back();
    }
    lines_.push_back(std::move(line));
    if (lines_.size() > kept_lines) {
        lines_.pop_front();
    }
}

std::string LibbpfLog::tail() const {
    return fmt::format("{}", fmt::join(lines_, "; "));
}

}  // namespace millrace::steering
