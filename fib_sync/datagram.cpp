// SPDX-License-Identifier: BSD-3-Clause
#include "fib_sync/datagram.hpp"

#include <linux/netlink.h>
#include <spdlog/spdlog.h>
#include <sys/socket.h>

#include <cerrno>

namespace millrace::sync {

Datagram receive_datagram(int fd, std::span<std::byte> buffer) {
    sockaddr_nl from{};
    iovec iov{.iov_base = buffer.data(), .iov_len = buffer.size()};
    msghdr header{};
    header.msg_name = &from;
    header.msg_namelen = sizeof(from);
    header.msg_iov = &iov;
    header.msg_iovlen = 1;
    const ssize_t n = recvmsg(fd, &header, MSG_DONTWAIT);
    if (n < 0) {
        const int error = errno;
        if (error == EAGAIN || error == EINTR) {
            return {};
        }
        return {.what = error == ENOBUFS ? Received::lost : Received::failed, .size = 0, .error = error};
    }
    if ((header.msg_flags & MSG_TRUNC) != 0) {
        spdlog::warn("netlink: a datagram is longer than {} bytes", buffer.size());
        return {.what = Received::lost, .size = 0, .error = 0};
    }
    // Other processes may write to our socket: only the kernel has port id 0.
    return {.what = Received::datagram, .size = from.nl_pid == 0 ? static_cast<size_t>(n) : 0, .error = 0};
}

}  // namespace millrace::sync
