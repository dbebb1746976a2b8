// SPDX-License-Identifier: BSD-3-Clause
// Where a port's punts go that the kernel carries on: how many there were, and some of their destinations.
#pragma once

#include <algorithm>
#include <array>
#include <cstring>
#include <mutex>
#include <utility>
#include <vector>

#include "millrace/types.hpp"

namespace millrace::dataplane {

class PuntSample {
  public:
    struct Taken {
        uint64_t packets = 0;
        std::vector<IpAddress> destinations{};  // of a few hundred of them, chosen at random
    };

    // frame: Ethernet, as received. Punting thread.
    void saw(const void* frame, size_t length) {
        const std::scoped_lock lock(mutex_);
        ++packets_;
        const auto* bytes = static_cast<const uint8_t*>(frame);
        const auto store = [&](Family family, size_t offset) {
            if (length < offset + IpAddress{.family = family}.size()) {
                return;
            }
            // Reservoir sampling: each has the same chance to be among them in the end.
            random_ = random_ * 6364136223846793005ULL + 1442695040888963407ULL;
            const size_t at = met_ < destinations_.size() ? met_ : (random_ >> 33) % (met_ + 1);
            ++met_;
            if (at < destinations_.size()) {
                destinations_[at] = IpAddress::from_bytes(family, bytes + offset);
            }
        };
        if (length < 14) {
            return;
        }
        if (bytes[12] == 0x08 && bytes[13] == 0x00) {
            store(Family::ipv4, 14 + 16);
        } else if (bytes[12] == 0x86 && bytes[13] == 0xdd) {
            store(Family::ipv6, 14 + 24);
        }
    }
    // What was seen since the last call. Any thread.
    Taken take() {
        const std::scoped_lock lock(mutex_);
        const size_t n = std::min(std::exchange(met_, 0), destinations_.size());
        return {.packets = std::exchange(packets_, 0),
                .destinations = {destinations_.begin(), destinations_.begin() + static_cast<ptrdiff_t>(n)}};
    }

  private:
    std::mutex mutex_;
    uint64_t packets_ = 0;
    size_t met_ = 0;
    uint64_t random_ = 1;
    std::array<IpAddress, 256> destinations_{};
};

}  // namespace millrace::dataplane
