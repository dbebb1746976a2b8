// SPDX-License-Identifier: BSD-3-Clause
#include "dataplane/forward/explain.hpp"

#include "dataplane/forward/decisions.hpp"
#include "dataplane/forward/flow_hash.hpp"

namespace millrace::dataplane {

namespace {

Explained::Packet packet_of(const IpPacket& packet) {
    const Family family = packet.is_ipv6 ? Family::ipv6 : Family::ipv4;
    const size_t size = packet.is_ipv6 ? 16 : ipv4_address;
    return {.source = IpAddress::from_bytes(family, packet.destination - size),
            .destination = IpAddress::from_bytes(family, packet.destination),
            .length = packet.length};
}

Explained::Choice choose(const GroupTable& groups, GroupId id, const uint8_t* ip, const IpPacket& packet) {
    Explained::Choice choice{.group = id};
    const Group group = groups.get(raw(id));
    if (group.reason() == Reason::forwarded && group.bucket_mask() != 0) {
        choice.buckets = group.bucket_mask() + 1;
        choice.hash = flow_hash(ip, packet);
        choice.bucket = choice.hash & group.bucket_mask();
    }
    return choice;
}

}  // namespace

Explained explain(const Tables& tables, PortId ingress, std::span<const uint8_t> frame) {
    Explained out;
    IpPacket packet;
    out.reason = check_frame(frame.data(), static_cast<uint32_t>(frame.size()), packet);
    if (out.reason != Reason::forwarded) {
        return out;
    }
    const uint8_t* ip = frame.data() + ethernet_header;
    out.packet = packet_of(packet);
    if (!packet.is_ipv6) {
        out.filter = tables.reverse_path(ingress);
        if (out.filter != ReversePath::off) {
            const GroupId source = tables.lookup_route(main_table, out.packet->source);
            out.reason = check_source(tables.groups(), raw(source), ways_wanted(*out.filter, ingress));
            if (out.reason != Reason::forwarded) {
                return out;
            }
        }
    }
    out.choice =
        choose(tables.groups(), tables.lookup_route(main_table, out.packet->destination), ip, packet);
    const Group group = tables.groups().get(raw(out.choice->group));
    out.reason = group.reason();
    if (out.reason != Reason::forwarded) {
        return out;
    }
    const AdjacencyId id{tables.groups().select(group, out.choice->hash)};
    const Adjacency& adjacency = tables.adjacencies().get(raw(id));
    out.next_hop = {.id = id, .adjacency = adjacency, .mtu = mtu_of(adjacency, packet)};
    out.reason = check_adjacency(adjacency, packet, raw(ingress));
    return out;
}

}  // namespace millrace::dataplane
