// SPDX-License-Identifier: BSD-3-Clause
// What the kernel would do with a packet that comes in: `ip route get ... iif`.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "millrace/result.hpp"
#include "millrace/types.hpp"

namespace millrace::sync {

struct KernelQuestion {
    Ifindex in{};
    IpAddress source;
    IpAddress destination;
    uint8_t protocol = 0;      // IPPROTO_*
    uint16_t source_port = 0;  // of TCP and UDP, host order
    uint16_t destination_port = 0;
};

struct KernelWay {
    // errno in the place of a way: ENETUNREACH, EACCES, EXDEV (rp_filter), EINVAL (a blackhole, an address
    // that is discarded; in Linux 6.18 also rp_filter), ... 0: there is one.
    int refused = 0;
    uint8_t type = 0;  // RTN_*: RTN_UNICAST, RTN_LOCAL, ...
    TableId table{};
    Ifindex out{};
    std::string out_name{};              // as it is called now
    std::optional<IpAddress> gateway{};  // none: the destination is a neighbour
};

// The kernel's rules, tables, reverse path filter and choice among several next hops; not its firewall. In
// the network namespace of the calling thread; any thread. Error: it could not be asked.
Result<KernelWay> kernel_way(const KernelQuestion& question);

}  // namespace millrace::sync
