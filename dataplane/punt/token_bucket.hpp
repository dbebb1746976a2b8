// SPDX-License-Identifier: BSD-3-Clause
// A limit of events a second, with a burst of a twentieth of a second's worth. Time is any monotonic clock in
// nanoseconds. One thread.
#pragma once

#include <algorithm>
#include <cstdint>

namespace millrace::dataplane {

class TokenBucket {
  public:
    explicit TokenBucket(uint32_t per_second) : rate_(per_second), full_(second / 20 * per_second) {}

    void refill(uint64_t now_ns) {
        if (now_ns > last_ns_) {
            // Longer than a burst fills it, and would overflow the product.
            const uint64_t passed = std::min(now_ns - last_ns_, second);
            tokens_ = std::min(tokens_ + passed * rate_, full_);
            last_ns_ = now_ns;
        }
    }
    // Takes one. false: none is left until the next refill.
    bool take() {
        if (tokens_ < second) {
            return false;
        }
        tokens_ -= second;
        return true;
    }

  private:
    static constexpr uint64_t second = 1'000'000'000;  // one event, in units of events * ns / s
    uint64_t rate_;
    uint64_t full_;
    uint64_t tokens_ = 0;
    uint64_t last_ns_ = 0;
};

}  // namespace millrace::dataplane
