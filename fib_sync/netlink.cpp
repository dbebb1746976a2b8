// SPDX-License-Identifier: BSD-3-Clause
#include "fib_sync/netlink.hpp"

#include <fmt/core.h>
#include <linux/if_addr.h>
#include <linux/if_link.h>
#include <linux/neighbour.h>
#include <linux/netlink.h>
#include <linux/nexthop.h>
#include <linux/rtnetlink.h>
#include <netlink/errno.h>
#include <netlink/netlink.h>
#include <spdlog/spdlog.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "fib_sync/attributes.hpp"

namespace millrace::sync {
namespace {

// A few milliseconds of work: a datagram has one notification, or some 300 routes of a dump.
constexpr int notifications_per_read = 1024;
constexpr int dump_parts_per_read = 16;
// Datagrams that the subscription can hold at the end of a dump; what is beyond came later.
constexpr size_t drain_limit = 1U << 18;
// Dumps come in datagrams of up to 32 KiB (netlink_dump); a notification of a group of many is the longest.
constexpr size_t buffer_size = 1U << 18;

// Calls f with each message of a datagram, as long as it returns true.
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

struct AnyHeader {
    nlmsghdr header;
    union {
        ifinfomsg link;
        ifaddrmsg address;
        ndmsg neighbour;
        nhmsg nexthop;
        rtmsg route;
    };
};

}  // namespace

NetlinkTransport::NetlinkTransport(Socket events, Socket dumps)
    : events_(std::move(events)), dumps_(std::move(dumps)), buffer_(buffer_size) {}

Result<NetlinkTransport::Socket> NetlinkTransport::connect() {
    Socket s(nl_socket_alloc());
    if (!s) {
        return fail("netlink socket", ENOMEM);
    }
    if (const int e = nl_connect(s.get(), NETLINK_ROUTE); e < 0) {
        return fail(fmt::format("netlink socket: {}", nl_geterror(e)));
    }
    if (const int e = nl_socket_set_nonblocking(s.get()); e < 0) {
        return fail(fmt::format("netlink socket: {}", nl_geterror(e)));
    }
    // With it the kernel refuses what it does not understand in a request, instead of ignoring it.
    const int on = 1;
    if (setsockopt(nl_socket_get_fd(s.get()), SOL_NETLINK, NETLINK_GET_STRICT_CHK, &on, sizeof(on)) != 0) {
        spdlog::debug("netlink: NETLINK_GET_STRICT_CHK is not known to this kernel");
    }
    return s;
}

Result<std::unique_ptr<NetlinkTransport>> NetlinkTransport::open(size_t receive_buffer) {
    auto events = connect();
    auto dumps = connect();
    if (!events || !dumps) {
        return tl::unexpected(events ? dumps.error() : events.error());
    }
    const int fd = nl_socket_get_fd(events->get());
    const int size = static_cast<int>(receive_buffer);
    if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof(size)) != 0 &&
        setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof(size)) != 0) {
        spdlog::warn("netlink: {}", Error{"the receive buffer stays as it is", errno}.text());
    }
    constexpr int groups[] = {RTNLGRP_LINK,        RTNLGRP_NEIGH,      RTNLGRP_IPV4_IFADDR,
                              RTNLGRP_IPV6_IFADDR, RTNLGRP_IPV4_ROUTE, RTNLGRP_IPV6_ROUTE,
                              RTNLGRP_NEXTHOP};
    for (const int group : groups) {
        if (const int e = nl_socket_add_membership(events->get(), group); e < 0) {
            return fail(fmt::format("netlink: subscription to group {}: {}", group, nl_geterror(e)));
        }
    }
    return std::unique_ptr<NetlinkTransport>(new NetlinkTransport(std::move(*events), std::move(*dumps)));
}

NetlinkTransport::Received NetlinkTransport::receive(int fd) {
    sockaddr_nl from{};
    iovec iov{.iov_base = buffer_.data(), .iov_len = buffer_.size()};
    msghdr header{};
    header.msg_name = &from;
    header.msg_namelen = sizeof(from);
    header.msg_iov = &iov;
    header.msg_iovlen = 1;
    const ssize_t n = recvmsg(fd, &header, MSG_DONTWAIT);
    if (n < 0) {
        error_ = errno;
        if (error_ == EAGAIN || error_ == EINTR) {
            return Received::nothing;
        }
        return error_ == ENOBUFS ? Received::lost : Received::failed;
    }
    if ((header.msg_flags & MSG_TRUNC) != 0) {
        spdlog::warn("netlink: a datagram is longer than {} bytes", buffer_.size());
        return Received::lost;
    }
    // Other processes may write to our socket: only the kernel has port id 0.
    received_ = from.nl_pid == 0 ? static_cast<size_t>(n) : 0;
    return Received::datagram;
}

// False when there is nothing to read.
bool NetlinkTransport::read_notification(Sync& sync, uint64_t now) {
    switch (receive(event_fd())) {
        case Received::nothing:
            return false;
        case Received::datagram:
            for_each_message(Bytes(buffer_).first(received_), [&](const nlmsghdr&, Bytes message) {
                sync.notification(message, now);
                return true;
            });
            return true;
        case Received::failed:
            spdlog::error("netlink: {}", Error{"subscription", error_}.text());
            [[fallthrough]];
        case Received::lost:
            sync.overrun(now);
            return true;
    }
    return false;
}

