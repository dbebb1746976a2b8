// SPDX-License-Identifier: BSD-3-Clause
#include "fib_sync/exceptions.hpp"

#include <fmt/core.h>
#include <netinet/icmp6.h>
#include <netinet/ip_icmp.h>
#include <spdlog/spdlog.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <utility>

namespace millrace::sync {
namespace {

constexpr int receive_buffer = 1 << 20;
constexpr int messages_per_read = 256;
constexpr int most_of_no_overrun = 16;  // the longest messages fill the buffer by about 25
constexpr size_t most_hosts = 3072;  // of both families: what a classifier has room for beside other prefixes
constexpr uint64_t settle_ms = 300;  // from a message to the dump that tells what has become of it
constexpr uint64_t grace_ms = 200;   // after the end of an exception, until it is looked for
constexpr uint64_t least_rest_ms = 1000;
constexpr uint64_t rest_for_each = 5;  // a dump may take a fifth of a core, while messages come
constexpr uint64_t retry_ms = 5000;
// A dump of IPv6 routes may leave out what is there, when others change.
constexpr unsigned looks(Family family) {
    return family == Family::ipv4 ? 1 : 2;
}

// From linux/icmp.h, which does not go with netinet/ip_icmp.h.
constexpr int icmp_filter_option = 1;

}  // namespace

ExceptionWatch::Socket::Socket(Socket&& other) noexcept
    : family(other.family), fd(std::exchange(other.fd, -1)), lost(other.lost) {}

ExceptionWatch::Socket::~Socket() {
    if (fd >= 0) {
        close(fd);
    }
}

Status ExceptionWatch::open_socket(Family family, std::vector<Socket>& sockets) {
    const bool ipv4 = family == Family::ipv4;
    const int protocol = ipv4 ? int{IPPROTO_ICMP} : int{IPPROTO_ICMPV6};
    Socket s(family, socket(ipv4 ? AF_INET : AF_INET6, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, protocol));
    if (s.fd < 0) {
        // A kernel without IPv6 learns nothing about it.
        return errno == EAFNOSUPPORT ? Status{} : fail("raw ICMP socket", errno);
    }
    int error = 0;
    if (ipv4) {
        const uint32_t blocked = ~(1U << ICMP_DEST_UNREACH | 1U << ICMP_REDIRECT);
        error = setsockopt(s.fd, SOL_RAW, icmp_filter_option, &blocked, sizeof(blocked));
    } else {
        icmp6_filter filter{};
        ICMP6_FILTER_SETBLOCKALL(&filter);
        ICMP6_FILTER_SETPASS(ICMP6_PACKET_TOO_BIG, &filter);
        ICMP6_FILTER_SETPASS(ND_REDIRECT, &filter);
        error = setsockopt(s.fd, IPPROTO_ICMPV6, ICMP6_FILTER, &filter, sizeof(filter));
    }
    const int on = 1;
    if (error != 0 || setsockopt(s.fd, SOL_SOCKET, SO_RXQ_OVFL, &on, sizeof(on)) != 0) {
        return fail("raw ICMP socket: filter", errno);
    }
    setsockopt(s.fd, SOL_SOCKET, SO_RCVBUF, &receive_buffer, sizeof(receive_buffer));
    sockets.push_back(std::move(s));
    return {};
}

Result<ExceptionWatch> ExceptionWatch::open() {
    ExceptionWatch watch;
    for (const Family family : {Family::ipv4, Family::ipv6}) {
        if (auto opened = open_socket(family, watch.sockets_); !opened) {
            return tl::unexpected(opened.error());
        }
    }
    auto dump = Dump::start("millrace-learn", [](std::monostate, const std::atomic<bool>& stop) {
        return dump_exceptions(stop);
    });
    if (!dump) {
        return tl::unexpected(dump.error());
    }
    watch.dump_ = std::move(*dump);
    return watch;
}

std::vector<int> ExceptionWatch::fds() const {
    std::vector<int> all = {dump_->fd()};
    for (const Socket& s : sockets_) {
        all.push_back(s.fd);
    }
    return all;
}

void ExceptionWatch::read(Socket& socket, uint64_t now) {
    std::array<std::byte, 256> message{};  // headers, and as much of a quote as is looked at
    alignas(cmsghdr) std::array<std::byte, CMSG_SPACE(sizeof(uint32_t))> control{};
    bool dropped = false;
    int messages = 0;
    for (; messages < messages_per_read; ++messages) {
        iovec part{.iov_base = message.data(), .iov_len = message.size()};
        msghdr header{};
        header.msg_iov = &part;
        header.msg_iovlen = 1;
        header.msg_control = control.data();
        header.msg_controllen = control.size();
        const ssize_t size = recvmsg(socket.fd, &header, 0);
        if (size < 0) {
            break;
        }
        for (cmsghdr* c = CMSG_FIRSTHDR(&header); c != nullptr; c = CMSG_NXTHDR(&header, c)) {
            uint32_t lost = 0;
            std::memcpy(&lost, CMSG_DATA(c), sizeof(lost));
            if (c->cmsg_type == SO_RXQ_OVFL && std::exchange(socket.lost, lost) != lost) {
                dropped = true;
            }
        }
        if (const auto host =
                exception_subject(socket.family, Bytes(message).first(static_cast<size_t>(size)))) {
            about(*host, now);
        }
    }
    // A wrong checksum counts as dropped, too, and anybody can send one: what was lost for want of room came
    // with many others.
    if (dropped && messages >= most_of_no_overrun) {
        lose(socket.family);
        look_soon(now);
    }
}

void ExceptionWatch::look_soon(uint64_t now) {
    dump_at_ = std::min(dump_at_, std::max(now + settle_ms, rest_until_));
}

// All of the family is kept, until a dump has told that began after this.
void ExceptionWatch::lose(Family family) {
    const size_t f = family == Family::ipv4 ? 0 : 1;
    version_ += lost_[f] ? 0 : 1;
    lost_[f] = lost_while_dumping_[f] = true;
}

void ExceptionWatch::about(const IpAddress& host, uint64_t now) {
    if (hosts_.size() >= most_hosts && !hosts_.contains(host)) {
        lose(host.family);
    } else {
        const auto [at, added] = hosts_.try_emplace(host);
        at->second.unseen = 0;
        at->second.heard = now;
        if (added) {
            at->second.text = "ICMP about it has come in";
            ++version_;
        }
    }
    look_soon(now);
}

void ExceptionWatch::on_readable(uint64_t now) {
    for (Socket& s : sockets_) {
        read(s, now);
    }
}

void ExceptionWatch::apply(const std::vector<Exception>& exceptions, uint64_t now) {
    known_ = true;
    lost_ = std::exchange(lost_while_dumping_, {});
    ++version_;
    for (auto& [host, kept] : hosts_) {
        // The kernel acts on a message after the socket has had it.
        kept.unseen += began_ >= kept.heard + settle_ms ? 1 : 0;
    }
    for (const Exception& e : exceptions) {
        Kept& kept = hosts_[e.host];
        kept.until = now + e.lifetime_ms + grace_ms;
        kept.unseen = 0;
        kept.text = e.text;
    }
    std::erase_if(hosts_, [now](const auto& h) {
        return h.second.unseen >= looks(h.first.family) && now >= h.second.until;
    });
    uint64_t next = UINT64_MAX;
    for (const auto& [host, kept] : hosts_) {
        next = std::min(next, kept.unseen > 0 && kept.unseen < looks(host.family) ? now : kept.until);
    }
    dump_at_ = next == UINT64_MAX ? UINT64_MAX : std::max(next, rest_until_);
    if (lost_[0] || lost_[1]) {
        look_soon(now);
    }
}

void ExceptionWatch::refresh(uint64_t now) {
    if (const auto dumped = dump_->take()) {
        rest_until_ = now + std::max(least_rest_ms, dumped->cpu_ms * rest_for_each);
        dump_at_ = UINT64_MAX;
        if (dumped->answer) {
            apply(*dumped->answer, now);
        } else {
            spdlog::warn("what the kernel has learned by ICMP could not be read, again in {} s: {}",
                         retry_ms / 1000, dumped->answer.error().text());
            dump_at_ = now + retry_ms;
            // Not knowing must not keep the daemon from starting, nor let anything pass.
            known_ = true;
            lose(Family::ipv4);
            lose(Family::ipv6);
        }
    }
    if (!dump_->asking() && now >= dump_at_) {
        lost_while_dumping_ = {};
        began_ = now;
        dump_at_ = UINT64_MAX;
        dump_->ask({});
    }
}

uint64_t ExceptionWatch::next_deadline_ms() const {
    return dump_->asking() ? UINT64_MAX : dump_at_;
}

std::vector<Keep> ExceptionWatch::keeps() const {
    std::vector<Keep> keeps;
    for (const Family family : {Family::ipv4, Family::ipv6}) {
        if (lost_[family == Family::ipv4 ? 0 : 1]) {
            keeps.push_back(
                {.cause = KeepCause::learned,
                 .family = family,
                 .text = "what has been learned by ICMP is not known: too many messages, or no answer"});
        }
    }
    for (const auto& [host, kept] : hosts_) {
        if (lost_[host.family == Family::ipv4 ? 0 : 1]) {
            continue;
        }
        keeps.push_back({.cause = KeepCause::learned,
                         .prefix = Prefix{host, static_cast<uint8_t>(address_bits(host.family))},
                         .text = kept.text});
    }
    return keeps;
}

}  // namespace millrace::sync
