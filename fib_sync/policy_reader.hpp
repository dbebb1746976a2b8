// SPDX-License-Identifier: BSD-3-Clause
// Reads policy.hpp's values from the kernel. These tables are short (some milliseconds at worst), so a change
// is followed by reading them whole: there is nothing to merge, and a lost notification is one more reason to
// read. Waits for RTNL, however long somebody holds it: not for the control thread.
//
// The sockets see the network namespace of the thread that opened them, for ever. One thread at a time.
#pragma once

#include <atomic>
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

    // Everything; hooks and IPv6 of these netdevs only. Error: a table was refused, or changed while it was
    // read; what has been read by then is in policy, the rest as it was. stop: asks the kernel nothing more.
    Status read(std::span<const Ifindex> ports, Policy& policy, const std::atomic<bool>& stop);
    // Only what has no notification: Policy::ipv6.
    Status read_links(std::span<const Ifindex> ports, Policy& policy, const std::atomic<bool>& stop);

  private:
    explicit PolicyReader(Exchange route) : route_(std::move(route)) {}

    Status read_rules(uint8_t family, std::optional<std::vector<Rule>>& rules);
    Status read_switches(uint8_t family, std::optional<SwitchTable>& table);
    Status read_qdiscs(std::span<const Ifindex> ports, Policy& policy);
    Result<bool> has_filter(Ifindex ifindex, uint32_t parent);
    Status read_xfrm(Policy& policy);

    Exchange route_;
    std::optional<Exchange> xfrm_;  // none where the kernel has no XFRM
};

}  // namespace millrace::sync
