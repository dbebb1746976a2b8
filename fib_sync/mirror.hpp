// SPDX-License-Identifier: BSD-3-Clause
// The kernel's links, addresses, neighbours, nexthop objects and routes, as told by netlink, and from each
// change the calls on a ForwardingSink that follow from it, as few as there can be.
//
// apply() changes the tables. What depends on links and neighbours alone (is this next hop reachable?) goes
// to the sink at once, so that a dead link stops traffic first of all; what prefixes do goes there in
// commit(), which looks at the final state only: a delete followed by an add is a replace.
//
// Control thread only. No call fails or throws, short of memory.
#pragma once

#include <functional>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "fib_sync/decode.hpp"
#include "fib_sync/groups.hpp"
#include "fib_sync/links.hpp"
#include "fib_sync/neighbours.hpp"
#include "fib_sync/nexthops.hpp"
#include "fib_sync/rib.hpp"
#include "millrace/sink.hpp"

namespace millrace::sync {

class Mirror {
  public:
    // ports: names of the netdevs that have a dataplane. sink outlives the mirror.
    Mirror(ForwardingSink& sink, std::vector<std::string> ports);

    void apply(const Message& message);

    // The link went down, and the kernel has flushed IPv4 routes and nexthop objects over it without a
    // message (fib_sync_down_dev, nexthop_flush_dev). Until a dump that begins after this is in force,
    // nothing is forwarded over it, though it be up again, and these objects' ids are not believed, though
    // they be back.
    void distrust(Ifindex ifindex);

    // Between these two, apply() takes messages of a dump: what was not seen when it ends is removed.
    // begin_resync may be called again, to start over. From end_resync to the next commit, apply() takes
    // notifications that queued meanwhile, and that may be older than what the dump told.
    void begin_resync();
    void end_resync();

    // What the kernel's switches say of the ports; the whole, in force at once.
    void set_device_policies(std::map<Ifindex, DevicePolicy> policies);

    // Brings the sink to the state of the tables, and ends the batch.
    void commit();

    // True once after something was applied that only a new dump can settle: a change to a route that the
    // mirror does not have, or an order of equal routes that the messages do not tell.
    [[nodiscard]] bool take_doubt();
    // Do routes in the mirror refer to this nexthop object?
    [[nodiscard]] bool nexthop_in_use(NexthopId id) const { return rib_.uses(id) != 0; }

    // For shows. What a prefix does in the fast path right now.
    struct Entry {
        const Groups::Group* group;  // never null
        const Route* route;          // the kernel route in force; null = a neighbour's host route
    };
    // The first prefix with an entry after `after` (from the beginning: nullptr). nullopt at the end.
    [[nodiscard]] std::optional<std::pair<Prefix, Entry>> next_entry(const Prefix* after) const;
    [[nodiscard]] std::optional<Entry> find_entry(const Prefix& prefix) const;
    // The prefixes that have no other outcome than to be left to the kernel: encapsulations, and the rest.
    [[nodiscard]] std::vector<KeptRoutes> kept_routes() const;
    [[nodiscard]] bool has_host_route(const NeighborKey& neighbour) const;

    // Prefixes that are delivered to the router itself as a whole. Counts their changes.
    [[nodiscard]] const std::set<Prefix>& local_prefixes() const { return wide_locals_; }
    [[nodiscard]] uint64_t local_prefixes_version() const { return wide_locals_version_; }

    [[nodiscard]] const Links& links() const { return links_; }
    [[nodiscard]] const Neighbours& neighbours() const { return neighbours_; }
    [[nodiscard]] const Nexthops& nexthops() const { return nexthops_; }
    [[nodiscard]] const Groups& groups() const { return groups_; }
    [[nodiscard]] const Rib& rib() const { return rib_; }

  private:
    void apply_one(const LinkMessage& m);
    void apply_one(const AddressMessage& m);
    void apply_one(const NeighborMessage& m);
    void apply_one(const NexthopMessage& m);
    void apply_one(const RouteMessage& m);

    void neighbour_changed(const NeighborKey& key);
    void route_changed(const Prefix& prefix, PrefixEntry& entry);
    void mark(const Prefix& prefix, PrefixEntry& entry);
    void mark(const Prefix& prefix) { mark(prefix, rib_.at(prefix)); }
    void mark_all();
    void mark_within(const Prefix& prefix);

    // What a prefix should do: a nexthop object's group, or a content of its own.
    struct Choice {
        NexthopId nexthop{};  // 0 = content
        Forwarding content;   // of the object too
        bool operator==(const Choice&) const = default;
    };
    [[nodiscard]] std::optional<Choice> choose(const Prefix& prefix, const PrefixEntry& entry) const;
    [[nodiscard]] std::optional<Choice> choose_host(const IpAddress& address) const;
    [[nodiscard]] std::optional<Choice> choose_neighbour(const IpAddress& address, Ifindex glean) const;
    [[nodiscard]] bool in_local_prefix(const Prefix& prefix) const;

    void commit_nexthops();
    void commit_coverage();
    void commit_prefix(const Prefix& prefix);
    void commit_locals();
    void commit_ipv4();
    void announce(const std::vector<Ifindex>& interfaces);

    ForwardingSink& sink_;
    Links links_;
    Neighbours neighbours_;
    Nexthops nexthops_;
    Rib rib_;
    Groups groups_;

    // Who says that an address is the router's own: addresses on interfaces, and the local table.
    struct Local {
        std::map<Ifindex, uint32_t> interfaces;  // -> generation seen
        bool route = false;
        bool announced = false;
        bool dirty = false;
    };
    void touch_local(const IpAddress& address, Local& local);
    std::map<IpAddress, Local> locals_;
    std::set<Prefix> wide_locals_;  // prefixes of the local table, host prefixes apart
    uint64_t wide_locals_version_ = 0;

    std::vector<Prefix> dirty_;
    std::vector<IpAddress> dirty_locals_;
    std::set<Ifindex> removed_interfaces_;
    bool addresses_changed_ = false;
    uint32_t generation_ = 1;
    enum class Phase : uint8_t { live, dump, replay };
    Phase phase_ = Phase::live;
    std::set<Prefix> replaced_;  // in this replay
    std::set<Prefix> removed_;   // a route of theirs, in this replay
    bool doubt_ = false;
};

}  // namespace millrace::sync
