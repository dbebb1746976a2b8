// SPDX-License-Identifier: BSD-3-Clause
#include "dataplane/daemon/restart.hpp"

#include <fmt/core.h>
#include <fmt/ranges.h>
#include <linux/close_range.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <climits>
#include <cstdlib>
#include <cstring>
#include <sstream>

namespace millrace::dataplane {

namespace {
constexpr const char* variable = "MILLRACE_RESTARTS";
constexpr const char* drained_variable = "MILLRACE_DRAINED";
}  // namespace

Restarts Restarts::parse(const char* text) {
    if (text == nullptr) {
        return {};
    }
    const char* at = text;
    const char* const end = at + std::strlen(at);
    Restarts out;
    const auto read = [&](auto& number, char behind) {
        const auto done = std::from_chars(at, end, number);
        const bool good = done.ec == std::errc{} && *done.ptr == behind;
        at = good ? done.ptr + 1 : at;
        return good;
    };
    return read(out.count_, ',') && read(out.last_ms_, ',') && read(out.refused_, ',') &&
                   read(out.last_refused_ms_, '\0')
               ? out
               : Restarts{};
}

std::string Restarts::text() const {
    return fmt::format("{},{},{},{}", count_, last_ms_, refused_, last_refused_ms_);
}

unsigned Restarts::counted(uint64_t now_ms) const {
    return now_ms > last_ms_ + calm_ms ? 0 : count_;
}

uint64_t Restarts::next_ms(uint64_t now_ms) const {
    const unsigned before = counted(now_ms);
    if (before < free) {
        return 0;
    }
    const unsigned doubled = std::min(before - free, 5U);
    return last_ms_ + std::min(uint64_t{1000} << doubled, longest_ms);
}

uint64_t Restarts::next_for_refused_ms(uint64_t now_ms) const {
    const uint64_t next = next_ms(now_ms);
    if (refused_ == 0) {
        return next;
    }
    const unsigned eightfold = std::min(refused_, 5U);
    const uint64_t wait = std::min(uint64_t{1000} << (3 * eightfold), longest_for_refused_ms);
    return std::max(next, last_refused_ms_ + wait);
}

void Restarts::count(uint64_t now_ms, bool for_refused) {
    count_ = std::min(counted(now_ms), UINT_MAX - 1) + 1;
    last_ms_ = now_ms;
    if (for_refused) {
        refused_ = std::min(refused_, UINT_MAX - 1) + 1;
        last_refused_ms_ = now_ms;
    }
}

Self::Self(char** argv) : argv_(argv) {
    CPU_ZERO(&cpus_);
    sched_getaffinity(0, sizeof(cpus_), &cpus_);
    const char* restarts = getenv(variable);  // NOLINT(concurrency-mt-unsafe): one thread yet
    started_again_ = restarts != nullptr;
    restarts_ = Restarts::parse(restarts);
    if (const char* names = getenv(drained_variable); names != nullptr) {  // NOLINT(concurrency-mt-unsafe)
        std::istringstream in(names);
        for (std::string name; std::getline(in, name, '/');) {
            drained_.push_back(name);
        }
    }
    prctl(PR_SET_NAME, "millraced");  // /proc/self/exe has another name
}

Error Self::exec_again() const {
    // No other thread is left that writes to the environment or reads it.
    setenv(variable, restarts_.text().c_str(), 1);  // NOLINT(concurrency-mt-unsafe)
    // No name of a netdev has a slash.
    const std::string drained = fmt::format("{}", fmt::join(drained_, "/"));
    setenv(drained_variable, drained.c_str(), 1);  // NOLINT(concurrency-mt-unsafe)
    sched_setaffinity(0, sizeof(cpus_), &cpus_);
    // DPDK's driver and libraries leak descriptors, AF_XDP sockets among them.
    if (close_range(3, ~0U, CLOSE_RANGE_CLOEXEC) != 0) {
        return Error{"descriptors can't be closed for a restart", errno};
    }
    // The program that runs, also after a new version was installed over it.
    execv("/proc/self/exe", argv_);
    return Error{"/proc/self/exe can't be started again", errno};
}

}  // namespace millrace::dataplane
