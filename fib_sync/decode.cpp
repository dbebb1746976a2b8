// SPDX-License-Identifier: BSD-3-Clause
#include "fib_sync/decode.hpp"

#include <linux/if.h>
#include <linux/if_addr.h>
#include <linux/if_link.h>
#include <linux/neighbour.h>
#include <linux/nexthop.h>
#include <linux/rtnetlink.h>
#include <sys/socket.h>

#include <utility>

#include "fib_sync/attributes.hpp"
#include "fib_sync/decode_route.hpp"

namespace millrace::sync {
namespace {

using Decoded = Result<std::optional<Message>>;

bool is_ip(uint8_t family) {
    return family == AF_INET || family == AF_INET6;
}

Family family_of(uint8_t family) {
    return family == AF_INET ? Family::ipv4 : Family::ipv6;
}

Decoded decode_link(std::string_view name, bool removed, Bytes payload) {
    const auto header = read<ifinfomsg>(payload);
    if (!header) {
        return bad(name, "header");
    }
    // AF_BRIDGE: RTM_DELLINK means that the device left its bridge, not that it is gone.
    if (header->ifi_family != AF_UNSPEC) {
        return std::nullopt;
    }
    LinkMessage m;
    m.removed = removed;
    m.ifindex = Ifindex{static_cast<uint32_t>(header->ifi_index)};
    m.up = (header->ifi_flags & IFF_UP) != 0;
    m.carrier = (header->ifi_flags & IFF_LOWER_UP) != 0;
    AttributeReader reader(after(payload, sizeof(ifinfomsg)));
    while (const auto a = reader.next()) {
        const auto number = read<uint32_t>(a->value);
        switch (a->type) {
            case IFLA_IFNAME:
                m.name = text_of(a->value);
                break;
            case IFLA_ADDRESS:
                m.mac = mac_of(a->value).value_or(MacAddress{});
                break;
            case IFLA_MTU:
                if (!number) {
                    return bad(name, "IFLA_MTU");
                }
                m.mtu = *number;
                break;
            case IFLA_MASTER:
                if (!number) {
                    return bad(name, "IFLA_MASTER");
                }
                m.master = Ifindex{*number};
                break;
            case IFLA_LINKINFO: {
                AttributeReader info(a->value);
                while (const auto i = info.next()) {
                    if (i->type == IFLA_INFO_KIND) {
                        m.kind = text_of(i->value);
                    }
                }
                if (info.malformed()) {
                    return bad(name, "IFLA_LINKINFO");
                }
                break;
            }
            default:
                break;
        }
    }
    if (reader.malformed()) {
        return bad(name, "attribute");
    }
    return Message(m);
}

Decoded decode_address(std::string_view name, bool removed, Bytes payload) {
    const auto header = read<ifaddrmsg>(payload);
    if (!header) {
        return bad(name, "header");
    }
    if (!is_ip(header->ifa_family)) {
        return std::nullopt;
    }
    const Family family = family_of(header->ifa_family);
    std::optional<IpAddress> local;
    std::optional<IpAddress> address;
    AttributeReader reader(after(payload, sizeof(ifaddrmsg)));
    while (const auto a = reader.next()) {
        if (a->type != IFA_LOCAL && a->type != IFA_ADDRESS) {
            continue;
        }
        const auto value = address_of(a->value);
        if (!value || value->family != family) {
            return bad(name, a->type == IFA_LOCAL ? "IFA_LOCAL" : "IFA_ADDRESS");
        }
        (a->type == IFA_LOCAL ? local : address) = value;
    }
    // IFA_ADDRESS is the peer's on a point-to-point link, IFA_LOCAL is always ours.
    if (reader.malformed() || (!local && !address)) {
        return bad(name, local || address ? "attribute" : "IFA_ADDRESS");
    }
    return Message(AddressMessage{
        .removed = removed, .ifindex = Ifindex{header->ifa_index}, .address = local ? *local : *address});
}

Decoded decode_neighbour(std::string_view name, bool removed, Bytes payload) {
    const auto header = read<ndmsg>(payload);
    if (!header) {
        return bad(name, "header");
    }
    if (!is_ip(header->ndm_family) || (header->ndm_flags & NTF_PROXY) != 0) {
        return std::nullopt;
    }
    NeighborMessage m;
    m.removed = removed;
    m.ifindex = Ifindex{static_cast<uint32_t>(header->ndm_ifindex)};
    m.state = header->ndm_state;
    m.flags = header->ndm_flags;
    bool has_address = false;
    AttributeReader reader(after(payload, sizeof(ndmsg)));
    while (const auto a = reader.next()) {
        if (a->type == NDA_DST) {
            const auto value = address_of(a->value);
            if (!value || value->family != family_of(header->ndm_family)) {
                return bad(name, "NDA_DST");
            }
            m.address = *value;
            has_address = true;
        } else if (a->type == NDA_LLADDR) {
            m.mac = mac_of(a->value);
        } else if (a->type == NDA_FLAGS_EXT) {
            m.flags_ext = read<uint32_t>(a->value).value_or(0);
        } else if (a->type == NDA_PROTOCOL) {
            m.protocol = read<uint8_t>(a->value).value_or(0);
        }
    }
    if (reader.malformed() || !has_address) {
        return bad(name, has_address ? "attribute" : "NDA_DST");
    }
    return Message(m);
}

bool read_members(Bytes value, NexthopMessage& m) {
    if (value.size() % sizeof(NexthopGroupEntry) != 0) {
        return false;
    }
    for (; !value.empty(); value = value.subspan(sizeof(NexthopGroupEntry))) {
        const auto member = read<NexthopGroupEntry>(value);
        const uint32_t weight = (uint32_t{member->weight_high} << 8 | member->weight) + 1;
        m.members.push_back({NexthopId{member->id}, weight});
    }
    return true;
}

// The name of the attribute when its value is malformed, else empty.
std::string_view read_nexthop_attribute(const Attribute& a, NexthopMessage& m) {
    const auto number = read<uint32_t>(a.value);
    switch (a.type) {
        case NHA_ID:
            m.id = NexthopId{number.value_or(0)};
            return number ? "" : "NHA_ID";
        case NHA_OIF:
            m.path.ifindex = Ifindex{number.value_or(0)};
            return number ? "" : "NHA_OIF";
        case NHA_GATEWAY:
            m.path.gateway = address_of(a.value);
            return m.path.gateway ? "" : "NHA_GATEWAY";
        case NHA_BLACKHOLE:
            m.blackhole = true;
            return {};
        case NHA_GROUP:
            return read_members(a.value, m) ? "" : "NHA_GROUP";
        case NHA_GROUP_TYPE: {
            // Resilient groups differ in how flows keep their member, not in what members there are.
            const auto type = read<uint16_t>(a.value);
            m.unsupported = m.unsupported || type.value_or(0) > NEXTHOP_GRP_TYPE_RES;
            return type ? "" : "NHA_GROUP_TYPE";
        }
        case NHA_ENCAP:
        case NHA_ENCAP_TYPE:
            m.encapsulation = true;
            return {};
        case NHA_FDB:
            m.unsupported = true;
            return {};
        default:
            return {};
    }
}

Decoded decode_nexthop(std::string_view name, bool removed, Bytes payload) {
    const auto header = read<nhmsg>(payload);
    if (!header) {
        return bad(name, "header");
    }
    NexthopMessage m;
    m.removed = removed;
    m.path.flags = static_cast<uint8_t>(header->nh_flags & 0xffU);
    AttributeReader reader(after(payload, sizeof(nhmsg)));
    while (const auto a = reader.next()) {
        if (const auto wrong = read_nexthop_attribute(*a, m); !wrong.empty()) {
            return bad(name, wrong);
        }
    }
    if (reader.malformed() || m.id == NexthopId{}) {
        return bad(name, reader.malformed() ? "attribute" : "NHA_ID");
    }
    return Message(m);
}

}  // namespace

Result<std::optional<Message>> decode(std::span<const std::byte> one_message) {
    const auto header = read<nlmsghdr>(one_message);
    if (!header || header->nlmsg_len < sizeof(nlmsghdr) || header->nlmsg_len > one_message.size()) {
        return bad("netlink message", "header");
    }
    const Bytes payload = one_message.first(header->nlmsg_len).subspan(NLMSG_HDRLEN);
    switch (header->nlmsg_type) {
        case RTM_NEWLINK:
            return decode_link("RTM_NEWLINK", false, payload);
        case RTM_DELLINK:
            return decode_link("RTM_DELLINK", true, payload);
        case RTM_NEWADDR:
            return decode_address("RTM_NEWADDR", false, payload);
        case RTM_DELADDR:
            return decode_address("RTM_DELADDR", true, payload);
        case RTM_NEWNEIGH:
            return decode_neighbour("RTM_NEWNEIGH", false, payload);
        case RTM_DELNEIGH:
            return decode_neighbour("RTM_DELNEIGH", true, payload);
        case RTM_NEWNEXTHOP:
            return decode_nexthop("RTM_NEWNEXTHOP", false, payload);
        case RTM_DELNEXTHOP:
            return decode_nexthop("RTM_DELNEXTHOP", true, payload);
        case RTM_NEWROUTE:
            return decode_route("RTM_NEWROUTE", false, header->nlmsg_flags, payload);
        case RTM_DELROUTE:
            return decode_route("RTM_DELROUTE", true, header->nlmsg_flags, payload);
        default:
            return std::nullopt;
    }
}

}  // namespace millrace::sync
