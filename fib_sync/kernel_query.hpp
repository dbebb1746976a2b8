// SPDX-License-Identifier: BSD-3-Clause
// The kernel's tables, asked for by an audit: a dump in pieces, or one thing at a time. On sockets of its
// own; the audit's questions and Sync's do not mix. Control thread only.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <variant>
#include <vector>

#include "fib_sync/neighbours.hpp"
#include "fib_sync/route_socket.hpp"
#include "fib_sync/sync.hpp"
#include "millrace/result.hpp"

namespace millrace::sync {

class KernelQuery {
  public:
    KernelQuery() = default;
    virtual ~KernelQuery() = default;
    KernelQuery(const KernelQuery&) = delete;
    KernelQuery& operator=(const KernelQuery&) = delete;

    // Ends a dump that is under way. IPv4 routes: of the main table alone.
    virtual Status start_dump(DumpKind kind) = 0;
    struct Part {
        bool last = false;
        bool interrupted = false;  // with last: the table changed, and what it told may not be whole
    };
    // Calls each with what the next datagram of the dump tells; some hundred routes. Error: the dump is over.
    virtual Result<Part> next(const std::function<void(const Message&)>& each) = 0;

    // A link, a neighbour, a nexthop object; nullopt when the kernel has none.
    using Key = std::variant<Ifindex, NeighborKey, NexthopId>;
    virtual Result<std::optional<Message>> get(const Key& key) = 0;
    // The route that the kernel would take to the address, by its rules: of any table. nullopt when it has
    // none, or one that it does not tell (unreachable, prohibit, blackhole).
    virtual Result<std::optional<RouteMessage>> route_to(const IpAddress& address) = 0;

    // Has every notification been read that the kernel has sent?
    [[nodiscard]] virtual bool notifications_read() const = 0;
};

class NetlinkQuery : public KernelQuery {
  public:
    // events: the subscription's descriptor, which outlives this.
    explicit NetlinkQuery(int events) : events_(events), buffer_(dump_datagram) {}

    Status start_dump(DumpKind kind) override;
    Result<Part> next(const std::function<void(const Message&)>& each) override;
    Result<std::optional<Message>> get(const Key& key) override;
    Result<std::optional<RouteMessage>> route_to(const IpAddress& address) override;
    [[nodiscard]] bool notifications_read() const override;

  private:
    Result<std::optional<Message>> ask(Bytes request);
    [[nodiscard]] Result<Bytes> receive(int fd);

    int events_;
    std::vector<std::byte> buffer_;
    RouteSocket dumps_;  // a new one for each dump: what is left of the last one goes with its socket
    RouteSocket asks_;
    uint32_t sequence_ = 0;
    bool interrupted_ = false;
};

}  // namespace millrace::sync
