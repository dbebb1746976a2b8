// SPDX-License-Identifier: BSD-3-Clause
// What every reader of rtnetlink needs: a socket, the request for a dump, the messages of a datagram. Each
// socket sees the network namespace of the thread that opened it, for ever.
#pragma once

#include <linux/netlink.h>
#include <netlink/socket.h>
#include <spdlog/spdlog.h>

#include <cstdint>
#include <memory>
#include <optional>

#include "fib_sync/attributes.hpp"
#include "fib_sync/sync.hpp"
#include "millrace/result.hpp"

namespace millrace::sync {

struct RouteSocketFree {
    void operator()(nl_sock* s) const { nl_socket_free(s); }
};
using RouteSocket = std::unique_ptr<nl_sock, RouteSocketFree>;

// Dumps come in datagrams of up to 32 KiB (netlink_dump).
inline constexpr size_t dump_datagram = 32768;

// Non-blocking, and with strict checks of requests where the kernel knows them.
[[nodiscard]] Result<RouteSocket> open_route_socket();

// Which routes a dump is to tell, where the kernel has strict checks.
struct RouteChoice {
    std::optional<TableId> table{};  // those of this table only
    bool exceptions = false;         // instead of routes, what was learned about single hosts
};
// The kernel serves one dump of a socket at a time.
[[nodiscard]] Status send_dump_request(int fd, DumpKind kind, uint32_t sequence, RouteChoice choice = {});

// Calls f(header, whole message) with each message of a datagram, as long as it returns true.
template <class F>
void for_each_message(Bytes datagram, F f) {
    while (const auto header = read<nlmsghdr>(datagram)) {
        if (header->nlmsg_len < sizeof(nlmsghdr) || header->nlmsg_len > datagram.size()) {
            spdlog::warn("netlink: a message of {} bytes in a datagram with {} left", header->nlmsg_len,
                         datagram.size());
            return;
        }
        if (!f(*header, datagram.first(header->nlmsg_len))) {
            return;
        }
        datagram = after(datagram, header->nlmsg_len);
    }
}

// NLMSG_DONE and NLMSG_ERROR begin with a negative errno, or 0. The positive errno, or 0.
[[nodiscard]] inline int error_of(Bytes message) {
    return -read<int>(message.subspan(NLMSG_HDRLEN)).value_or(0);
}

}  // namespace millrace::sync
