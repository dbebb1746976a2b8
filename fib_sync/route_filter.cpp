// SPDX-License-Identifier: BSD-3-Clause
#include "fib_sync/route_filter.hpp"

#include <algorithm>
#include <charconv>
#include <functional>
#include <utility>

namespace millrace::sync {
namespace {

template <class T>
std::optional<T> number_in(const std::string& text) {
    T value{};
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    return error == std::errc{} && end == text.data() + text.size() ? std::optional(value) : std::nullopt;
}

// Only where one family can match, and the arguments do not contradict each other.
Status narrow(RouteFilter& filter, Family family, const std::string& because) {
    if (filter.family && *filter.family != family) {
        return fail(fmt::format("{} is {}, and --family asks for {}", because, family_name(family),
                                family_name(*filter.family)));
    }
    filter.family = family;
    return {};
}

Status set_family(RouteFilter& filter, const std::string& text) {
    const auto family = parse_family(text);
    if (!family) {
        return tl::unexpected(family.error());
    }
    filter.family = *family;
    return {};
}

Status set_prefix(RouteFilter& filter, const std::string& text) {
    const auto prefix = Prefix::parse(text);
    if (!prefix) {
        const auto slash = text.find('/');
        const auto address = IpAddress::parse(text.substr(0, slash));
        const auto length =
            slash == std::string::npos ? std::nullopt : number_in<uint8_t>(text.substr(slash + 1));
        if (address && length && *length <= address_bits(address->family)) {
            return fail(fmt::format("prefix: {} has host bits set; the network is {}", text,
                                    Prefix::make(*address, *length).text()));
        }
        return fail(fmt::format("prefix: \"{}\" is none; as 10.0.0.0/8 or 2001:db8::/32", text));
    }
    filter.where = RouteFilter::Where::exact;
    filter.prefix = *prefix;
    return narrow(filter, prefix->address.family, text);
}

Status set_match(RouteFilter& filter, const std::string& text) {
    if (text != "exact" && text != "longer") {
        return fail(fmt::format("match: \"{}\" is neither exact nor longer", text));
    }
    if (filter.where != RouteFilter::Where::exact) {
        return fail(fmt::format("{}: than which prefix? As 10.0.0.0/8 {}", text, text));
    }
    filter.where = text == "exact" ? RouteFilter::Where::exact : RouteFilter::Where::longer;
    return {};
}

Status set_lookup(RouteFilter& filter, const std::string& text) {
    if (filter.where != RouteFilter::Where::everywhere) {
        return fail("lookup: of an address alone, without a prefix");
    }
    const auto address = IpAddress::parse(text);
    if (!address) {
        return fail(fmt::format("lookup: \"{}\" is no IPv4 or IPv6 address", text));
    }
    filter.where = RouteFilter::Where::lookup;
    filter.prefix = Prefix::make(*address, address_bits(address->family));
    return narrow(filter, address->family, text);
}

Status set_outcome(RouteFilter& filter, const std::string& text) {
    for (size_t i = 0; i < outcome_count; ++i) {
        if (name(static_cast<Outcome>(i)) == text) {
            filter.outcome = static_cast<Outcome>(i);
            return {};
        }
    }
    return fail(fmt::format("outcome: \"{}\" is none of forward, glean, punt, drop", text));
}

Status set_protocol(RouteFilter& filter, const std::string& text) {
    auto& wanted = filter.protocols.emplace();
    const auto number = number_in<uint8_t>(text);
    for (unsigned i = 0; i < RouteFilter::neighbor; ++i) {
        const auto protocol = static_cast<uint8_t>(i);
        wanted.set(i, number ? *number == protocol : protocol_name(protocol) == text);
    }
    wanted.set(RouteFilter::neighbor, text == neighbor_protocol);
    if (wanted.none()) {
        return fail(
            fmt::format("protocol: \"{}\" is none; as bgp, static, kernel, neighbor, or 0 to 255", text));
    }
    return {};
}

Status set_nexthop(RouteFilter& filter, const std::string& text) {
    const auto id = number_in<uint32_t>(text);
    if (!id || *id == 0) {
        return fail(
            fmt::format("nexthop_id: \"{}\" is no id of a nexthop object (`ip nexthop` lists them)", text));
    }
    filter.nexthop = NexthopId{*id};
    return {};
}

Status set_via(RouteFilter& filter, const std::string& text, const Links& links) {
    filter.gateway = IpAddress::parse(text);
    filter.interface = filter.gateway ? std::nullopt : links.index_of(text);
    if (!filter.gateway && !filter.interface) {
        return fail(fmt::format("via: \"{}\" is neither an address nor an interface here", text));
    }
    return {};
}

Status set_count(RouteFilter& filter, const std::string& text) {
    if (text != "true" && text != "false") {
        return fail(fmt::format("count: \"{}\" is neither true nor false", text));
    }
    filter.count = text == "true";
    return {};
}

}  // namespace

bool RouteFilter::takes(const Groups& groups, const Groups::Group& group) const {
    const auto& hops = group.content.hops;
    const auto any = [&hops](const auto& matches) { return std::any_of(hops.begin(), hops.end(), matches); };
    return (!nexthop || group.nexthop == nexthop) &&
           (!outcome || outcome_of(groups.effective_reason(group)) == *outcome) &&
           (!gateway || any([this](const Hop& hop) { return hop.gateway == *gateway; })) &&
           (!interface || group.content.glean == *interface ||
            any([this](const Hop& hop) { return hop.ifindex == *interface; }));
}

bool RouteFilter::takes_protocol(const Mirror::Entry& entry) const {
    return !protocols || protocols->test(entry.route == nullptr ? neighbor : entry.route->protocol);
}

Result<RouteFilter> parse_route_filter(const ShowArguments& arguments, const Links& links) {
    RouteFilter filter;
    // In this order: what comes later looks at what came before.
    const std::pair<std::string_view, std::function<Status(const std::string&)>> known[] = {
        {"family", [&](const std::string& text) { return set_family(filter, text); }},
        {"prefix", [&](const std::string& text) { return set_prefix(filter, text); }},
        {"match", [&](const std::string& text) { return set_match(filter, text); }},
        {"lookup", [&](const std::string& text) { return set_lookup(filter, text); }},
        {"via", [&](const std::string& text) { return set_via(filter, text, links); }},
        {"nexthop_id", [&](const std::string& text) { return set_nexthop(filter, text); }},
        {"outcome", [&](const std::string& text) { return set_outcome(filter, text); }},
        {"protocol", [&](const std::string& text) { return set_protocol(filter, text); }},
        {"count", [&](const std::string& text) { return set_count(filter, text); }},
    };
    for (const auto& given : arguments) {
        if (std::none_of(std::begin(known), std::end(known),
                         [&](const auto& k) { return k.first == given.first; })) {
            return fail(fmt::format("routes: no argument is called \"{}\"", given.first));
        }
    }
    for (const auto& [key, set] : known) {
        if (const auto given = arguments.find(key); given != arguments.end()) {
            if (Status done = set(given->second); !done) {
                return tl::unexpected(done.error());
            }
        }
    }
    return filter;
}

}  // namespace millrace::sync
