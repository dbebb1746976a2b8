// SPDX-License-Identifier: BSD-3-Clause
// Reads policy.hpp's values from the kernel: what there is now, and that something may have changed. These
// tables are short (some milliseconds at worst), so a change is followed by reading them whole: there is
// nothing to merge, and a lost notification is one more reason to read.
//
// The sockets see the network namespace of the thread that opened them, for ever. Control thread only.
#pragma once

#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "fib_sync/exchange.hpp"
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
    PolicyReader(Exchange events, Exchange requests)
        : route_events_(std::move(events)), route_(std::move(requests)) {}

    Status read_rules(uint8_t family, std::optional<std::vector<Rule>>& rules);
    Status read_switches(uint8_t family, std::optional<SwitchTable>& table);
    Status read_qdiscs(std::span<const Ifindex> ports, Policy& policy);
    Result<bool> has_filter(Ifindex ifindex, uint32_t parent);
    Status read_xfrm(Policy& policy);

    Exchange route_events_;
    Exchange route_;
    std::optional<Exchange> xfrm_events_;  // none where the kernel has no XFRM
    std::optional<Exchange> xfrm_;
};

}  // namespace millrace::sync
