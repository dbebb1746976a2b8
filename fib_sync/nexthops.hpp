// SPDX-License-Identifier: BSD-3-Clause
// The kernel's nexthop objects, and what paths and objects mean for the fast path. Control thread only.
#pragma once

#include <compare>
#include <map>
#include <set>
#include <span>
#include <vector>

#include "fib_sync/decode.hpp"
#include "fib_sync/links.hpp"
#include "millrace/reason.hpp"

namespace millrace::sync {

// A gateway on an interface, resolved or not.
struct Hop {
    Ifindex ifindex{};
    IpAddress gateway;
    uint32_t weight = 1;
    auto operator<=>(const Hop&) const = default;
};

// What happens to packets: forwarded over the hops, or none and another reason.
struct Forwarding {
    Reason reason = Reason::punt_unsupported;
    std::vector<Hop> hops;
    Ifindex glean{};    // with punt_glean: the interface that the prefix is connected to
    bool host = false;  // the hop is the destination itself: a connected host
    auto operator<=>(const Forwarding&) const = default;
};

// The outcome of a unicast route, or nexthop object, with these paths.
[[nodiscard]] Forwarding resolve_paths(std::span<const Path> paths, const Links& links);

class Nexthops {
  public:
    struct Object {
        NexthopMessage state;
        uint32_t seen = 0;
    };

    // Notes which objects mean something else now: this one and the groups that contain it.
    void apply(const NexthopMessage& message, uint32_t generation);
    // Mirror::distrust, for the objects over the interface. Routes by these ids are in doubt, and left to the
    // kernel; groups do without them.
    void distrust(Ifindex ifindex, uint32_t generation);
    // A dump of this generation has ended: what was distrusted before it is trusted.
    void settle(uint32_t generation);
    [[nodiscard]] std::vector<NexthopId> not_seen(uint32_t generation) const;
    // Those noted since the last call.
    [[nodiscard]] std::set<NexthopId> take_changed();
    // Links that are managed or not change what every object means.
    void note_all();

    // An id that is not known: punt_unsupported. An IPv4 route goes silently with its object, and is here
    // until the next dump says so; the kernel knows best meanwhile.
    [[nodiscard]] Forwarding resolve(NexthopId id, const Links& links) const;
    [[nodiscard]] size_t size() const { return objects_.size(); }
    [[nodiscard]] const std::map<NexthopId, Object>& all() const { return objects_; }

  private:
    void note(NexthopId id);

    std::map<NexthopId, Object> objects_;
    std::map<NexthopId, std::set<NexthopId>> containers_;  // member -> groups
    std::map<NexthopId, uint32_t> distrusted_;             // -> generation
    std::set<NexthopId> changed_;
};

}  // namespace millrace::sync
