// SPDX-License-Identifier: BSD-3-Clause
#include "dataplane/fib/tables.hpp"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <utility>

namespace millrace::dataplane {

Result<std::unique_ptr<Tables>> Tables::create(const std::vector<PortConfig>& ports, const SizeConfig& sizes,
                                               unsigned max_workers) {
    std::unique_ptr<Tables> tables(new Tables(ports, sizes, max_workers));
    if (!tables->fib4_.trie.valid() || !tables->fib6_.trie.valid() || !tables->groups_.valid() ||
        !tables->adjacencies_.valid()) {
        return fail(
            "no address space for the tables; lower [sizes] fib4_megabytes, fib6_megabytes, groups, adjacencies");
    }
    return tables;
}

Tables::Tables(const std::vector<PortConfig>& ports, const SizeConfig& sizes, unsigned max_workers)
    : quiescence_(max_workers),
      fib4_{.trie{Family::ipv4, size_t{sizes.fib4_megabytes} << 20, quiescence_}},
      fib6_{.trie{Family::ipv6, size_t{sizes.fib6_megabytes} << 20, quiescence_}},
      groups_(sizes.groups, quiescence_),
      adjacencies_(sizes.adjacencies, quiescence_),
      reverse_path_(ports.size(), ReversePath::off) {
    for (size_t i = 0; i < ports.size(); ++i) {
        ports_[ports[i].name] = PortId{static_cast<uint16_t>(i)};
    }
}

std::optional<PortId> Tables::port_of(const Interface& interface) const {
    const auto port = ports_.find(interface.port);
    if (port == ports_.end()) {
        return std::nullopt;
    }
    const auto bound = bound_.find(port->second);
    if (bound != bound_.end() && bound->second != interface.ifindex) {
        return std::nullopt;
    }
    return port->second;
}

void Tables::bind(PortId port, Ifindex ifindex) {
    bound_[port] = ifindex;
    publish_all_over(port);
}

void Tables::set_drained(PortId port, bool drained) {
    if (drained) {
        drained_.insert(port);
    } else {
        drained_.erase(port);
    }
    publish_all_over(port);
}

void Tables::publish_all_over(PortId port) {
    for (const auto& [index, interface] : interfaces_) {
        if (const auto of = ports_.find(interface.port); of != ports_.end() && of->second == port) {
            publish_all(index);
        }
    }
}

const Interface* Tables::interface_of(PortId port) const {
    for (const auto& [ifindex, interface] : interfaces_) {
        if (port_of(interface) == port) {
            return &interface;
        }
    }
    return nullptr;
}

void Tables::publish_all(Ifindex ifindex) {
    for (const AdjacencyId id : users_[ifindex]) {
        publish(id, states_[id]);
    }
}

void Tables::set_interface(const Interface& interface) {
    interfaces_[interface.ifindex] = interface;
    publish_all(interface.ifindex);
    const auto port = port_of(interface);
    if (!port) {
        return;
    }
    store_shared(reverse_path_[raw(*port)], interface.reverse_path);
    if (observers_.interface_changed) {
        observers_.interface_changed(*port, &interface);
    }
}

void Tables::remove_interface(Ifindex ifindex) {
    const auto found = interfaces_.find(ifindex);
    if (found == interfaces_.end()) {
        return;
    }
    const auto port = port_of(found->second);
    interfaces_.erase(found);
    publish_all(ifindex);
    if (port && observers_.interface_changed) {
        observers_.interface_changed(*port, nullptr);
    }
}

void Tables::add_local(const IpAddress& address) {
    if (observers_.local_changed) {
        observers_.local_changed(address, true);
    }
}

void Tables::remove_local(const IpAddress& address) {
    if (observers_.local_changed) {
        observers_.local_changed(address, false);
    }
}

void Tables::set_keeps(std::span<const Keep> keeps) {
    keeps_.assign(keeps.begin(), keeps.end());
    tell_keeps();
}

AdjacencyId Tables::create_adjacency() {
    const AdjacencyId id = adjacencies_.create();
    if (id == no_adjacency) {
        adjacency_shortage_.begin("next hops", "[sizes] adjacencies");
    }
    return id;
}

void Tables::publish(AdjacencyId id, const AdjacencyState& state) {
    Adjacency value;
    value.reason = state.reason;
    const auto found = interfaces_.find(state.ifindex);
    if (found == interfaces_.end()) {
        value.reason = Reason::punt_unmanaged;
    } else if (state.reason == Reason::forwarded) {
        const Interface& interface = found->second;
        const auto port = port_of(interface);
        if (!port || drained_.contains(*port)) {
            value.reason = Reason::punt_unmanaged;
        } else if (!interface.usable) {
            value.reason = Reason::punt_link_down;
        } else {
            std::copy_n(state.destination.bytes.begin(), 6, value.l2.begin());
            std::copy_n(interface.mac.bytes.begin(), 6, value.l2.begin() + 6);
            value.mtu = interface.mtu;
            value.mtu6 = interface.mtu6;
            value.port = raw(*port);
        }
    }
    if (adjacencies_.set(id, value)) {
        unpublished_.erase(id);
    } else if (id != no_adjacency) {
        unpublished_.insert(id);
    }
}

void Tables::set_adjacency(AdjacencyId id, const AdjacencyState& state) {
    const auto old = states_.find(id);
    if (old != states_.end() && old->second.ifindex != state.ifindex) {
        users_[old->second.ifindex].erase(id);
    }
    states_[id] = state;
    users_[state.ifindex].insert(id);
    publish(id, state);
}

void Tables::destroy_adjacency(AdjacencyId id) {
    const auto found = states_.find(id);
    if (found != states_.end()) {
        users_[found->second.ifindex].erase(id);
        states_.erase(found);
    }
    unpublished_.erase(id);
    adjacencies_.destroy(id);
}

GroupId Tables::create_group() {
    const GroupId id = groups_.create();
    if (id == no_room) {
        group_shortage_.begin("nexthop groups", "[sizes] groups");
    }
    return id;
}

uint64_t Tables::ways_over(Ifindex ifindex) const {
    const auto found = interfaces_.find(ifindex);
    const auto port = found == interfaces_.end() ? std::nullopt : port_of(found->second);
    return Ways::unicast | (port ? Ways::over(*port) : 0);
}

// Where the mirror does not say how its addresses are reached, the kernel is left to judge.
Ways Tables::ways_of(const GroupState& state) const {
    switch (state.reason) {
        case Reason::punt_glean:
            return {ways_over(state.connected)};
        case Reason::punt_unmanaged:
            return {Ways::unicast};
        default:
            break;
    }
    Ways ways;
    for (const GroupMember& member : state.members) {
        const auto found = states_.find(member.adjacency);
        ways.bits |= found == states_.end() ? 0 : ways_over(found->second.ifindex);
    }
    return ways;
}

bool Tables::set_group(GroupId id, const GroupState& state) {
    if (groups_.set(id, state, ways_of(state))) {
        return true;
    }
    group_shortage_.begin("nexthop groups", "[sizes] groups");
    return false;
}

void Tables::destroy_group(GroupId id) {
    groups_.destroy(id);
}

void Tables::set_route(TableId table, const Prefix& prefix, GroupId group) {
    if (table != main_table) {
        return;  // one table today; the ingress interface will say which one is asked
    }
    Fib& fib = fib_of(prefix.address.family);
    count_roomless(fib, prefix, group == no_room);
    if (!fib.trie.insert(prefix, raw(group)) && !fib.full) {
        fib.full = true;
        ++fib.alarms;
        spdlog::error(
            "the IPv{0} FIB is full: {1} and what lies around it are left to the kernel, others may "
            "follow; raise [sizes] fib{0}_megabytes",
            raw(prefix.address.family), prefix.text());
    }
}

void Tables::remove_route(TableId table, const Prefix& prefix) {
    if (table == main_table) {
        Fib& fib = fib_of(prefix.address.family);
        count_roomless(fib, prefix, false);
        fib.trie.remove(prefix);
    }
}

std::optional<GroupId> Tables::find_route(TableId table, const Prefix& prefix) const {
    const auto value = table == main_table ? fib_of(prefix.address.family).trie.find(prefix) : std::nullopt;
    return value ? std::optional(GroupId{*value}) : std::nullopt;
}

GroupId Tables::lookup_route(TableId table, const IpAddress& address) const {
    return table == main_table ? GroupId{fib_of(address.family).trie.lookup(address)} : no_route;
}

bool Tables::forwards(PortId ingress, const IpAddress& address) const {
    const Group group = groups_.get(raw(lookup_route(main_table, address)));
    if (group.reason() != Reason::forwarded) {
        return false;
    }
    for (uint32_t hash = 0; hash <= group.bucket_mask(); ++hash) {
        const Adjacency& adjacency = adjacencies_.get(groups_.select(group, hash));
        if (adjacency.reason != Reason::forwarded || adjacency.port == raw(ingress)) {
            return false;
        }
    }
    return true;
}

size_t Tables::route_count(TableId table, Family family) const {
    return table == main_table ? fib_of(family).trie.usage().prefixes : 0;
}

size_t Tables::scan_routes(TableId table, Family family, size_t cursor, size_t limit,
                           const std::function<void(const Prefix&, GroupId)>& visit) const {
    if (table != main_table) {
        return 0;
    }
    return fib_of(family).trie.scan(
        cursor, limit, [&](const Prefix& prefix, uint32_t value) { visit(prefix, GroupId{value}); });
}

Tables::FibUsage Tables::fib_usage(Family family) const {
    const Fib& fib = fib_of(family);
    return {fib.trie.usage(), fib.alarms};
}

void Tables::commit() {
    quiescence_.close_batch();
    for (const AdjacencyId id : std::exchange(unpublished_, {})) {
        publish(id, states_.at(id));
    }
    for (const Family family : {Family::ipv4, Family::ipv6}) {
        Fib& fib = fib_of(family);
        fib.trie.settle();
        if (const auto usage = fib.trie.usage(); fib.full && usage.punting == 0) {
            fib.full = false;
            spdlog::warn("the IPv{} FIB has room again: all {} routes are in it, in {:.1f} MB", raw(family),
                         usage.prefixes, static_cast<double>(usage.node_bytes) / (1 << 20));
        }
    }
}

}  // namespace millrace::dataplane
