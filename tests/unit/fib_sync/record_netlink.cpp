// SPDX-License-Identifier: BSD-3-Clause
// record_netlink EVENTS FINAL: writes what the kernel tells of links, addresses, neighbours, nexthop objects
// and routes, byte for byte, message after message. EVENTS: a dump, then notifications until standard input
// ends. FINAL: a dump at the end. Both are what capture_test replays.
#include <linux/if_addr.h>
#include <linux/neighbour.h>
#include <linux/nexthop.h>
#include <linux/rtnetlink.h>
#include <netlink/msg.h>
#include <netlink/netlink.h>
#include <netlink/socket.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdio>
#include <fstream>
#include <memory>
#include <vector>

namespace {

struct SocketFree {
    void operator()(nl_sock* s) const { nl_socket_free(s); }
};
using Socket = std::unique_ptr<nl_sock, SocketFree>;

Socket open_socket() {
    Socket s(nl_socket_alloc());
    return s && nl_connect(s.get(), NETLINK_ROUTE) == 0 ? std::move(s) : nullptr;
}

// Writes one datagram. True when it ends a dump.
bool keep(int fd, std::ofstream& out) {
    std::vector<char> buffer(256 * 1024);
    const ssize_t got = recv(fd, buffer.data(), buffer.size(), 0);
    if (got <= 0) {
        return true;
    }
    auto rest = static_cast<int>(got);
    const auto* message = reinterpret_cast<const nlmsghdr*>(buffer.data());
    bool done = false;
    for (; nlmsg_ok(message, rest) != 0; message = nlmsg_next(const_cast<nlmsghdr*>(message), &rest)) {
        if (message->nlmsg_type == NLMSG_DONE || message->nlmsg_type == NLMSG_ERROR) {
            done = true;
            continue;
        }
        const std::streamsize padded = NLMSG_ALIGN(message->nlmsg_len);
        out.write(reinterpret_cast<const char*>(message), padded);
    }
    return done;
}

bool dump(std::ofstream& out) {
    const Socket s = open_socket();
    if (!s) {
        return false;
    }
    struct Request {
        int type;
        unsigned char family;
        size_t size;  // of the header that the kernel expects
    };
    constexpr std::array<Request, 6> requests{{{RTM_GETLINK, AF_UNSPEC, sizeof(ifinfomsg)},
                                               {RTM_GETADDR, AF_UNSPEC, sizeof(ifaddrmsg)},
                                               {RTM_GETNEIGH, AF_UNSPEC, sizeof(ndmsg)},
                                               {RTM_GETNEXTHOP, AF_UNSPEC, sizeof(nhmsg)},
                                               {RTM_GETROUTE, AF_INET, sizeof(rtmsg)},
                                               {RTM_GETROUTE, AF_INET6, sizeof(rtmsg)}}};
    for (const Request& r : requests) {
        // Each of the headers begins with the family; none is longer than this one.
        std::array<char, sizeof(ifinfomsg)> payload{};
        payload[0] = static_cast<char>(r.family);
        if (nl_send_simple(s.get(), r.type, NLM_F_DUMP, payload.data(), r.size) < 0) {
            return false;
        }
        while (!keep(nl_socket_get_fd(s.get()), out)) {
        }
    }
    return true;
}

}  // namespace

int main(int argc, char** argv) {
    if (argc != 3) {
        std::fprintf(stderr, "usage: record_netlink EVENTS FINAL\n");
        return 2;
    }
    std::ofstream events(argv[1], std::ios::binary);
    const Socket subscribed = open_socket();
    if (!subscribed ||
        nl_socket_add_memberships(subscribed.get(), RTNLGRP_LINK, RTNLGRP_NEIGH, RTNLGRP_IPV4_IFADDR,
                                  RTNLGRP_IPV6_IFADDR, RTNLGRP_IPV4_ROUTE, RTNLGRP_IPV6_ROUTE,
                                  RTNLGRP_NEXTHOP, 0) != 0 ||
        !dump(events)) {
        std::fprintf(stderr, "record_netlink: netlink does not answer\n");
        return 1;
    }
    std::printf("recording\n");
    std::fflush(stdout);
    std::array<pollfd, 2> fds{{{.fd = STDIN_FILENO, .events = POLLIN, .revents = 0},
                               {.fd = nl_socket_get_fd(subscribed.get()), .events = POLLIN, .revents = 0}}};
    while (poll(fds.data(), fds.size(), -1) > 0 || errno == EINTR) {
        if ((fds[1].revents & POLLIN) != 0) {
            keep(fds[1].fd, events);
        } else if (fds[0].revents != 0) {
            break;
        }
    }
    std::ofstream final_state(argv[2], std::ios::binary);
    return dump(final_state) ? 0 : 1;
}
