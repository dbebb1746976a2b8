// SPDX-License-Identifier: BSD-3-Clause
#include "fib_sync/show.hpp"

#include <linux/rtnetlink.h>

#include <nlohmann/json.hpp>
#include <utility>

namespace millrace::sync {
namespace {

// One line of JSON. An interface's name may be any bytes: what is not UTF-8 is replaced.
std::string text_of(const nlohmann::json& json) {
    return json.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

using Json = nlohmann::ordered_json;

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

std::string_view outcome_name(Reason reason) {
    switch (reason) {
        case Reason::forwarded:
            return "forward";
        case Reason::drop_blackhole:
            return "drop";
        case Reason::punt_glean:
            return "glean";
        default:
            return "punt";
    }
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

Result<std::optional<Family>> family_of(const ShowArguments& arguments) {
    const auto given = arguments.find("family");
    if (given == arguments.end()) {
        return std::nullopt;
    }
    if (given->second == "ipv4" || given->second == "ipv6") {
        return given->second == "ipv4" ? Family::ipv4 : Family::ipv6;
    }
    return fail("family: \"" + given->second + "\" is neither ipv4 nor ipv6");
}

class RouteRows : public RowSource {
  public:
    RouteRows(const Mirror& mirror, std::optional<Family> family, std::optional<Prefix> only)
        : mirror_(mirror), family_(family), only_(only) {
        if (family == Family::ipv6) {
            // Just before ::/0. No IPv4 prefix is above it.
            last_ = Prefix{IpAddress{.family = Family::ipv4, .bytes = all_ones()}, 255};
        }
    }

    bool next(std::string& row) override {
        if (only_) {
            const auto entry = done_ ? std::nullopt : mirror_.find_entry(*only_);
            done_ = true;
            if (!entry || (family_ && *family_ != only_->address.family)) {
                return false;
            }
            row = text(*only_, *entry);
            return true;
        }
        const auto found = mirror_.next_entry(last_ ? &*last_ : nullptr);
        if (!found || (family_ && found->first.address.family != *family_)) {
            return false;
        }
        last_ = found->first;
        row = text(found->first, found->second);
        return true;
    }

  private:
    static std::array<uint8_t, 16> all_ones() {
        std::array<uint8_t, 16> bytes{};
        bytes.fill(0xff);
        return bytes;
    }

    [[nodiscard]] std::string text(const Prefix& prefix, const Mirror::Entry& entry) const {
        const Reason reason = mirror_.groups().effective_reason(entry.group->content);
        const Json row = {
            {"family", prefix.address.family == Family::ipv4 ? "ipv4" : "ipv6"},
            {"prefix", prefix.text()},
            {"outcome", outcome_name(reason)},
            {"reason", name(reason)},
            {"protocol", entry.route != nullptr ? protocol_name(entry.route->protocol) : "neighbor"},
            {"metric", entry.route != nullptr ? entry.route->metric : 0},
            {"nexthop_id", nexthop_json(*entry.group)},
            {"group", raw(entry.group->id)},
            {"via", members_json(mirror_, *entry.group)},
        };
        return text_of(row);
    }

    const Mirror& mirror_;
    std::optional<Family> family_;
    std::optional<Prefix> only_;
    std::optional<Prefix> last_;
    bool done_ = false;
};

class GroupRows : public RowSource {
  public:
    explicit GroupRows(const Mirror& mirror) : mirror_(mirror) {}

    bool next(std::string& row) override {
        const auto& all = mirror_.groups().all();
        const auto at = last_ ? all.upper_bound(*last_) : all.begin();
        if (at == all.end()) {
            return false;
        }
        last_ = at->first;
        const Groups::Group& group = *at->second;
        const Reason reason = mirror_.groups().effective_reason(group.content);
        const Json json = {
            {"group", raw(group.id)},
            {"nexthop_id", nexthop_json(group)},
            {"outcome", outcome_name(reason)},
            {"reason", name(reason)},
            {"members", members_json(mirror_, group)},
            {"routes", group.routes},
        };
        row = text_of(json);
        return true;
    }

  private:
    const Mirror& mirror_;
    std::optional<GroupId> last_;
};

class NeighborRows : public RowSource {
  public:
    NeighborRows(const Mirror& mirror, const NeighbourCare& care, std::optional<Family> family)
        : mirror_(mirror), care_(care), family_(family) {}

    bool next(std::string& row) override {
        const auto& all = mirror_.neighbours().all();
        auto at = last_ ? all.upper_bound(*last_) : all.begin();
        while (at != all.end() && family_ && at->first.address.family != *family_) {
            ++at;
        }
        if (at == all.end()) {
            return false;
        }
        const auto& [key, neighbour] = *at;
        last_ = key;
        const Care care = care_.care_of(key);
        const Json json = {
            {"address", key.address.text()},
            {"interface", mirror_.links().name(key.ifindex)},
            {"mac", neighbour.mac ? Json(neighbour.mac->text()) : Json(nullptr)},
            {"state", neighbour_state_name(neighbour.state)},
            {"usable", neighbour.usable() && mirror_.links().usable(key.ifindex)},
            {"host_route", mirror_.has_host_route(key)},
            {"care", care == Care::none ? Json(nullptr) : Json(name(care))},
        };
        row = text_of(json);
        return true;
    }

  private:
    const Mirror& mirror_;
    const NeighbourCare& care_;
    std::optional<Family> family_;
    std::optional<NeighborKey> last_;
};

class SyncRow : public RowSource {
  public:
    explicit SyncRow(const FibSync& sync) : sync_(sync) {}

    bool next(std::string& row) override {
        if (done_) {
            return false;
        }
        done_ = true;
        const Statistics& s = sync_.statistics();
        const Json json = {
            {"state", name(sync_.state())},
            {"synced", sync_.synced()},
            {"messages", s.messages},
            {"ignored", s.ignored},
            {"decode_errors", s.decode_errors},
            {"resyncs", s.resyncs},
            {"restarts", s.restarts},
            {"overruns", s.overruns},
            {"interrupted", s.interrupted},
            {"dump_failures", s.dump_failures},
            {"queue_overflows", s.queue_overflows},
            {"doubts", s.doubts},
            {"commits", s.commits},
            {"last_duration_ms", s.last_duration_ms},
            {"prefixes", sync_.mirror().rib().table().size()},
            {"groups", sync_.mirror().groups().all().size()},
            {"adjacencies", sync_.mirror().groups().adjacencies().size()},
            {"neighbors", sync_.mirror().neighbours().all().size()},
            {"nexthop_objects", sync_.mirror().nexthops().size()},
            {"neighbor_requests", sync_.neighbour_care().requested()},
            {"neighbor_requests_refused", sync_.neighbour_writer().refused()},
        };
        row = text_of(json);
        return true;
    }

  private:
    const FibSync& sync_;
    bool done_ = false;
};

}  // namespace

RowOpener show_routes(const Mirror& mirror) {
    return [&mirror](const ShowArguments& arguments) -> Result<std::unique_ptr<RowSource>> {
        const auto family = family_of(arguments);
        if (!family) {
            return tl::unexpected(family.error());
        }
        std::optional<Prefix> only;
        if (const auto given = arguments.find("prefix"); given != arguments.end()) {
            only = Prefix::parse(given->second);
            if (!only) {
                return fail("prefix: \"" + given->second + "\" is no prefix, or has host bits set");
            }
        }
        return std::make_unique<RouteRows>(mirror, *family, only);
    };
}

RowOpener show_nexthops(const Mirror& mirror) {
    return [&mirror](const ShowArguments&) -> Result<std::unique_ptr<RowSource>> {
        return std::make_unique<GroupRows>(mirror);
    };
}

RowOpener show_neighbors(const Mirror& mirror, const NeighbourCare& care) {
    return [&mirror, &care](const ShowArguments& arguments) -> Result<std::unique_ptr<RowSource>> {
        const auto family = family_of(arguments);
        if (!family) {
            return tl::unexpected(family.error());
        }
        return std::make_unique<NeighborRows>(mirror, care, *family);
    };
}

RowOpener show_sync(const FibSync& sync) {
    return [&sync](const ShowArguments&) -> Result<std::unique_ptr<RowSource>> {
        return std::make_unique<SyncRow>(sync);
    };
}

}  // namespace millrace::sync
