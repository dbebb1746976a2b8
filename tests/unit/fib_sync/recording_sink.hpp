// SPDX-License-Identifier: BSD-3-Clause
// A ForwardingSink that keeps what it was told, counts the calls, and fails the test when a call breaks the
// contract of sink.hpp: ids that do not exist, something destroyed while it is in use.
#pragma once

#include <fmt/core.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "millrace/sink.hpp"

namespace millrace::sync::test {

class RecordingSink : public ForwardingSink {
  public:
    struct Group {
        Reason reason = Reason::punt_no_route;
        std::vector<GroupMember> members;
        bool set = false;
    };

    void set_interface(const Interface& interface) override {
        log(fmt::format("set_interface {} {}", interface.name, interface.usable ? "up" : "down"));
        interfaces[interface.ifindex] = interface;
    }
    void remove_interface(Ifindex ifindex) override {
        log(fmt::format("remove_interface {}", raw(ifindex)));
        for (const auto& [id, a] : adjacencies) {
            EXPECT_NE(a.ifindex, ifindex) << "an adjacency is left on a removed interface";
        }
        EXPECT_EQ(interfaces.erase(ifindex), 1U);
    }
    void add_local(const IpAddress& address) override {
        log("add_local " + address.text());
        EXPECT_TRUE(locals.insert(address).second) << address.text();
    }
    void remove_local(const IpAddress& address) override {
        log("remove_local " + address.text());
        EXPECT_EQ(locals.erase(address), 1U) << address.text();
    }
    AdjacencyId create_adjacency() override {
        if (adjacencies.size() >= max_adjacencies) {
            log("create_adjacency: no room");
            return no_adjacency;
        }
        const AdjacencyId id{++last_id_};
        log(fmt::format("create_adjacency {}", raw(id)));
        adjacencies[id] = {};
        return id;
    }
    void set_adjacency(AdjacencyId id, const AdjacencyState& state) override {
        log(fmt::format("set_adjacency {} {}", raw(id), name(state.reason)));
        EXPECT_TRUE(adjacencies.contains(id));
        EXPECT_TRUE(interfaces.contains(state.ifindex)) << "not announced: " << raw(state.ifindex);
        adjacencies[id] = state;
    }
    void destroy_adjacency(AdjacencyId id) override {
        log(fmt::format("destroy_adjacency {}", raw(id)));
        for (const auto& [group, g] : groups) {
            for (const GroupMember& m : g.members) {
                EXPECT_NE(m.adjacency, id) << "in use by group " << raw(group);
            }
        }
        EXPECT_EQ(adjacencies.erase(id), 1U);
        used.erase(id);
    }
    bool take_used(AdjacencyId id) override {
        EXPECT_TRUE(id == no_adjacency || adjacencies.contains(id));
        return used.erase(id) != 0;
    }
    GroupId create_group() override {
        if (groups.size() >= max_groups) {
            log("create_group: no room");
            return no_room;
        }
        const GroupId id{++last_id_};
        log(fmt::format("create_group {}", raw(id)));
        groups[id] = {};
        return id;
    }
    bool set_group(GroupId id, const GroupState& state) override {
        log(fmt::format("set_group {} {}", raw(id), name(state.reason)));
        if (id == no_room) {
            return false;
        }
        EXPECT_TRUE(groups.contains(id));
        EXPECT_EQ(state.reason == Reason::forwarded, !state.members.empty());
        for (const GroupMember& m : state.members) {
            EXPECT_TRUE(m.adjacency == no_adjacency || adjacencies.contains(m.adjacency));
            EXPECT_GE(m.weight, 1U);
        }
        groups[id] = {state.reason, {state.members.begin(), state.members.end()}, true};
        return state.members.size() <= max_members;
    }
    void destroy_group(GroupId id) override {
        log(fmt::format("destroy_group {}", raw(id)));
        EXPECT_EQ(users_[id], 0U) << "a route uses group " << raw(id);
        EXPECT_EQ(groups.erase(id), 1U);
    }
    void set_route(TableId table, const Prefix& prefix, GroupId group) override {
        log(fmt::format("set_route {} {}", prefix.text(), raw(group)));
        EXPECT_EQ(table, main_table);
        EXPECT_TRUE(group == no_room || (groups.contains(group) && groups[group].set));
        if (const auto old = routes.find(prefix); old != routes.end()) {
            --users_[old->second];
        }
        ++users_[group];
        routes[prefix] = group;
    }
    void remove_route(TableId table, const Prefix& prefix) override {
        log("remove_route " + prefix.text());
        EXPECT_EQ(table, main_table);
        const auto old = routes.find(prefix);
        if (old == routes.end()) {
            ADD_FAILURE() << prefix.text() << " is not there";
            return;
        }
        --users_[old->second];
        routes.erase(old);
    }
    [[nodiscard]] std::optional<GroupId> find_route(TableId table, const Prefix& prefix) const override {
        const auto route = routes.find(prefix);
        return table != main_table || route == routes.end() ? std::nullopt : std::optional(route->second);
    }
    [[nodiscard]] GroupId lookup_route(TableId table, const IpAddress& address) const override {
        for (unsigned length = address_bits(address.family) + 1; length-- > 0;) {
            if (const auto group = find_route(table, Prefix::make(address, length))) {
                return *group;
            }
        }
        return no_route;
    }
    [[nodiscard]] size_t route_count(TableId table, Family family) const override {
        return static_cast<size_t>(std::count_if(routes.begin(), routes.end(), [&](const auto& route) {
            return table == main_table && route.first.address.family == family;
        }));
    }
    size_t scan_routes(TableId table, Family family, size_t cursor, size_t limit,
                       const std::function<void(const Prefix&, GroupId)>& visit) const override {
        // The cursor is the next prefix's number. A route that goes while the walk is on hides another from
        // it.
        size_t number = 0;
        for (const auto& [prefix, group] : routes) {
            if (table != main_table || prefix.address.family != family || number++ < cursor) {
                continue;
            }
            if (number > cursor + limit) {
                return cursor + limit;
            }
            visit(prefix, group);
        }
        return 0;
    }
    void set_keeps(std::span<const Keep> all) override {
        log(fmt::format("set_keeps {}", all.size()));
        keeps.assign(all.begin(), all.end());
    }
    void commit() override { ++commits; }

