// SPDX-License-Identifier: BSD-3-Clause
#include <linux/rtnetlink.h>
#include <poll.h>
#include <sys/socket.h>

#include <cerrno>
#include <utility>

#include "fib_sync/datagram.hpp"
#include "fib_sync/exceptions.hpp"
#include "fib_sync/route_socket.hpp"

namespace millrace::sync {
namespace {

constexpr int answer_ms = 10'000;
constexpr int poll_ms = 50;  // until the end is noticed

// All of one family. A socket for each dump: what is left of one that failed goes with it.
Status dump(Family family, std::vector<std::byte>& buffer, std::vector<Exception>& found,
            const std::atomic<bool>& stop) {
    auto socket = open_route_socket();
    if (!socket) {
        return tl::unexpected(socket.error());
    }
    const int fd = nl_socket_get_fd(socket->get());
    const DumpKind kind = family == Family::ipv4 ? DumpKind::routes4 : DumpKind::routes6;
    if (auto sent = send_dump_request(fd, kind, 1, {.exceptions = true}); !sent) {
        return sent;
    }
    Status result;
    int silent_ms = 0;
    for (bool last = false; !last && !stop;) {
        pollfd readable{.fd = fd, .events = POLLIN, .revents = 0};
        if (poll(&readable, 1, poll_ms) == 0) {
            silent_ms += poll_ms;
            if (silent_ms >= answer_ms) {
                return fail("no answer", ETIMEDOUT);
            }
            continue;
        }
        silent_ms = 0;
        const Datagram datagram = receive_datagram(fd, buffer);
        if (datagram.what == Received::lost || datagram.what == Received::failed) {
            return fail("answer", datagram.error);
        }
        for_each_message(Bytes(buffer).first(datagram.size), [&](const nlmsghdr& header, Bytes message) {
            if (header.nlmsg_type == NLMSG_DONE || header.nlmsg_type == NLMSG_ERROR) {
                last = true;
                if (const int code = error_of(message); code != 0 && result) {
                    result = fail("refused by the kernel", code);
                }
                return false;
            }
            auto decoded = decode_exception(message);
            if (!decoded) {
                result = result ? tl::unexpected(decoded.error()) : result;
            } else if (*decoded) {
                found.push_back(std::move(**decoded));
            }
            return true;
        });
    }
    return result;
}

}  // namespace

Result<std::vector<Exception>> dump_exceptions(const std::atomic<bool>& stop) {
    std::vector<std::byte> buffer(size_t{2} * dump_datagram);
    std::vector<Exception> found;
    Status all;
    for (const Family family : {Family::ipv4, Family::ipv6}) {
        if (auto one = dump(family, buffer, found, stop); !one && all) {
            all = one;
        }
    }
    if (!all) {
        return tl::unexpected(all.error());
    }
    return found;
}

}  // namespace millrace::sync
