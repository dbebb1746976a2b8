// SPDX-License-Identifier: BSD-3-Clause
// The seam between the mirror (fib_sync) and whoever acts on it: the dataplane's tables, the steering maps,
// or a recorder in a test. All calls come from the control thread, in the order of cause: a group is created
// before a route uses it, and is destroyed after the last route has let go of it.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>

#include "millrace/keep.hpp"
#include "millrace/reason.hpp"
#include "millrace/types.hpp"

namespace millrace {

// The kernel's rp_filter, RFC 3704: what must hold of an IPv4 packet's source before it is forwarded.
enum class ReversePath : uint8_t {
    off,
    loose,   // there is a unicast route to it
    strict,  // ... that leads out of the interface where the packet came in
};

// A layer-3 netdev over which the fast path may forward. Today the port itself; a VLAN on it later.
struct Interface {
    Ifindex ifindex{};
    std::string name;
    std::string port;  // name of the port whose queues carry its frames
    MacAddress mac;
    uint32_t mtu = 0;     // bytes, layer 3
    uint32_t mtu6 = 0;    // the same for IPv6, where net.ipv6.conf.NAME.mtu may be less
    bool usable = false;  // administratively up and with carrier
    ReversePath reverse_path = ReversePath::off;  // in force on what comes in here

    bool operator==(const Interface&) const = default;
};

// How a next hop is reached right now. Where it is not usable, packets punt under the reason.
struct AdjacencyState {
    Ifindex ifindex{};
    Reason reason = Reason::punt_no_neighbour;  // Reason::forwarded = usable
    MacAddress destination;                     // valid when usable

    bool operator==(const AdjacencyState&) const = default;
};

struct GroupMember {
    AdjacencyId adjacency{};
    uint32_t weight = 1;  // 1 to 65536 (nexthop objects since Linux 6.12; 256 before)
    // Tells the next hop in every group and after every restart: which flows a member gets depends on the
    // keys and weights of the group's members, and on nothing else.
    uint64_t key = raw(adjacency);

    bool operator==(const GroupMember&) const = default;
};

// What happens to packets of a group: forwarded = spread over the members by flow hash and weight (at least
// one member); drop_blackhole = discarded; any punt_ reason = handed to the kernel (members empty for both).
struct GroupState {
    Reason reason = Reason::punt_no_route;
    std::span<const GroupMember> members;
    Ifindex connected{};  // with punt_glean: the interface that the prefix is connected to
};

class ForwardingSink {
  public:
    virtual ~ForwardingSink() = default;
    ForwardingSink() = default;
    ForwardingSink(const ForwardingSink&) = delete;
    ForwardingSink& operator=(const ForwardingSink&) = delete;

    // Interfaces are announced before anything refers to them; set again on every change.
    virtual void set_interface(const Interface& interface) = 0;
    virtual void remove_interface(Ifindex ifindex) = 0;

    // Addresses that are delivered to the router itself (own, broadcast, anycast).
    virtual void add_local(const IpAddress& address) = 0;
    virtual void remove_local(const IpAddress& address) = 0;

    // Ids are given out by the sink and are its to reuse, once no reader can hold them any more. Where it has
    // no room it says no_adjacency or no_room: whatever these are set to, what leads there is left to the
    // kernel.
    virtual AdjacencyId create_adjacency() = 0;
    virtual void set_adjacency(AdjacencyId id, const AdjacencyState& state) = 0;
    virtual void destroy_adjacency(AdjacencyId id) = 0;
    // Has a packet been forwarded over it since the last call, or since it was created?
    virtual bool take_used(AdjacencyId id) = 0;

    virtual GroupId create_group() = 0;
    // False: there is no room for it, and its packets are left to the kernel until it is set again.
    virtual bool set_group(GroupId id, const GroupState& state) = 0;
    virtual void destroy_group(GroupId id) = 0;

    // One prefix, one group. set_route replaces. Both take effect for each single packet at once and whole.
    virtual void set_route(TableId table, const Prefix& prefix, GroupId group) = 0;
    virtual void remove_route(TableId table, const Prefix& prefix) = 0;

    // Read-back, for the audit. What set_route() was last told for exactly this prefix, if it is still there.
    [[nodiscard]] virtual std::optional<GroupId> find_route(TableId table, const Prefix& prefix) const = 0;
    // What a packet to the address finds right now in the tables that workers read.
    [[nodiscard]] virtual GroupId lookup_route(TableId table, const IpAddress& address) const = 0;
    [[nodiscard]] virtual size_t route_count(TableId table, Family family) const = 0;
    // Visits about limit prefixes from the cursor on, in any order, and returns the next cursor; the walk
    // begins with 0 and has ended when 0 is returned. Routes may change between two calls, not in visit: the
    // walk meets once each prefix that is there from its begin to its end.
    virtual size_t scan_routes(TableId table, Family family, size_t cursor, size_t limit,
                               const std::function<void(const Prefix&, GroupId)>& visit) const = 0;

    // All that must be left to the kernel beyond what the other calls say, in order and none twice; replaces
    // the last list. Egress ones are for information: set_adjacency tells.
    virtual void set_keeps(std::span<const Keep> keeps) = 0;

    // End of a batch: what was destroyed may be reclaimed after it.
    virtual void commit() = 0;
};

}  // namespace millrace
