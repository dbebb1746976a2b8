// SPDX-License-Identifier: BSD-3-Clause
// What the forwarder would do with a frame, and why: by the workers' own functions and tables, and without
// leaving a trace in them.
#pragma once

#include <cstdint>
#include <optional>
#include <span>

#include "dataplane/fib/tables.hpp"
#include "millrace/reason.hpp"

namespace millrace::dataplane {

struct Explained {
    Reason reason = Reason::forwarded;  // what the worker would count it under

    // What was met on the way there, in this order; nothing is known of what lies behind.
    struct Packet {
        IpAddress source;
        IpAddress destination;
        uint32_t length = 0;  // bytes of layer 3
    };
    std::optional<Packet> packet{};  // that passed the checks of its header
    std::optional<ReversePath> filter{};
    struct Choice {
        GroupId group{};
        uint32_t buckets = 0;  // 0: the group has one member, or none
        uint32_t hash = 0;     // of the flow; bucket: of its table
        uint32_t bucket = 0;
    };
    std::optional<Choice> choice{};
    struct NextHop {
        AdjacencyId id{};
        Adjacency adjacency;
        uint32_t mtu = 0;  // of the packet's family
    };
    std::optional<NextHop> next_hop{};
};

// frame: as it would come in. Control thread.
Explained explain(const Tables& tables, PortId ingress, std::span<const uint8_t> frame);

}  // namespace millrace::dataplane
