// SPDX-License-Identifier: BSD-3-Clause
// The router's own addresses of one family, as the classifier looks them up: one table in the kernel for all
// ports (PortMaps::set_local). It takes about 100 bytes for an address, and 16 KiB when empty: a table that
// is full is followed by one four times as big. Any thread, one at a time. Move-only.
#pragma once

#include <cstdint>

#include "millrace/abi.h"
#include "millrace/result.hpp"
#include "millrace/types.hpp"
#include "steering_bpf/fd.hpp"

namespace millrace::steering {

class LocalTable {
  public:
    // most: addresses, whatever memory there is.
    static Result<LocalTable> create(Family family, uint32_t most = MILLRACE_MAX_LOCAL);

    // One twice is once. Error: it does not fit.
    Status add(const IpAddress& address);
    // One that is not there succeeds.
    Status remove(const IpAddress& address);

    [[nodiscard]] Family family() const { return family_; }
    [[nodiscard]] uint32_t size() const { return size_; }
    // Another number than before: a bigger table has taken the place of this one, and a port that was given
    // the old one must be given it anew to learn of what was added since.
    [[nodiscard]] uint32_t generation() const { return generation_; }
    [[nodiscard]] int fd() const { return map_.get(); }

  private:
    LocalTable(Family family, uint32_t most) : family_(family), most_(most) {}
    [[nodiscard]] Result<Fd> make_map(uint32_t entries) const;
    [[nodiscard]] Status copy_to(int map) const;
    Status grow();
    [[nodiscard]] const char* family_name() const { return family_ == Family::ipv4 ? "IPv4" : "IPv6"; }

    Family family_;
    uint32_t most_;
    uint32_t entries_ = 0;  // that there is room for
    uint32_t size_ = 0;     // that are there
    uint32_t generation_ = 1;
    Fd map_;
};

}  // namespace millrace::steering
