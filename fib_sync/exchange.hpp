// SPDX-License-Identifier: BSD-3-Clause
// A netlink socket for questions that have short answers, or for notifications that are read elsewhere. It
// sees the network namespace of the thread that opened it, for ever. One thread at a time. Move-only.
#pragma once

#include <netlink/socket.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "fib_sync/attributes.hpp"
#include "millrace/result.hpp"

namespace millrace::sync {

template <class T>
Bytes bytes_of(const T& value) {
    return std::as_bytes(std::span(&value, 1));
}

class Exchange {
  public:
    using Visitor = std::function<Status(uint16_t type, Bytes payload)>;

    // protocol: NETLINK_*. Error: the kernel has no such protocol, or no such group.
    static Result<Exchange> open(int protocol, std::span<const int> groups = {});

    [[nodiscard]] int fd() const { return nl_socket_get_fd(socket_.get()); }
    // One request and all of its answer; flags must make the kernel end it (NLM_F_DUMP, NLM_F_ACK). body:
    // behind the netlink header, at most 200 bytes. Error code: the kernel's errno; EAGAIN: a table changed
    // while it was dumped.
    Status ask(uint16_t type, uint16_t flags, Bytes body, const Visitor& each);

  private:
    struct Free {
        void operator()(nl_sock* s) const { nl_socket_free(s); }
    };
    Exchange() = default;

    std::unique_ptr<nl_sock, Free> socket_;
    std::vector<std::byte> buffer_;
    uint32_t sequence_ = 0;
};

}  // namespace millrace::sync