    // "forward e1:02:00:00:00:00:07*1 ..." or the reason; "none" where there is no route.
    [[nodiscard]] std::string outcome(const Prefix& prefix) const {
        const auto route = routes.find(prefix);
        if (route == routes.end()) {
            return "none";
        }
        if (route->second == no_room) {
            return std::string(name(Reason::punt_no_room));
        }
        const Group& group = groups.at(route->second);
        if (group.reason != Reason::forwarded) {
            return std::string(name(group.reason));
        }
        std::multiset<std::string> members;
        for (const GroupMember& m : group.members) {
            if (m.adjacency == no_adjacency) {
                members.insert(fmt::format("{}*{}", name(Reason::punt_no_room), m.weight));
                continue;
            }
            const AdjacencyState& a = adjacencies.at(m.adjacency);
            const bool usable = a.reason == Reason::forwarded;
            members.insert(fmt::format("{}:{}*{}", raw(a.ifindex),
                                       usable ? a.destination.text() : std::string(name(a.reason)),
                                       m.weight));
        }
        std::string all = "forward";
        for (const std::string& m : members) {
            all += ' ' + m;
        }
        return all;
    }
    [[nodiscard]] std::string outcome(const char* prefix) const { return outcome(*Prefix::parse(prefix)); }
    [[nodiscard]] std::map<Prefix, std::string> fib() const {
        std::map<Prefix, std::string> all;
        for (const auto& [prefix, group] : routes) {
            all[prefix] = outcome(prefix);
        }
        return all;
    }
    [[nodiscard]] GroupId group_of(const char* prefix) const { return routes.at(*Prefix::parse(prefix)); }

    void clear_log() {
        calls.clear();
        call_count = 0;
    }

    std::map<Ifindex, Interface> interfaces;
    std::set<IpAddress> locals;
    std::vector<Keep> keeps;
    std::map<AdjacencyId, AdjacencyState> adjacencies;
    std::set<AdjacencyId> used;  // as if a packet had been forwarded over them
    std::map<GroupId, Group> groups;
    // More than this there is no room for.
    size_t max_groups = SIZE_MAX;
    size_t max_members = SIZE_MAX;
    size_t max_adjacencies = SIZE_MAX;
    std::map<Prefix, GroupId> routes;
    std::vector<std::string> calls;  // the first thousand since clear_log
    size_t call_count = 0;
    size_t commits = 0;

  private:
    void log(std::string call) {
        if (++call_count <= 1000) {
            calls.push_back(std::move(call));
        }
    }

    uint32_t last_id_ = raw(no_room);
    std::map<GroupId, size_t> users_;
};

}  // namespace millrace::sync::test
