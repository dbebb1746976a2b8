// SPDX-License-Identifier: BSD-3-Clause
#include "fib_sync/netlink.hpp"

#include <fmt/core.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <netlink/errno.h>
#include <netlink/netlink.h>
#include <spdlog/spdlog.h>
#include <sys/socket.h>

#include <cerrno>
#include <utility>

#include "fib_sync/attributes.hpp"

namespace millrace::sync {
namespace {

// A few milliseconds of work: a datagram has one notification, or some 300 routes of a dump.
constexpr int notifications_per_read = 1024;
constexpr int dump_parts_per_read = 8;
// Datagrams that the subscription can hold at the end of a dump; what is beyond came later.
constexpr size_t drain_limit = 1U << 18;
// A notification of a group of many is the longest.
constexpr size_t buffer_size = 1U << 18;

}  // namespace

NetlinkTransport::NetlinkTransport(RouteSocket events, RouteSocket dumps, std::unique_ptr<DumpReader> reader)
    : events_(std::move(events)),
      dumps_(std::move(dumps)),
      reader_(std::move(reader)),
      buffer_(buffer_size) {}

Result<std::unique_ptr<NetlinkTransport>> NetlinkTransport::open(size_t receive_buffer) {
    auto events = open_route_socket();
    auto dumps = open_route_socket();
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
    auto reader = DumpReader::start(nl_socket_get_fd(dumps->get()));
    if (!reader) {
        return tl::unexpected(reader.error());
    }
    return std::unique_ptr<NetlinkTransport>(
        new NetlinkTransport(std::move(*events), std::move(*dumps), std::move(*reader)));
}

// False when there is nothing to read.
//
// The kernel says once that it lost messages, and goes on losing them until the socket is empty
// (netlink_overrun). So all that is read up to then is older than something that is lost, and replayed over a
// dump it would bring the past back. Links alone are believed: the sooner a dead one is known, the better.
bool NetlinkTransport::read_notification(Sync& sync, uint64_t now) {
    const Datagram datagram = receive_datagram(event_fd(), buffer_);
    switch (datagram.what) {
        case Received::nothing:
            if (std::exchange(lost_, false)) {
                sync.overrun(now);
            }
            return false;
        case Received::datagram:
            for_each_message(Bytes(buffer_).first(datagram.size), [&](const nlmsghdr& header, Bytes message) {
                if (!lost_ || header.nlmsg_type == RTM_NEWLINK || header.nlmsg_type == RTM_DELLINK) {
                    sync.notification(message, now);
                }
                return true;
            });
            return true;
        case Received::lost:
            lost_ = true;
            return true;
        case Received::failed:
            spdlog::error("netlink: {}", Error{"subscription", datagram.error}.text());
            sync.overrun(now);
            return false;
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
    if (auto sent = send_dump_request(nl_socket_get_fd(dumps_.get()), kind, ++sequence_); !sent) {
        return sent;
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
        sync.dump_done(interrupted_ || lost_, now);
    }
}

bool NetlinkTransport::dump_part(Sync& sync, Bytes message, uint64_t now) {
    const auto header = *read<nlmsghdr>(message);
    if (header.nlmsg_seq != in_flight_) {
        return false;
    }
    interrupted_ = interrupted_ || (header.nlmsg_flags & NLM_F_DUMP_INTR) != 0;
    if (header.nlmsg_type == NLMSG_DONE || header.nlmsg_type == NLMSG_ERROR) {
        const int code = error_of(message);
        dump_over(sync, code == 0 ? std::nullopt : std::optional(Error{"refused by the kernel", code}), now);
        return true;
    }
    if (expected_ == in_flight_) {
        sync.dump_message(message, now);
    }
    return false;
}

void NetlinkTransport::on_dump_readable(Sync& sync, uint64_t now) {
    for (int i = 0; i < dump_parts_per_read; ++i) {
        const auto part = reader_->next();
        if (!part) {
            return;
        }
        switch (part->datagram.what) {
            case Received::nothing:
                break;
            case Received::datagram:
                for_each_message(part->bytes, [&](const nlmsghdr&, Bytes message) {
                    return !dump_part(sync, message, now);
                });
                break;
            case Received::lost:
                // The rest of the dump still comes; what is lost of it makes it useless.
                interrupted_ = true;
                break;
            case Received::failed:
                dump_over(sync, Error{"dump socket", part->datagram.error}, now);
                return;
        }
    }
}

}  // namespace millrace::sync
