// SPDX-License-Identifier: BSD-3-Clause
#include "fib_sync/exchange.hpp"

#include <fmt/core.h>
#include <netlink/errno.h>
#include <netlink/netlink.h>
#include <sys/socket.h>
#include <sys/time.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>

namespace millrace::sync {
namespace {

constexpr size_t buffer_size = 1U << 16;  // a dump comes in datagrams of up to 32 KiB (netlink_dump)
constexpr time_t answer_seconds = 1;      // the kernel answers in the system call that reads

}  // namespace

Result<Exchange> Exchange::open(int protocol, std::span<const int> groups) {
    Exchange exchange;
    exchange.buffer_.resize(buffer_size);
    exchange.socket_.reset(nl_socket_alloc());
    nl_sock* s = exchange.socket_.get();
    if (s == nullptr) {
        return fail("netlink socket", ENOMEM);
    }
    if (const int e = nl_connect(s, protocol); e < 0) {
        return fail(fmt::format("netlink socket: {}", nl_geterror(e)));
    }
    for (const int group : groups) {
        if (const int e = nl_socket_add_membership(s, group); e < 0) {
            return fail(fmt::format("netlink: subscription to group {}: {}", group, nl_geterror(e)));
        }
    }
    const timeval patience{answer_seconds, 0};
    setsockopt(exchange.fd(), SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
    return exchange;
}

Status Exchange::ask(uint16_t type, uint16_t flags, Bytes body, const Visitor& each) {
    std::array<std::byte, 256> request{};
    nlmsghdr header{};
    // Strict checking takes a netconfmsg of one byte for malformed unless it is padded.
    header.nlmsg_len = static_cast<uint32_t>(NLMSG_SPACE(body.size()));
    header.nlmsg_type = type;
    header.nlmsg_flags = static_cast<uint16_t>(NLM_F_REQUEST | flags);
    header.nlmsg_seq = ++sequence_;
    std::memcpy(request.data(), &header, sizeof(header));
    std::copy(body.begin(), body.end(), request.begin() + NLMSG_HDRLEN);
    if (send(fd(), request.data(), header.nlmsg_len, 0) < 0) {
        return fail("request", errno);
    }
    Status first;
    bool interrupted = false;
    while (true) {
        sockaddr_nl from{};
        socklen_t from_size = sizeof(from);
        const ssize_t n = recvfrom(fd(), buffer_.data(), buffer_.size(), MSG_TRUNC,
                                   reinterpret_cast<sockaddr*>(&from), &from_size);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0 || static_cast<size_t>(n) > buffer_.size()) {
            return fail("answer", n < 0 ? errno : EMSGSIZE);
        }
        if (from.nl_pid != 0) {
            continue;  // not the kernel
        }
        Bytes rest = Bytes(buffer_).first(static_cast<size_t>(n));
        while (const auto h = millrace::sync::read<nlmsghdr>(rest)) {
            if (h->nlmsg_len < sizeof(nlmsghdr) || h->nlmsg_len > rest.size()) {
                return fail("answer", EBADMSG);
            }
            const Bytes payload = rest.first(h->nlmsg_len).subspan(NLMSG_HDRLEN);
            rest = after(rest, h->nlmsg_len);
            if (h->nlmsg_seq != sequence_) {
                continue;  // of a request that was given up
            }
            interrupted = interrupted || (h->nlmsg_flags & NLM_F_DUMP_INTR) != 0;
            if (h->nlmsg_type == NLMSG_ERROR || h->nlmsg_type == NLMSG_DONE) {
                // Both begin with a negative errno, or 0.
                if (const int code = millrace::sync::read<int>(payload).value_or(0); code != 0) {
                    return fail("refused by the kernel", -code);
                }
                return first && interrupted ? fail("it changed while it was read", EAGAIN) : first;
            }
            if (Status done = each(h->nlmsg_type, payload); !done && first) {
                first = done;
            }
        }
    }
}

}  // namespace millrace::sync
