// SPDX-License-Identifier: BSD-3-Clause
// The groups and adjacencies that the mirror has made in the sink: who uses them, and what they are set to.
// Control thread only.
#pragma once

#include <compare>
#include <map>
#include <optional>
#include <set>
#include <vector>

#include "fib_sync/links.hpp"
#include "fib_sync/neighbours.hpp"
#include "fib_sync/nexthops.hpp"
#include "millrace/sink.hpp"

namespace millrace::sync {

class Groups {
  public:
    struct Group {
        GroupId id{};
        std::optional<NexthopId> nexthop;  // the kernel object that it stands for
        Forwarding content;
        std::vector<GroupMember> members;  // as the sink has them: of the hops that are in service
        uint64_t routes = 0;               // prefixes that point here
    };

    struct AdjacencyKey {
        Ifindex ifindex{};
        IpAddress gateway;
        auto operator<=>(const AdjacencyKey&) const = default;
    };
    struct Adjacency {
        AdjacencyId id{};
        uint64_t groups = 0;
        uint64_t gateway_of = 0;  // groups, but for the one that leads to it as a connected host
        AdjacencyState state;
    };

    // All three outlive this.
    Groups(ForwardingSink& sink, const Links& links, const Neighbours& neighbours)
        : sink_(sink), links_(links), neighbours_(neighbours) {}

    // Finds or creates. The reference is good until sweep() finds the group unused.
    Group& with_content(const Forwarding& content);
    Group& of_nexthop(NexthopId id, const Forwarding& content);
    // null when no prefix uses the object.
    [[nodiscard]] Group* find(NexthopId id);
    void update(Group& group, const Forwarding& content);

    static void hold(Group& group) { ++group.routes; }
    void release(Group& group);
    // Destroys what no prefix uses. Not at once, since a batch that moves routes may come back to a group.
    void sweep();

    // Sets the adjacencies over an interface, or to one neighbour, to what links and neighbours say. A group
    // leaves out hops whose link is down while the link of another is up: the kernel does so without a
    // message, and the dump that tells it may take a second.
    void refresh(Ifindex ifindex);
    void refresh(const NeighborKey& neighbour);

    [[nodiscard]] AdjacencyState state_of(Ifindex ifindex, const IpAddress& gateway) const;
    // forwarded while a member is usable; else the reason of the first member, or the group's own.
    [[nodiscard]] Reason effective_reason(const Forwarding& content) const;
    [[nodiscard]] const std::map<GroupId, Group*>& all() const { return by_id_; }
    [[nodiscard]] const std::map<AdjacencyKey, Adjacency>& adjacencies() const { return adjacencies_; }

  private:
    Group& create(Group& group, const Forwarding& content);
    void set(Group& group, const Forwarding& content);
    void tell(Group& group);
    [[nodiscard]] std::vector<GroupMember> members_in_service(const Forwarding& content) const;
    void release_adjacencies(const Forwarding& content);
    void refresh(const AdjacencyKey& key, Adjacency& adjacency);

    ForwardingSink& sink_;
    const Links& links_;
    const Neighbours& neighbours_;
    std::map<AdjacencyKey, Adjacency> adjacencies_;
    std::map<Forwarding, Group> by_content_;
    std::map<NexthopId, Group> by_nexthop_;
    std::map<GroupId, Group*> by_id_;
    std::set<Group*> unused_;
};

}  // namespace millrace::sync
