// SPDX-License-Identifier: BSD-3-Clause
// A descriptor that is readable while there is work: an event loop then comes back at once, and serves its
// other descriptors in between. One thread at a time.
#pragma once

#include "millrace/result.hpp"

namespace millrace::sync {

class WakeFd {
  public:
    static Result<WakeFd> create();
    ~WakeFd();
    WakeFd(WakeFd&& other) noexcept;
    WakeFd(const WakeFd&) = delete;
    WakeFd& operator=(const WakeFd&) = delete;
    WakeFd& operator=(WakeFd&&) = delete;

    [[nodiscard]] int fd() const { return fd_; }
    void set(bool readable);

  private:
    explicit WakeFd(int fd) : fd_(fd) {}
    int fd_ = -1;
    bool readable_ = false;
};

}  // namespace millrace::sync
