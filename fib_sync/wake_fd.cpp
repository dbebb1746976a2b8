// SPDX-License-Identifier: BSD-3-Clause
#include "fib_sync/wake_fd.hpp"

#include <sys/eventfd.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

namespace millrace::sync {

Result<WakeFd> WakeFd::create() {
    const int fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (fd < 0) {
        return fail("eventfd", errno);
    }
    return WakeFd(fd);
}

WakeFd::WakeFd(WakeFd&& other) noexcept : fd_(std::exchange(other.fd_, -1)), readable_(other.readable_) {}

WakeFd::~WakeFd() {
    if (fd_ >= 0) {
        close(fd_);
    }
}

void WakeFd::set(bool readable) {
    if (readable == readable_) {
        return;
    }
    readable_ = readable;
    // Neither can fail: the counter goes from 0 to 1 and back.
    eventfd_t value = 1;
    if (readable) {
        eventfd_write(fd_, value);
    } else {
        eventfd_read(fd_, &value);
    }
}

}  // namespace millrace::sync
