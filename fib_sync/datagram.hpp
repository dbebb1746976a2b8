// SPDX-License-Identifier: BSD-3-Clause
// One read of a netlink socket, without waiting. Any thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace millrace::sync {

enum class Received : uint8_t {
    datagram,
    nothing,
    lost,  // the kernel had more than the socket holds, or a datagram more than the buffer
    failed,
};

struct Datagram {
    Received what = Received::nothing;
    size_t size = 0;  // bytes; 0 also for what another process sent
    int error = 0;    // errno of failed
};

[[nodiscard]] Datagram receive_datagram(int fd, std::span<std::byte> buffer);

}  // namespace millrace::sync
