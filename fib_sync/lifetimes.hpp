// SPDX-License-Identifier: BSD-3-Clause
// IPv6 routes with a lifetime: `expires`, and what router advertisements made. The kernel stops using them
// when it is over, without a message (that one comes from its garbage collector, up to 30 s later), and a new
// lifetime is not announced either, be it longer or shorter. So the kernel is asked, over and over: a prefix
// is forwarded by such a route for as long as the last answer is sure to hold, and punts when there is none.
// A lifetime is a number of seconds, so no new one can end within a second of the answer. What changes an
// address may give its prefix one: that is asked too.
//
// A dump tells a route that is at its end as one without a lifetime, and leaves out what the kernel has
// between the paths of a multipath route. So it is asked behind a dump, too; where a route of another
// router's advertisement is preferred to a multipath route, the answer tells that one.
//
// Routes of several paths each of which has a lifetime of its own, and routes by nexthop objects, whose
// prefix the kernel does not tell right, punt unless the kernel says that they have none. Control thread
// only.
#pragma once

#include <cstdint>
#include <optional>

#include "fib_sync/kernel_query.hpp"
#include "fib_sync/mirror.hpp"

namespace millrace::sync {

class Lifetimes {
  public:
    // Both outlive this.
    Lifetimes(Mirror& mirror, KernelQuery& kernel) : mirror_(mirror), kernel_(kernel) {}

    // Asks what is due, and has end what no answer holds for. now: milliseconds. True: the mirror needs a
    // commit.
    [[nodiscard]] bool tick(uint64_t now);
    // When there is something to do; UINT64_MAX = nothing.
    [[nodiscard]] uint64_t deadline() const;

    [[nodiscard]] uint64_t questions() const { return questions_; }

  private:
    struct Answer {
        bool asked = false;
        std::optional<RouteMessage> held;  // the kernel uses the route in force
    };
    [[nodiscard]] Answer ask(const Prefix& prefix);
    // Does the kernel use another route than the multipath route that a dump told?
    void look_behind(const Prefix& prefix);
    void renew(const Prefix& prefix, Mirror::Limited& limited, uint64_t now);

    Mirror& mirror_;
    KernelQuery& kernel_;
    uint64_t questions_ = 0;
    uint64_t busy_until_ = 0;  // questions are spread
};

}  // namespace millrace::sync
