// SPDX-License-Identifier: BSD-3-Clause
#include "fib_sync/show_words.hpp"

#include <linux/rtnetlink.h>

#include <utility>

namespace millrace::sync {

using Json = nlohmann::ordered_json;

std::string_view name(Outcome outcome) {
    constexpr std::string_view names[] = {"forward", "glean", "punt", "drop"};
    return names[static_cast<size_t>(outcome)];
}

Outcome outcome_of(Reason reason) {
    switch (reason) {
        case Reason::forwarded:
            return Outcome::forward;
        case Reason::drop_blackhole:
            return Outcome::drop;
        case Reason::punt_glean:
            return Outcome::glean;
        default:
            return Outcome::punt;
    }
}

// rtnetlink.h, and the names that iproute2's rt_protos gives them.
std::string protocol_name(uint8_t protocol) {
    constexpr std::pair<uint8_t, std::string_view> names[] = {
        {RTPROT_UNSPEC, "unspec"},
        {RTPROT_REDIRECT, "redirect"},
        {RTPROT_KERNEL, "kernel"},
        {RTPROT_BOOT, "boot"},
        {RTPROT_STATIC, "static"},
        {RTPROT_RA, "ra"},
        {RTPROT_ZEBRA, "zebra"},
        {RTPROT_BIRD, "bird"},
        {RTPROT_DHCP, "dhcp"},
        {RTPROT_BGP, "bgp"},
        {RTPROT_ISIS, "isis"},
        {RTPROT_OSPF, "ospf"},
        {RTPROT_RIP, "rip"},
        {RTPROT_EIGRP, "eigrp"},
        {RTPROT_BABEL, "babel"},
        // FRR's own (zebra/rt_netlink.h): static routes are 196.
        {196, "static"},
    };
    for (const auto& [number, text] : names) {
        if (number == protocol) {
            return std::string(text);
        }
    }
    return std::to_string(protocol);
}

Result<Family> parse_family(const std::string& text) {
    for (const Family family : {Family::ipv4, Family::ipv6}) {
        if (text == family_name(family)) {
            return family;
        }
    }
    return fail(fmt::format("family: \"{}\" is neither ipv4 nor ipv6", text));
}

std::string text_of(const Json& json) {
    return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

Json nexthop_json(const Groups::Group& group) {
    return group.nexthop ? Json(raw(*group.nexthop)) : Json(nullptr);
}

Json members_json(const Mirror& mirror, const Groups::Group& group) {
    Json members = Json::array();
    if (group.content.glean != Ifindex{}) {
        members.push_back({{"gateway", nullptr},
                           {"interface", mirror.links().name(group.content.glean)},
                           {"weight", 1},
                           {"usable", mirror.links().usable(group.content.glean)}});
    }
    for (const Hop& hop : group.content.hops) {
        const auto state = mirror.groups().state_of(hop.ifindex, hop.gateway);
        members.push_back({{"gateway", hop.gateway.text()},
                           {"interface", mirror.links().name(hop.ifindex)},
                           {"weight", hop.weight},
                           {"usable", state.reason == Reason::forwarded}});
    }
    return members;
}

}  // namespace millrace::sync