void NetlinkTransport::on_event_readable(Sync& sync, uint64_t now) {
    for (int i = 0; i < notifications_per_read && read_notification(sync, now); ++i) {
    }
    sync.end_batch(now);
}

Status NetlinkTransport::start_dump(DumpKind kind) {
    next_.reset();
    if (in_flight_) {
        next_ = kind;
        return {};
    }
    return request(kind);
}

Status NetlinkTransport::request(DumpKind kind) {
    struct {
        AnyHeader any;
        std::array<std::byte, 8> attribute;  // behind the longest of the headers
    } r{};
    r.any.header.nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP;
    r.any.header.nlmsg_seq = ++sequence_;
    size_t size = 0;
    switch (kind) {
        case DumpKind::links: {
            r.any.header.nlmsg_type = RTM_GETLINK;
            const nlattr head{.nla_len = NLA_HDRLEN + sizeof(uint32_t), .nla_type = IFLA_EXT_MASK};
            const uint32_t mask = RTEXT_FILTER_SKIP_STATS;
            auto* at = reinterpret_cast<std::byte*>(&r.any.link) + sizeof(ifinfomsg);
            std::memcpy(at, &head, sizeof(head));
            std::memcpy(at + NLA_HDRLEN, &mask, sizeof(mask));
            size = sizeof(ifinfomsg) + sizeof(head) + sizeof(mask);
            break;
        }
        case DumpKind::addresses:
            r.any.header.nlmsg_type = RTM_GETADDR;
            size = sizeof(ifaddrmsg);
            break;
        case DumpKind::neighbours:
            r.any.header.nlmsg_type = RTM_GETNEIGH;
            size = sizeof(ndmsg);
            break;
        case DumpKind::nexthops:
            r.any.header.nlmsg_type = RTM_GETNEXTHOP;
            size = sizeof(nhmsg);
            break;
        case DumpKind::routes4:
        case DumpKind::routes6:
            r.any.header.nlmsg_type = RTM_GETROUTE;
            r.any.route.rtm_family = kind == DumpKind::routes4 ? AF_INET : AF_INET6;
            size = sizeof(rtmsg);
            break;
    }
    r.any.header.nlmsg_len = static_cast<uint32_t>(NLMSG_LENGTH(size));
    if (send(dump_fd(), &r, r.any.header.nlmsg_len, 0) < 0) {
        return fail("netlink: dump request", errno);
    }
    in_flight_ = expected_ = sequence_;
    interrupted_ = false;
    return {};
}

void NetlinkTransport::dump_over(Sync& sync, std::optional<Error> error, uint64_t now) {
    const bool wanted = expected_ == in_flight_;
    in_flight_.reset();
    if (next_) {
        // What ran out was given up before; its successor waited for that.
        if (const Status sent = request(*std::exchange(next_, std::nullopt)); !sent) {
            sync.dump_failed(sent.error(), now);
        }
        return;
    }
    if (!wanted) {
        return;
    }
    if (error) {
        expected_.reset();
        sync.dump_failed(*error, now);
        return;
    }
    // What was sent before the dump ended must be replayed after it, not be taken for news. Bounded by Sync's
    // queue: when that is full, this dump is given up.
    for (size_t i = 0; expected_ && i < drain_limit && read_notification(sync, now); ++i) {
    }
    if (std::exchange(expected_, std::nullopt)) {
        sync.dump_done(interrupted_, now);
    }
}

bool NetlinkTransport::dump_part(Sync& sync, Bytes message, uint64_t now) {
    const auto header = *read<nlmsghdr>(message);
    if (header.nlmsg_seq != in_flight_) {
        return false;
    }
    interrupted_ = interrupted_ || (header.nlmsg_flags & NLM_F_DUMP_INTR) != 0;
    if (header.nlmsg_type == NLMSG_DONE || header.nlmsg_type == NLMSG_ERROR) {
        // Both begin with a negative errno, or 0.
        const int code = read<int>(message.subspan(NLMSG_HDRLEN)).value_or(0);
        dump_over(sync, code == 0 ? std::nullopt : std::optional(Error{"refused by the kernel", -code}), now);
        return true;
    }
    if (expected_ == in_flight_) {
        sync.dump_message(message, now);
    }
    return false;
}

void NetlinkTransport::on_dump_readable(Sync& sync, uint64_t now) {
    for (int i = 0; i < dump_parts_per_read; ++i) {
        switch (receive(dump_fd())) {
            case Received::nothing:
                return;
            case Received::datagram:
                for_each_message(Bytes(buffer_).first(received_), [&](const nlmsghdr&, Bytes message) {
                    return !dump_part(sync, message, now);
                });
                break;
            case Received::lost:
                // The rest of the dump still comes; what is lost of it makes it useless.
                interrupted_ = true;
                break;
            case Received::failed:
                dump_over(sync, Error{"dump socket", error_}, now);
                return;
        }
    }
}

}  // namespace millrace::sync
