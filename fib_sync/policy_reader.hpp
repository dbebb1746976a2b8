// SPDX-License-Identifier: BSD-3-Clause
// Reads policy.hpp's values from the kernel: what there is now, and that something may have changed. These
// tables are short (some milliseconds at worst), so a change is followed by reading them whole: there is
// nothing to merge, and a lost notification is one more reason to read.
//
// The sockets see the network namespace of the thread that opened them, for ever. Control thread only.
#pragma once

#include <netlink/socket.h>

#include <cstddef>
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "fib_sync/attributes.hpp"
#include "fib_sync/policy.hpp"
#include "millrace/result.hpp"

namespace millrace::sync {

class PolicyReader {
  public:
    // Error: no rtnetlink socket. A kernel without XFRM, rules, ... has none of them.
    static Result<PolicyReader> open();

    // The same for life; readable (EPOLLIN) = call changed().
    [[nodiscard]] std::vector<int> fds() const;
    // Takes what notifications there are. True = read() may find something new.
    [[nodiscard]] bool changed();

    // Everything; hooks and IPv6 of these netdevs only. Error: a table was refused, or changed while it was
    // read; what has been read by then is in policy, the rest as it was.
    Status read(std::span<const Ifindex> ports, Policy& policy);
    // Only what has no notification: Policy::ipv6.
    Status read_links(std::span<const Ifindex> ports, Policy& policy);

  private:
    struct SocketFree {
        void operator()(nl_sock* s) const { nl_socket_free(s); }
    };
    using Socket = std::unique_ptr<nl_sock, SocketFree>;
    using Visitor = std::function<Status(uint16_t type, Bytes payload)>;

    PolicyReader() = default;
    static Result<Socket> connect(int protocol, std::span<const int> groups);
    // One request and all of its answer. body: behind the netlink header. Error code: the kernel's errno.
    Status ask(nl_sock* socket, uint16_t type, uint16_t flags, Bytes body, const Visitor& each);

    Status read_rules(uint8_t family, std::optional<std::vector<Rule>>& rules);
    Status read_switches(uint8_t family, std::optional<SwitchTable>& table);
    Status read_qdiscs(std::span<const Ifindex> ports, Policy& policy);
    Result<bool> has_filter(Ifindex ifindex, uint32_t parent);
    Status read_xfrm(Policy& policy);

    Socket route_events_;
    Socket route_;
    Socket xfrm_events_;  // null where the kernel has no XFRM
    Socket xfrm_;
    std::vector<std::byte> buffer_;
    uint32_t sequence_ = 0;
};

}  // namespace millrace::sync
