// SPDX-License-Identifier: BSD-3-Clause
// A naive kernel for the differential test: plain lists, changes as the kernel makes them, the messages that
// it sends about them, and those it does not send. Its fib() is worked out anew each time, from nothing.
#pragma once

#include <deque>
#include <map>
#include <random>
#include <string>
#include <vector>

#include "fib_sync/neighbours.hpp"
#include "fib_sync/sync.hpp"
#include "messages.hpp"

namespace millrace::sync::test {

class KernelModel {
  public:
    explicit KernelModel(uint64_t seed) : random_(seed) {}

    // One random change. What the kernel tells of it goes to messages.
    void change();
    // What a dump of this stage tells now.
    [[nodiscard]] std::vector<Message> dump(DumpKind kind) const;
    // prefix -> outcome, as RecordingSink::fib.
    [[nodiscard]] std::map<Prefix, std::string> fib() const;

    uint32_t pick(uint32_t n) { return static_cast<uint32_t>(random_() % n); }

    std::deque<Message> messages;

  private:
    struct Key {
        Prefix prefix;
        uint32_t metric = 0;
        Prefix source;
        auto operator<=>(const Key&) const = default;
    };

    void change_route4();
    void change_route6();
    void change_nexthop();
    void change_neighbour();
    void change_link();
    void drop_nexthop(NexthopId id, bool told);
    void tell(Message m) { messages.push_back(std::move(m)); }

    Ifindex port() { return pick(2) == 0 ? e0 : e1; }
    bool is_up(Ifindex i) const { return i == wan || up_.at(i); }
    Path random_path(Family family);
    Prefix random_prefix(Family family);
    [[nodiscard]] bool joins(const RouteMessage& m) const {
        return m.type == RTN_UNICAST && m.nexthop == NexthopId{} && m.paths[0].gateway &&
               m.protocol != RTPROT_RA;
    }
    [[nodiscard]] std::string outcome(const RouteMessage& m) const;
    [[nodiscard]] std::string outcome(const std::vector<Path>& paths) const;
    [[nodiscard]] Ifindex glean(const RouteMessage& m) const;

    std::mt19937_64 random_;
    std::map<Ifindex, bool> up_{{e0, true}, {e1, true}};
    std::map<NeighborKey, NeighborMessage> neighbours_;
    std::map<NexthopId, NexthopMessage> nexthops_;
    std::map<Key, std::vector<RouteMessage>> routes_;
};

}  // namespace millrace::sync::test
