// SPDX-License-Identifier: BSD-3-Clause
// Tells that policy.hpp's values may have changed, and has them read beside the control thread: the kernel
// answers most of these questions under RTNL, which others hold for 10 s and more. Control thread only.
#pragma once

#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "fib_sync/background.hpp"
#include "fib_sync/exchange.hpp"
#include "fib_sync/policy.hpp"
#include "millrace/result.hpp"

namespace millrace::sync {

struct PolicyQuestion {
    bool everything = false;     // or only Policy::ipv6, which has no notification
    std::vector<Ifindex> ports;  // hooks and IPv6 of these netdevs
};
struct PolicyAnswer {
    bool everything = false;
    Status status;  // see PolicyReader::read()
    Policy policy;
};

class PolicyWatch {
  public:
    // The sockets see the network namespace of the calling thread, for ever. Error: no rtnetlink socket. A
    // kernel without XFRM, rules, ... has none of them.
    static Result<PolicyWatch> open();

    // The same for life; readable (EPOLLIN) = call changed() and take().
    [[nodiscard]] std::vector<int> fds() const;
    // Takes what notifications there are. True = there may be something new to read.
    [[nodiscard]] bool changed();

    using Reading = Background<PolicyQuestion, PolicyAnswer>;
    // One at a time.
    void read(PolicyQuestion question) { reading_->ask(std::move(question)); }
    [[nodiscard]] bool reading() const { return reading_->asking(); }
    std::optional<Reading::Done> take() { return reading_->take(); }

  private:
    PolicyWatch(Exchange route, std::unique_ptr<Reading> reading)
        : route_events_(std::move(route)), reading_(std::move(reading)) {}

    Exchange route_events_;
    std::optional<Exchange> xfrm_events_;  // none where the kernel has no XFRM
    std::unique_ptr<Reading> reading_;
};

}  // namespace millrace::sync
