// SPDX-License-Identifier: BSD-3-Clause
// The two rtnetlink sockets: one that is subscribed to changes, one that tables are dumped on, which has a
// thread to read it. Each call takes a bounded number of datagrams, so that the caller's event loop stays
// live. Control thread only.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "fib_sync/dump_reader.hpp"
#include "fib_sync/route_socket.hpp"
#include "fib_sync/sync.hpp"
#include "millrace/result.hpp"

namespace millrace::sync {

class NetlinkTransport : public Transport {
  public:
    // receive_buffer: bytes wanted for the subscription's socket; less without CAP_NET_ADMIN, where
    // net.core.rmem_max is the limit. The sockets see the network namespace of the calling thread, for ever.
    static Result<std::unique_ptr<NetlinkTransport>> open(size_t receive_buffer);

    // Both stay the same for life; readable (EPOLLIN) = call the function below.
    [[nodiscard]] int event_fd() const { return nl_socket_get_fd(events_.get()); }
    [[nodiscard]] int dump_fd() const { return reader_->fd(); }

    // Reads what is there, a bounded number of datagrams, into sync. now: milliseconds, as Sync takes it.
    void on_event_readable(Sync& sync, uint64_t now);
    void on_dump_readable(Sync& sync, uint64_t now);

    Status start_dump(DumpKind kind) override;
    void abandon_dump() override {
        expected_.reset();
        next_.reset();
    }

  private:
    NetlinkTransport(RouteSocket events, RouteSocket dumps, std::unique_ptr<DumpReader> reader);
    Status request(DumpKind kind);
    // True when the dump under way is over.
    bool dump_part(Sync& sync, std::span<const std::byte> message, uint64_t now);
    bool read_notification(Sync& sync, uint64_t now);
    void dump_over(Sync& sync, std::optional<Error> error, uint64_t now);

    RouteSocket events_;
    RouteSocket dumps_;
    std::unique_ptr<DumpReader> reader_;  // ends before its socket
    std::vector<std::byte> buffer_;

    // The kernel serves one dump of a socket at a time: one that is abandoned must run out first.
    std::optional<uint32_t> in_flight_;  // sequence number that the kernel is answering
    std::optional<uint32_t> expected_;   // the one that Sync waits for
    std::optional<DumpKind> next_;       // to be sent once nothing is in flight
    uint32_t sequence_ = 0;
    bool interrupted_ = false;
    bool lost_ = false;  // notifications, and what is left of them has not been read to the end
};

}  // namespace millrace::sync
