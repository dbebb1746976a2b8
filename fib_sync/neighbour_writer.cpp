// SPDX-License-Identifier: BSD-3-Clause
#include "fib_sync/neighbour_writer.hpp"

#include <fmt/core.h>
#include <linux/neighbour.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <netlink/errno.h>
#include <netlink/netlink.h>
#include <spdlog/spdlog.h>
#include <sys/socket.h>
#include <sys/time.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <cstddef>
#include <cstring>

#include "fib_sync/attributes.hpp"

namespace millrace::sync {
namespace {

constexpr size_t queue_limit = 1U << 17;

struct NewNeighbour {
    nlmsghdr header{};
    ndmsg neighbour{};
    std::array<std::byte, 64> attributes{};

    NewNeighbour(const NeighborKey& key, uint16_t flags) {
        header.nlmsg_type = RTM_NEWNEIGH;
        header.nlmsg_flags = static_cast<uint16_t>(NLM_F_REQUEST | NLM_F_ACK | flags);
        header.nlmsg_len = NLMSG_LENGTH(sizeof(ndmsg));
        neighbour.ndm_family = key.address.family == Family::ipv4 ? AF_INET : AF_INET6;
        neighbour.ndm_ifindex = static_cast<int>(raw(key.ifindex));
        add(NDA_DST, key.address.bytes.data(), key.address.size());
    }
    void add(uint16_t type, const void* value, size_t size) {
        const nlattr head{.nla_len = static_cast<uint16_t>(NLA_HDRLEN + size), .nla_type = type};
        std::byte* at = attributes.data() + (header.nlmsg_len - NLMSG_LENGTH(sizeof(ndmsg)));
        std::memcpy(at, &head, sizeof(head));
        std::memcpy(at + NLA_HDRLEN, value, size);
        header.nlmsg_len += static_cast<uint32_t>(NLA_ALIGN(head.nla_len));
    }
};
static_assert(offsetof(NewNeighbour, attributes) == NLMSG_LENGTH(sizeof(ndmsg)));

std::string_view verb(NeighbourRequest::Kind kind) {
    switch (kind) {
        case NeighbourRequest::Kind::manage:
            return "keep";
        case NeighbourRequest::Kind::use:
            return "refresh";
        case NeighbourRequest::Kind::give_back:
            return "give back";
    }
    return "change";
}

}  // namespace

Result<std::unique_ptr<NeighbourWriter>> NeighbourWriter::open() {
    Socket s(nl_socket_alloc());
    if (!s) {
        return fail("netlink socket for neighbours", ENOMEM);
    }
    if (const int e = nl_connect(s.get(), NETLINK_ROUTE); e < 0) {
        return fail(fmt::format("netlink socket for neighbours: {}", nl_geterror(e)));
    }
    const timeval patience{.tv_sec = 1, .tv_usec = 0};
    const int on = 1;
    const int fd = nl_socket_get_fd(s.get());
    if (setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience)) != 0 ||
        setsockopt(fd, SOL_NETLINK, NETLINK_CAP_ACK, &on, sizeof(on)) != 0) {
        return fail("netlink socket for neighbours", errno);
    }
    std::unique_ptr<NeighbourWriter> writer(new NeighbourWriter(std::move(s)));
    writer->managed_entries_ = writer->probe_managed();
    if (!writer->managed_entries_) {
        spdlog::warn("neighbours: this kernel keeps no managed entries; they are refreshed instead");
    }
    writer->thread_ = std::thread([w = writer.get()] { w->run(); });
    return writer;
}

NeighbourWriter::~NeighbourWriter() {
    {
        const std::lock_guard lock(mutex_);
        stop_ = true;
    }
    changed_.notify_all();
    if (thread_.joinable()) {
        thread_.join();
    }
}

