// SPDX-License-Identifier: BSD-3-Clause
#include "fib_sync/policy_reader.hpp"

#include <fmt/core.h>
#include <linux/fib_rules.h>
#include <linux/if_link.h>
#include <linux/netconf.h>
#include <linux/pkt_sched.h>
#include <linux/rtnetlink.h>
#include <linux/xfrm.h>
#include <netlink/errno.h>
#include <netlink/netlink.h>
#include <spdlog/spdlog.h>
#include <sys/socket.h>
#include <sys/time.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <utility>

#include "fib_sync/decode_policy.hpp"

namespace millrace::sync {
namespace {

constexpr size_t buffer_size = 1U << 16;  // a dump comes in datagrams of up to 32 KiB (netlink_dump)
constexpr int notifications_per_read = 256;
constexpr time_t answer_seconds = 1;  // the kernel answers in the system call that reads
constexpr uint16_t dump = NLM_F_DUMP;
constexpr uint16_t one = NLM_F_ACK;  // the acknowledgement marks the end

// What a kernel says that was built without the table asked for.
bool not_there(const Error& e) {
    return e.code == EOPNOTSUPP || e.code == EAFNOSUPPORT || e.code == EPROTONOSUPPORT;
}

template <class T>
Bytes bytes_of(const T& value) {
    return std::as_bytes(std::span(&value, 1));
}

template <class T>
Status into(Result<std::optional<T>> decoded, const std::function<void(T)>& take) {
    if (!decoded) {
        return tl::unexpected(decoded.error());
    }
    if (*decoded) {
        take(std::move(**decoded));
    }
    return {};
}

}  // namespace

Result<PolicyReader::Socket> PolicyReader::connect(int protocol, std::span<const int> groups) {
    Socket s(nl_socket_alloc());
    if (!s) {
        return fail("netlink socket", ENOMEM);
    }
    if (const int e = nl_connect(s.get(), protocol); e < 0) {
        return fail(fmt::format("netlink socket: {}", nl_geterror(e)));
    }
    for (const int group : groups) {
        if (const int e = nl_socket_add_membership(s.get(), group); e < 0) {
            return fail(fmt::format("netlink: subscription to group {}: {}", group, nl_geterror(e)));
        }
    }
    const timeval patience{answer_seconds, 0};
    setsockopt(nl_socket_get_fd(s.get()), SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
    return s;
}

Result<PolicyReader> PolicyReader::open() {
    constexpr std::array route_groups = {int{RTNLGRP_IPV4_RULE}, int{RTNLGRP_IPV6_RULE},
                                         int{RTNLGRP_IPV4_NETCONF}, int{RTNLGRP_IPV6_NETCONF},
                                         int{RTNLGRP_TC}};
    constexpr std::array xfrm_groups = {int{XFRMNLGRP_POLICY}};
    PolicyReader reader;
    reader.buffer_.resize(buffer_size);
    auto events = connect(NETLINK_ROUTE, route_groups);
    auto requests = connect(NETLINK_ROUTE, {});
    if (!events || !requests) {
        return tl::unexpected(events ? requests.error() : events.error());
    }
    reader.route_events_ = std::move(*events);
    reader.route_ = std::move(*requests);
    // Without it the kernel doesn't tell a dump by ifindex from one of all.
    const int on = 1;
    setsockopt(nl_socket_get_fd(reader.route_.get()), SOL_NETLINK, NETLINK_GET_STRICT_CHK, &on, sizeof(on));
    auto xfrm_events = connect(NETLINK_XFRM, xfrm_groups);
    auto xfrm = connect(NETLINK_XFRM, {});
    if (xfrm_events && xfrm) {
        reader.xfrm_events_ = std::move(*xfrm_events);
        reader.xfrm_ = std::move(*xfrm);
    } else {
        spdlog::debug("no XFRM in this kernel: {}", (xfrm_events ? xfrm : xfrm_events).error().text());
    }
    return reader;
}

std::vector<int> PolicyReader::fds() const {
    std::vector<int> all = {nl_socket_get_fd(route_events_.get())};
    if (xfrm_events_) {
        all.push_back(nl_socket_get_fd(xfrm_events_.get()));
    }
    return all;
}

bool PolicyReader::changed() {
    bool any = false;
    for (const int fd : fds()) {
        for (int i = 0; i < notifications_per_read; ++i) {
            // What it says is read from the table; a datagram cut short will do.
            if (recv(fd, buffer_.data(), buffer_.size(), MSG_DONTWAIT) < 0) {
                any = any || errno == ENOBUFS;
                break;
            }
            any = true;
        }
    }
    return any;
}

Status PolicyReader::ask(nl_sock* socket, uint16_t type, uint16_t flags, Bytes body, const Visitor& each) {
    const int fd = nl_socket_get_fd(socket);
    std::array<std::byte, 256> request{};
    nlmsghdr header{};
    // Strict checking takes a netconfmsg of one byte for malformed unless it is padded.
    header.nlmsg_len = static_cast<uint32_t>(NLMSG_SPACE(body.size()));
    header.nlmsg_type = type;
    header.nlmsg_flags = static_cast<uint16_t>(NLM_F_REQUEST | flags);
    header.nlmsg_seq = ++sequence_;
    std::memcpy(request.data(), &header, sizeof(header));
    std::copy(body.begin(), body.end(), request.begin() + NLMSG_HDRLEN);
    if (send(fd, request.data(), header.nlmsg_len, 0) < 0) {
        return fail("request", errno);
    }
    Status first;
    bool interrupted = false;
    while (true) {
        sockaddr_nl from{};
        socklen_t from_size = sizeof(from);
        const ssize_t n = recvfrom(fd, buffer_.data(), buffer_.size(), MSG_TRUNC,
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

Status PolicyReader::read_rules(uint8_t family, std::optional<std::vector<Rule>>& rules) {
    std::vector<Rule> all;
    fib_rule_hdr header{};
    header.family = family;
    Status asked = ask(route_.get(), RTM_GETRULE, dump, bytes_of(header), [&](uint16_t, Bytes payload) {
        return into<Rule>(decode_rule(payload), [&](Rule r) { all.push_back(std::move(r)); });
    });
    if (asked) {
        rules = std::move(all);
    } else if (not_there(asked.error())) {
        rules.reset();
    } else {
        return asked;
    }
    return {};
}

Status PolicyReader::read_switches(uint8_t family, std::optional<SwitchTable>& table) {
    SwitchTable all;
    netconfmsg header{};
    header.ncm_family = family;
    Status asked = ask(route_.get(), RTM_GETNETCONF, dump, bytes_of(header), [&](uint16_t, Bytes payload) {
        return into<SwitchesMessage>(decode_switches(payload),
                                     [&](SwitchesMessage m) { all[m.ifindex] = m.switches; });
    });
    if (asked) {
        table = std::move(all);
    } else if (not_there(asked.error())) {
        table.reset();
    } else {
        return asked;
    }
    return {};
}

Result<bool> PolicyReader::has_filter(Ifindex ifindex, uint32_t parent) {
    bool any = false;
    tcmsg header{};
    header.tcm_ifindex = static_cast<int>(raw(ifindex));
    header.tcm_parent = parent;
    Status asked = ask(route_.get(), RTM_GETTFILTER, dump, bytes_of(header), [&](uint16_t, Bytes) {
        any = true;
        return Status{};
    });
    if (!asked && !not_there(asked.error()) && asked.error().code != ENODEV) {
        return tl::unexpected(asked.error());
    }
    return any;
}

Status PolicyReader::read_qdiscs(std::span<const Ifindex> ports, Policy& policy) {
    std::vector<Qdisc> qdiscs;
    Status asked = ask(route_.get(), RTM_GETQDISC, dump, bytes_of(tcmsg{}), [&](uint16_t, Bytes payload) {
        return into<Qdisc>(decode_qdisc(payload), [&](Qdisc q) {
            if (std::find(ports.begin(), ports.end(), q.ifindex) != ports.end()) {
                qdiscs.push_back(std::move(q));
            }
        });
    });
    if (!asked && !not_there(asked.error())) {
        return asked;
    }
    std::map<Ifindex, Hooks> hooks;
    for (const Qdisc& q : qdiscs) {
        if (!q.hooks()) {
            continue;
        }
        const bool both = q.kind == "clsact";
        const auto ingress = has_filter(
            q.ifindex, both ? TC_H_MAKE(TC_H_CLSACT, TC_H_MIN_INGRESS) : TC_H_MAKE(TC_H_INGRESS, 0));
        const auto egress = both ? has_filter(q.ifindex, TC_H_MAKE(TC_H_CLSACT, TC_H_MIN_EGRESS)) : false;
        if (!ingress || !egress) {
            return tl::unexpected((ingress ? egress : ingress).error());
        }
        hooks[q.ifindex] = {*ingress, *egress};
    }
    policy.qdiscs = std::move(qdiscs);
    policy.hooks = std::move(hooks);
    return {};
}

Status PolicyReader::read_xfrm(Policy& policy) {
    if (!xfrm_) {
        return {};
    }
    std::vector<XfrmPolicy> all;
    Status asked = ask(xfrm_.get(), XFRM_MSG_GETPOLICY, dump, {}, [&](uint16_t, Bytes payload) {
        return into<XfrmPolicy>(decode_xfrm_policy(payload), [&](XfrmPolicy p) { all.push_back(p); });
    });
    if (!asked && !not_there(asked.error())) {
        return asked;
    }
    bool blocks = false;
    asked = ask(xfrm_.get(), XFRM_MSG_GETDEFAULT, one, bytes_of(xfrm_userpolicy_default{}),
                [&](uint16_t, Bytes payload) -> Status {
                    const auto decoded = decode_xfrm_default(payload);
                    if (!decoded) {
                        return tl::unexpected(decoded.error());
                    }
                    blocks = *decoded;
                    return {};
                });
    if (!asked && asked.error().code != EINVAL) {  // before Linux 5.15 there is none
        return asked;
    }
    policy.xfrm = std::move(all);
    policy.xfrm_blocks_by_default = blocks;
    return {};
}

Status PolicyReader::read_links(std::span<const Ifindex> ports, Policy& policy) {
    std::map<Ifindex, LinkIpv6> all;
    for (const Ifindex ifindex : ports) {
        struct {
            ifinfomsg header;
            nlattr mask_head;
            uint32_t mask;
        } request{};
        request.header.ifi_index = static_cast<int>(raw(ifindex));
        request.mask_head = {.nla_len = NLA_HDRLEN + sizeof(uint32_t), .nla_type = IFLA_EXT_MASK};
        request.mask = RTEXT_FILTER_SKIP_STATS;
        Status asked =
            ask(route_.get(), RTM_GETLINK, one, bytes_of(request), [&](uint16_t, Bytes payload) -> Status {
                const auto decoded = decode_link_ipv6(payload);
                if (!decoded) {
                    return tl::unexpected(decoded.error());
                }
                all[ifindex] = *decoded;
                return {};
            });
        if (!asked && asked.error().code != ENODEV) {
            return asked;
        }
    }
    policy.ipv6 = std::move(all);
    return {};
}

Status PolicyReader::read(std::span<const Ifindex> ports, Policy& policy) {
    Status first;
    const auto note = [&first](const char* what, const Status& status) {
        if (!status && first) {
            first = fail(fmt::format("{}: {}", what, status.error().what), status.error().code);
        }
    };
    note("IPv4 rules", read_rules(AF_INET, policy.rules4));
    note("IPv6 rules", read_rules(AF_INET6, policy.rules6));
    note("IPv4 device configuration", read_switches(AF_INET, policy.switches4));
    note("IPv6 device configuration", read_switches(AF_INET6, policy.switches6));
    note("queueing disciplines", read_qdiscs(ports, policy));
    note("XFRM policies", read_xfrm(policy));
    note("links", read_links(ports, policy));
    return first;
}

}  // namespace millrace::sync
