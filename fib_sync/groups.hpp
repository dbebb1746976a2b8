// SPDX-License-Identifier: BSD-3-Clause
// The groups and adjacencies that the mirror has made in the sink: who uses them, and what they are set to.
// Control thread only.
#pragma once

#include <array>
#include <compare>
#include <map>
#include <optional>
#include <set>
#include <utility>
#include <vector>

#include "fib_sync/links.hpp"
#include "fib_sync/neighbours.hpp"
#include "fib_sync/nexthops.hpp"
#include "millrace/sink.hpp"

namespace millrace::sync {

class Groups {
  public:
    // A small number for each group, of our own; 0 = none. Given out again once the group is destroyed.
    enum class Handle : uint32_t {};

    struct Group {
        GroupId id{};
        Handle handle{};
        std::optional<NexthopId> nexthop;  // the kernel object that it stands for
        Forwarding content;
        std::vector<GroupMember> members;    // as the sink has them: of the hops that are in service
        std::array<uint64_t, 2> prefixes{};  // that point here: IPv4, IPv6
        bool moved = false;                  // to another id, which not all prefixes have been told
        [[nodiscard]] uint64_t routes() const { return prefixes[0] + prefixes[1]; }
        [[nodiscard]] uint64_t routes(Family family) const {
            return prefixes[family == Family::ipv6 ? 1 : 0];
        }
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
        : sink_(sink), links_(links), neighbours_(neighbours), handles_(1) {}

    // Finds or creates. The reference is good until sweep() finds the group unused.
    Group& with_content(const Forwarding& content);
    Group& of_nexthop(NexthopId id, const Forwarding& content);
    // handle: of a group that exists.
    [[nodiscard]] Group& at(Handle handle) { return *handles_[raw(handle)]; }
    [[nodiscard]] const Group& at(Handle handle) const { return *handles_[raw(handle)]; }
    // null when no prefix uses the object.
    [[nodiscard]] Group* find(NexthopId id);
    void update(Group& group, const Forwarding& content);

    // A prefix of the family points to the group, or does so no more.
    static void hold(Group& group, Family family) { ++group.prefixes[family == Family::ipv6 ? 1 : 0]; }
    void release(Group& group, Family family);
    // Where the sink had no room for a group: asks again. True when some have got room, and another id with
    // it: then the prefixes of groups that have moved are to be told again, and end_move() called.
    bool ask_for_room();
    void end_move();

    // Destroys what no prefix uses. Not at once, since a batch that moves routes may come back to a group.
    void sweep();
    // Counts what was destroyed: a handle or reference is good for as long as this stays the same.
    [[nodiscard]] uint64_t destroyed() const { return destroyed_; }

    // Sets the adjacencies over an interface, or to one neighbour, to what links and neighbours say. A group
    // leaves out hops whose link is down while the link of another is up: the kernel does so without a
    // message, and the dump that tells it may take a second.
    void refresh(Ifindex ifindex);
    void refresh(const NeighborKey& neighbour);

    [[nodiscard]] AdjacencyState state_of(Ifindex ifindex, const IpAddress& gateway) const;
    // forwarded while a member is usable; else the reason of the first member, or the group's own.
    [[nodiscard]] Reason effective_reason(const Group& group) const;
    // Several may have the id no_room.
    using Key = std::pair<GroupId, Handle>;
    [[nodiscard]] const std::map<Key, Group*>& all() const { return by_id_; }
    // Counts changes of what groups are set to, and of the adjacencies they lead over.
    [[nodiscard]] uint64_t version() const { return version_; }
    [[nodiscard]] const std::map<AdjacencyKey, Adjacency>& adjacencies() const { return adjacencies_; }

  private:
    Group& create(Group& group, const Forwarding& content);
    void set(Group& group, const Forwarding& content);
    void index(Group& group, const Forwarding& content, bool present);
    bool tell(Group& group);
    void tell(const Adjacency& adjacency);
    void give_id(Group& group);
    bool find_room(Group& group);
    [[nodiscard]] std::vector<GroupMember> members_in_service(const Forwarding& content) const;
    void release_adjacencies(const Forwarding& content);
    void refresh(const AdjacencyKey& key, Adjacency& adjacency);

    ForwardingSink& sink_;
    const Links& links_;
    const Neighbours& neighbours_;
    std::map<AdjacencyKey, Adjacency> adjacencies_;
    std::map<Forwarding, Group> by_content_;
    std::map<NexthopId, Group> by_nexthop_;
    std::map<Key, Group*> by_id_;
    std::vector<Group*> handles_;  // the first one is nobody's
    std::vector<Handle> free_handles_;
    std::set<std::pair<Ifindex, Handle>> multipath_;  // groups of several hops, by the interfaces of these
    std::set<Handle> without_room_;
    std::vector<Group*> moved_;
    std::set<Group*> unused_;
    uint64_t destroyed_ = 0;
    uint64_t version_ = 0;
};

}  // namespace millrace::sync
