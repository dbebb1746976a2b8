// SPDX-License-Identifier: BSD-3-Clause
// What the kernel says about AF_XDP sockets, asked past the driver.
#pragma once

#include <cstdint>

#include "millrace/result.hpp"
#include "millrace/types.hpp"

namespace millrace::dataplane {

// False: the kernel has unbound the socket, for good. It does so when the netdev is unregistered or leaves
// its network namespace, and nothing brings such a socket back, least of all a netdev of the same name and
// index. Any thread; takes no lock of the kernel's configuration.
bool xsk_is_bound(int fd);

// Has the kernel the transmit ring of a socket emptied? Asked by a kick and by XDP_STATISTICS, which counts
// how often the ring was found empty. Nobody sends meanwhile. Any thread.
class XskTransmitRing {
  public:
    explicit XskTransmitRing(int fd);
    // Kicks. True once it was found empty since the object was made, also where it never will be: the netdev
    // is down or gone, or the kernel does not count (before 5.9).
    [[nodiscard]] bool empty() const;

  private:
    int fd_;
    uint64_t before_ = 0;
    bool counted_ = false;
};

// Would a socket be given for the queue? Binds one and lets it go; copy mode disturbs no traffic. Waits for
// whoever holds the kernel's network configuration (RTNL): not for the control thread.
Status xsk_try(Ifindex ifindex, uint16_t queue, bool zero_copy);

}  // namespace millrace::dataplane