// Asks for a flag that does not exist, of an entry that does not exist: kernels before 5.16 don't know the
// attribute and skip it, and find no entry; the others refuse the flag. Neither changes anything.
bool NeighbourWriter::probe_managed() {
    constexpr Ifindex loopback{1};
    NewNeighbour m({*IpAddress::parse("192.0.2.255"), loopback}, 0);
    const uint32_t unknown = 1U << 31;
    m.add(NDA_FLAGS_EXT, &unknown, sizeof(unknown));
    const int error = send(&m, m.header.nlmsg_len);
    return error == EINVAL || error == ERANGE;
}

bool NeighbourWriter::submit(const NeighbourRequest& request) {
    {
        const std::lock_guard lock(mutex_);
        if (queue_.size() >= queue_limit) {
            return false;
        }
        queue_.push_back(request);
    }
    changed_.notify_all();
    return true;
}

void NeighbourWriter::drain(uint64_t milliseconds) {
    std::unique_lock lock(mutex_);
    changed_.wait_for(lock, std::chrono::milliseconds(milliseconds),
                      [this] { return queue_.empty() && !sending_; });
}

void NeighbourWriter::run() {
    std::unique_lock lock(mutex_);
    while (true) {
        changed_.wait(lock, [this] { return stop_ || !queue_.empty(); });
        if (stop_) {
            return;
        }
        const NeighbourRequest request = queue_.front();
        queue_.pop_front();
        sending_ = true;
        lock.unlock();
        note(request, send(request));
        lock.lock();
        sending_ = false;
        if (queue_.empty()) {
            changed_.notify_all();
        }
    }
}

int NeighbourWriter::send(const NeighbourRequest& request) {
    using Kind = NeighbourRequest::Kind;
    NewNeighbour m(request.key, request.kind == Kind::give_back ? 0 : NLM_F_CREATE);
    // NTF_USE leaves state and address as they are, and takes off the flags that are not named with it
    // (neigh_update_flags). It also takes off PERMANENT, as a managed entry does: an administrator's entry
    // is left alone, but one that was made since the mirror was read, milliseconds ago, loses that.
    m.neighbour.ndm_flags = request.kind == Kind::manage ? NTF_EXT_LEARNED : NTF_USE;
    if (request.kind == Kind::manage) {
        const uint32_t flags = NTF_EXT_MANAGED;
        m.add(NDA_FLAGS_EXT, &flags, sizeof(flags));
    }
    if (request.kind != Kind::use) {
        // The kernel keeps an entry's protocol for life, but another one can be set.
        const uint8_t protocol = request.kind == Kind::manage ? NeighbourCare::protocol : RTPROT_KERNEL;
        m.add(NDA_PROTOCOL, &protocol, sizeof(protocol));
    }
    return send(&m, m.header.nlmsg_len);
}

int NeighbourWriter::send(void* message, size_t size) {
    auto* header = static_cast<nlmsghdr*>(message);
    header->nlmsg_seq = ++sequence_;
    const int fd = nl_socket_get_fd(socket_.get());
    if (::send(fd, message, size, 0) < 0) {
        return errno;
    }
    while (true) {
        std::array<std::byte, 512> answer{};
        const ssize_t n = recv(fd, answer.data(), answer.size(), 0);
        if (n < 0) {
            return errno;
        }
        const Bytes bytes = Bytes(answer).first(static_cast<size_t>(n));
        const auto h = read<nlmsghdr>(bytes);
        // One that came too late for its request is passed over.
        if (h && h->nlmsg_type == NLMSG_ERROR && h->nlmsg_seq == sequence_) {
            return -read<int>(bytes.subspan(NLMSG_HDRLEN)).value_or(0);
        }
    }
}

void NeighbourWriter::note(const NeighbourRequest& request, int error) {
    // The entry or the link went away meanwhile.
    if (error == 0 || error == ENOENT || error == ESRCH || error == ENODEV || error == ENETDOWN) {
        return;
    }
    refused_.fetch_add(1, std::memory_order_relaxed);
    if (said_.emplace(request.kind, error).second) {
        const auto what = fmt::format("neighbours: the kernel refused to {} {} (said once)",
                                      verb(request.kind), request.key.address.text());
        spdlog::warn("{}", Error{what, error}.text());
    }
}

}  // namespace millrace::sync
