// SPDX-License-Identifier: BSD-3-Clause
// All that workers read to forward a packet: FIBs, groups, adjacencies. Written by the control thread through
// ForwardingSink.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <unordered_map>

#include "dataplane/fib/adjacency_table.hpp"
#include "dataplane/fib/group_table.hpp"
#include "dataplane/fib/lpm_trie.hpp"
#include "dataplane/fib/quiescence.hpp"
#include "millrace/config.hpp"
#include "millrace/result.hpp"
#include "millrace/sink.hpp"

namespace millrace::dataplane {

class Tables final : public ForwardingSink {
  public:
    // ports: names in the order of their PortId. Error when the memory can't be reserved.
    static Result<std::unique_ptr<Tables>> create(const std::vector<PortConfig>& ports,
                                                  const SizeConfig& sizes, unsigned max_workers);

    // The netdev that the port's sockets are bound to. Another one that comes to have the port's name, after
    // a rename or when the netdev was made anew, is not the port: routes over it punt. Without a call, any
    // is; Ifindex 0: none is.
    void bind(PortId port, Ifindex ifindex);
    // What leads over the port punts; all else that is known of it stays and is followed.
    void set_drained(PortId port, bool drained);

    // What main wants to hear of as well; called on the control thread, after the tables have changed.
    struct Observers {
        std::function<void(PortId, const Interface*)>
            interface_changed;  // nullptr = the port's netdev is gone
        std::function<void(const IpAddress&, bool present)> local_changed;
        std::function<void(std::span<const Keep>)> keeps_changed;
    };
    void observe(Observers observers) { observers_ = std::move(observers); }

    // ForwardingSink; control thread.
    void set_interface(const Interface& interface) override;
    void remove_interface(Ifindex ifindex) override;
    void add_local(const IpAddress& address) override;
    void remove_local(const IpAddress& address) override;
    void set_keeps(std::span<const Keep> keeps) override;
    AdjacencyId create_adjacency() override;
    void set_adjacency(AdjacencyId id, const AdjacencyState& state) override;
    void destroy_adjacency(AdjacencyId id) override;
    bool take_used(AdjacencyId id) override { return adjacencies_.take_used(id); }
    GroupId create_group() override;
    bool set_group(GroupId id, const GroupState& state) override;
    void destroy_group(GroupId id) override;
    void set_route(TableId table, const Prefix& prefix, GroupId group) override;
    void remove_route(TableId table, const Prefix& prefix) override;
    [[nodiscard]] std::optional<GroupId> find_route(TableId table, const Prefix& prefix) const override;
    [[nodiscard]] GroupId lookup_route(TableId table, const IpAddress& address) const override;
    // Do all of the next hops that a packet may meet forward it, which came in on the port?
    [[nodiscard]] bool forwards(PortId ingress, const IpAddress& address) const;
    [[nodiscard]] size_t route_count(TableId table, Family family) const override;
    size_t scan_routes(TableId table, Family family, size_t cursor, size_t limit,
                       const std::function<void(const Prefix&, GroupId)>& visit) const override;
    void commit() override;

    // Workers.
    [[nodiscard]] const LpmTrie& fib4() const { return fib4_.trie; }
    [[nodiscard]] const LpmTrie& fib6() const { return fib6_.trie; }
    [[nodiscard]] const GroupTable& groups() const { return groups_; }
    [[nodiscard]] const AdjacencyTable& adjacencies() const { return adjacencies_; }
    // In force on what comes in on the port.
    [[nodiscard]] ReversePath reverse_path(PortId port) const {
        return load_shared(reverse_path_[raw(port)]);
    }
    [[nodiscard]] Quiescence& quiescence() { return quiescence_; }

    // Control thread: the interface on a port, nullptr while the kernel has none.
    [[nodiscard]] const Interface* interface_of(PortId port) const;

    // Control thread, now and then. What has come to be left to the kernel for want of room, or no more,
    // joins the keeps where it can be said of whole prefixes: the classifier need not bring their packets
    // here.
    void tell_room();

    // Control thread.
    struct FibUsage {
        LpmTrie::Usage now;
        uint64_t alarms;  // how often the limit was reached while all was in the table before
    };
    [[nodiscard]] FibUsage fib_usage(Family family) const;

  private:
    struct Fib {
        LpmTrie trie;
        bool full = false;  // said so, and not yet that there is room again
        uint64_t alarms = 0;
        uint64_t room_version = 0;  // of the trie, when take_room_changed() last looked
        // That lead to no_room. By number alone once there are more than a classifier holds, and until there
        // are none.
        size_t roomless = 0;
        std::set<Prefix> roomless_prefixes{};
        bool uncounted = false;
    };
    // An alarm for a table of next hops: said once, and once when there is room again.
    struct Shortage {
        bool now = false;
        void begin(std::string_view what, std::string_view remedy);
        void end(std::string_view what);
    };
    Tables(const std::vector<PortConfig>& ports, const SizeConfig& sizes, unsigned max_workers);
    void publish(AdjacencyId id, const AdjacencyState& state);
    [[nodiscard]] Ways ways_of(const GroupState& state) const;
    [[nodiscard]] uint64_t ways_over(Ifindex ifindex) const;
    void publish_all(Ifindex ifindex);
    void publish_all_over(PortId port);
    // The port that carries an interface's frames; nullopt when there is none.
    [[nodiscard]] std::optional<PortId> port_of(const Interface& interface) const;
    void count_roomless(Fib& fib, const Prefix& prefix, bool roomless);
    [[nodiscard]] bool take_room_changed();
    [[nodiscard]] std::vector<Keep> keeps_for_room() const;
    void tell_keeps();
    [[nodiscard]] Fib& fib_of(Family family) { return family == Family::ipv4 ? fib4_ : fib6_; }
    [[nodiscard]] const Fib& fib_of(Family family) const { return family == Family::ipv4 ? fib4_ : fib6_; }

    Quiescence quiescence_;
    Fib fib4_;
    Fib fib6_;
    GroupTable groups_;
    AdjacencyTable adjacencies_;
    std::vector<ReversePath> reverse_path_;  // by PortId; read by workers
    std::map<std::string, PortId, std::less<>> ports_;
    std::map<PortId, Ifindex> bound_;
    std::set<PortId> drained_;
    std::map<Ifindex, Interface> interfaces_;
    std::unordered_map<AdjacencyId, AdjacencyState> states_;
    std::map<Ifindex, std::set<AdjacencyId>> users_;  // adjacencies over an interface
    std::set<AdjacencyId> unpublished_;               // for want of an entry, until one is free again
    Shortage adjacency_shortage_;
    Shortage group_shortage_;
    bool room_changed_ = false;
    std::vector<Keep> keeps_;           // as the mirror has them
    std::vector<Keep> keeps_for_room_;  // as last told
    Observers observers_;
};

}  // namespace millrace::dataplane
