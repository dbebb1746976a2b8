// SPDX-License-Identifier: BSD-3-Clause
// The kernel's links, addresses, neighbours, nexthop objects and routes, as told by netlink, and from each
// change the calls on a ForwardingSink that follow from it, as few as there can be.
//
// apply() changes the tables. What depends on links and neighbours alone (is this next hop reachable?) goes
// to the sink at once, so that a dead link stops traffic first of all; what prefixes do goes there in
// commit(), which looks at the final state only: a delete followed by an add is a replace.
//
// With a million prefixes some of this takes a second. So sweeping and committing can be done in steps, with
// apply() in between: what apply() changes is in the sink after a few more steps, ahead of the bulk.
//
// Control thread only. No call fails or throws, short of memory.
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>
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
    // begin_resync may be called again, to start over. end_resync looks at `prefixes` of them; true = there
    // are more, call it again. Then apply() takes notifications that queued meanwhile, and that may be older
    // than what the dump told, to end_replay() or the next commit.
    void begin_resync();
    // What the dump has told of the prefix so far holds no more: it will be told again.
    void forget_told(const Prefix& prefix);
    // sweep_ipv6: false = IPv6 routes that were not seen stay; unswept() counts their prefixes.
    bool end_resync(size_t prefixes = SIZE_MAX, bool sweep_ipv6 = true);
    [[nodiscard]] size_t unswept() const { return unswept_; }
    void end_replay();

    // What the kernel's switches say of the ports; the whole, in force at once.
    void set_device_policies(std::map<Ifindex, DevicePolicy> policies);

    // Brings the sink to the state of the tables, and ends the batch.
    void commit();
    enum class Left : uint8_t {
        nothing,
        held,  // what the caller wished to hold
        more,
    };
    // A step of that: so many prefixes at the most. hold: those that apply() changed wait; what is left of a
    // resync or a change to all prefixes goes on. No step is taken between begin_resync and end_resync.
    Left commit_some(size_t prefixes, bool hold);
    // Where the sink had no room, asks again. True when there is something to commit.
    [[nodiscard]] bool ask_for_room();
    // Changed nexthop objects only, which is quick, at any time.
    void commit_objects();
    // Of the bulk of a commit: prefixes looked at, of how many.
    [[nodiscard]] std::pair<uint64_t, uint64_t> commit_progress() const;
    // Calls of set_route and remove_route so far.
    [[nodiscard]] uint64_t route_calls() const { return route_calls_; }

    // True once after something was applied that only a new dump can settle: a change to a route that the
    // mirror does not have, or an order of equal routes that the messages do not tell.
    [[nodiscard]] bool take_doubt();
    // Has a route in the mirror a dead path over the interface?
    [[nodiscard]] bool has_dead_path(Ifindex ifindex) const { return rib_.routes().dead(ifindex) != 0; }
    // Do routes in the mirror refer to this nexthop object?
    [[nodiscard]] bool nexthop_in_use(NexthopId id) const { return rib_.routes().uses(id) != 0; }

    // For an audit, which compares with dumps of the kernel while the mirror follows notifications.
    //
    // Starts a round: no route is confirmed, until confirm() was told it, or it came or changed after this.
    void begin_audit() { rib_.begin_round(); }
    // Does the table hold the dumped route just so? Confirms it then. True for tables that are not mirrored.
    bool confirm(const RouteMessage& message);
    // Is it what the prefix has in force?
    [[nodiscard]] bool in_force(const RouteMessage& message) { return rib_.in_force(message); }
    // Has the prefix a route for packets of a source only?
    [[nodiscard]] bool by_source(const Prefix& prefix) const;
    // Looks at up to `limit` prefixes behind `after` (nullptr: from the beginning), in order. IPv4 comes
    // first.
    struct Unconfirmed {
        std::vector<Prefix> prefixes;  // with a route that is not confirmed in this round
        std::optional<Prefix> last;    // that was looked at; nullopt = there is none behind it
    };
    [[nodiscard]] Unconfirmed unconfirmed(const Prefix* after, size_t limit) const;
    // Has the prefix no route that is not confirmed in this round?
    [[nodiscard]] bool confirmed(const Prefix& prefix) const;
    // The sink has something else for the prefix than it was told: tells it again.
    void restate(const Prefix& prefix);

    // Prefixes of the main table whose route in force the kernel may stop using without a message: it has a
    // lifetime (RTA_CACHEINFO), which may be another by now, or may get one. They punt, but while somebody
    // who asks the kernel says that it uses this route.
    struct Limited {
        uint64_t until = 0;    // ms on the asker's clock; 0 = not forwarded over
        uint64_t ask_at = 0;   // the asker's
        uint64_t endless = 0;  // the asker's: since when the kernel says that it has no lifetime
        bool stale = false;    // the route has changed since
    };
    static constexpr size_t limited_most = 1024;  // more than these punt
    [[nodiscard]] std::map<Prefix, Limited>& limited() { return limited_; }
    // The route in force is forwarded over from the next commit on.
    void trust(const Prefix& prefix, uint64_t until);
    // It is limited no more; or is so now, and punts from the next commit on.
    void no_end(const Prefix& prefix);
    void may_end(const Prefix& prefix);
    // The prefix punts, and with it the hosts that are connected by it, at once.
    void let_end(const Prefix& prefix);
    // Prefixes that an IPv6 address belongs to which came, changed or went: that may have given the connected
    // route a lifetime (modify_prefix_route, cleanup_prefix_route), a moment after the message. And those
    // with an IPv6 route that a dump has told anew: it may be at the end of its lifetime, which a dump tells
    // as none; between the paths of a multipath route another may be hidden.
    struct Suspect {
        uint64_t ask_at = 0;  // the asker's
        unsigned asked = 0;
        unsigned questions = 6;
        bool dumped = false;
        bool hides = false;
    };
    [[nodiscard]] std::map<Prefix, Suspect>& suspects() { return suspects_; }
    // The kernel uses this route of the prefix: it is told where it was hidden.
    void found_hidden(const RouteMessage& m);
    // Between begin_resync and end_replay.
    [[nodiscard]] bool in_resync() const { return phase_ != Phase::live; }
    // True once after the mirror changed by itself, so that a commit has something to do.
    [[nodiscard]] bool take_uncommitted() { return std::exchange(uncommitted_, false); }

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

    void sweep_small_tables();
    [[nodiscard]] Entry entry_of(const Prefix& prefix, const PrefixEntry& entry) const;
    void neighbour_changed(const NeighborKey& key);
    void route_changed(const Prefix& prefix, PrefixEntry& entry);
    void suspect(const RouteMessage& dumped);
    void mark(const Prefix& prefix, PrefixEntry& entry);
    void walk_from_start(bool all);
    void mark_all();
    void mark_within(const Prefix& prefix);

    // What a prefix should do: a nexthop object's group, or a content of its own.
    struct Choice {
        NexthopId nexthop{};  // 0 = content
        Forwarding content;   // of the object too
        bool operator==(const Choice&) const = default;
    };
    [[nodiscard]] Choice choose(const Prefix& prefix, const PrefixEntry& entry, const Route& best) const;
    [[nodiscard]] std::optional<Choice> choose_host(const IpAddress& address) const;
    [[nodiscard]] std::optional<Choice> choose_neighbour(const IpAddress& address, Ifindex glean) const;
    [[nodiscard]] bool in_local_prefix(const Prefix& prefix) const;
    [[nodiscard]] bool may_have_ended(const Prefix& prefix, const Route& best) const;
    void note_limited(const Prefix& prefix, const Route* best);

    [[nodiscard]] Groups::Group& group_of(const Choice& choice);
    [[nodiscard]] Groups::Handle choose_group(const Prefix& prefix, const PrefixEntry& entry,
                                              const Route& best, Ifindex& glean);
    void cover(const Prefix& prefix, PrefixEntry& entry, bool routed, Ifindex glean);
    [[nodiscard]] bool commit_prefix(const Prefix& prefix, PrefixEntry& entry);
    [[nodiscard]] bool commit_host(const Prefix& prefix, PrefixEntry* entry);
    void set_group(const Prefix& prefix, PrefixEntry& entry, Groups::Handle group);
    void commit_listed(size_t& prefixes);
    void commit_walk(size_t& prefixes);
    void commit_hosts(size_t& prefixes);
    void commit_end();
    void commit_nexthops();
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

    // A prefix that is to be committed is dirty, and listed when apply() marked it outside of a dump. The
    // rest is found by walking over the table, in order; so are listed ones too many for the list.
    std::vector<Prefix> listed_;
    size_t listed_done_ = 0;
    bool walking_ = false;
    bool walk_all_ = false;           // dirty or not
    bool walk_again_ = false;         // for what was marked where the walk has been
    std::optional<Prefix> walk_at_;   // the last one looked at; nullopt = none yet
    uint64_t walked_ = 0;             // since walking began
    std::set<IpAddress> host_marks_;  // whose neighbour, or the prefix that covers them, changed
    uint64_t choices_ = 1;            // with Groups::destroyed, the epoch of RouteStore::Note
    uint64_t route_calls_ = 0;
    std::vector<IpAddress> dirty_locals_;
    std::set<Ifindex> removed_interfaces_;
    bool addresses_changed_ = false;
    uint32_t generation_ = 1;
    enum class Phase : uint8_t { live, dump, replay };
    Phase phase_ = Phase::live;
    std::optional<Prefix> swept_;  // the last one that end_resync looked at
    bool sweeping_ = false;
    size_t unswept_ = 0;
    bool settling_ = false;      // a dump is complete, and not yet in force
    std::set<Prefix> replaced_;  // in this replay
    std::set<Prefix> removed_;   // a route of theirs, in this replay
    bool doubt_ = false;
    std::map<Prefix, Limited> limited_;
    std::map<Prefix, Suspect> suspects_;
    bool uncommitted_ = false;
};

}  // namespace millrace::sync
