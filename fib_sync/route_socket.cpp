// SPDX-License-Identifier: BSD-3-Clause
#include "fib_sync/route_socket.hpp"

#include <fmt/core.h>
#include <linux/if_addr.h>
#include <linux/if_link.h>
#include <linux/neighbour.h>
#include <linux/nexthop.h>
#include <linux/rtnetlink.h>
#include <netlink/errno.h>
#include <netlink/netlink.h>
#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <cstring>

namespace millrace::sync {
namespace {

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

Result<RouteSocket> open_route_socket() {
    RouteSocket s(nl_socket_alloc());
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

Status send_dump_request(int fd, DumpKind kind, uint32_t sequence, RouteChoice choice) {
    struct {
        AnyHeader any;
        std::array<std::byte, 8> attribute;  // behind the longest of the headers
    } r{};
    r.any.header.nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP;
    r.any.header.nlmsg_seq = sequence;
    size_t size = 0;
    // One attribute of 4 bytes, behind a header of `behind` bytes.
    const auto attribute = [&](size_t behind, uint16_t type, uint32_t value) {
        const nlattr head{.nla_len = NLA_HDRLEN + sizeof(value), .nla_type = type};
        auto* at = reinterpret_cast<std::byte*>(&r.any.link) + behind;
        std::memcpy(at, &head, sizeof(head));
        std::memcpy(at + NLA_HDRLEN, &value, sizeof(value));
        size = behind + sizeof(head) + sizeof(value);
    };
    switch (kind) {
        case DumpKind::links:
            r.any.header.nlmsg_type = RTM_GETLINK;
            attribute(sizeof(ifinfomsg), IFLA_EXT_MASK, RTEXT_FILTER_SKIP_STATS);
            break;
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
            r.any.route.rtm_flags = choice.exceptions ? RTM_F_CLONED : 0;
            if (choice.table) {
                attribute(sizeof(rtmsg), RTA_TABLE, raw(*choice.table));
            }
            break;
    }
    r.any.header.nlmsg_len = static_cast<uint32_t>(NLMSG_LENGTH(size));
    if (send(fd, &r, r.any.header.nlmsg_len, 0) < 0) {
        return fail("netlink: dump request", errno);
    }
    return {};
}

}  // namespace millrace::sync
