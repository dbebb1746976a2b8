// SPDX-License-Identifier: BSD-3-Clause
#include "kernel_model.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <set>

namespace millrace::sync::test {
namespace {

bool same(const RouteMessage& a, const RouteMessage& b) {
    return a.type == b.type && a.nexthop == b.nexthop && a.protocol == b.protocol &&
           std::equal(a.paths.begin(), a.paths.end(), b.paths.begin(), b.paths.end(),
                      [](const Path& x, const Path& y) {
                          return x.ifindex == y.ifindex && x.gateway == y.gateway && x.weight == y.weight;
                      });
}

RouteMessage flagged(RouteMessage m, bool replace, bool append, bool exclusive) {
    m.replace = replace;
    m.append = append;
    m.exclusive = exclusive;
    return m;
}

}  // namespace

void KernelModel::change() {
    switch (pick(16)) {
        case 0:
            return change_link();
        case 1:
        case 2:
            return change_nexthop();
        case 3:
        case 4:
        case 5:
            return change_neighbour();
        case 6:
        case 7:
        case 8:
        case 9:
            return change_route6();
        default:
            return change_route4();
    }
}

Path KernelModel::random_path(Family family) {
    const Ifindex i = pick(8) == 0 ? wan : port();
    if (pick(4) == 0) {
        return on(i);
    }
    const auto n = 1 + pick(4);
    return via(family == Family::ipv4 ? fmt::format("10.0.0.{}", n) : fmt::format("2001:db8::{}", n), i,
               1 + pick(2));
}

Prefix KernelModel::random_prefix(Family family) {
    static constexpr const char* v4[] = {"0.0.0.0/0", "10.0.0.0/8", "10.0.0.0/24", "10.0.0.0/30",
                                         "10.0.0.2/32"};
    static constexpr const char* v6[] = {"::/0", "2001:db8::/32", "2001:db8::/64", "2001:db8::/127",
                                         "2001:db8::2/128"};
    return net(family == Family::ipv4 ? v4[pick(5)] : v6[pick(5)]);
}

void KernelModel::change_route4() {
    RouteMessage m = route(random_prefix(Family::ipv4).text(), {}, pick(2) * 20);
    auto& list = routes_[{m.prefix, m.metric, {}}];
    if (!list.empty() && pick(3) == 0) {
        const auto at = list.begin() + pick(static_cast<uint32_t>(list.size()));
        tell(removed(flagged(*at, false, false, false)));
        list.erase(at);
        return;
    }
    if (const auto kind = pick(8); kind == 0) {
        m.type = RTN_BLACKHOLE;
    } else if (kind < 4 && !nexthops_.empty()) {
        m.nexthop = std::next(nexthops_.begin(), pick(static_cast<uint32_t>(nexthops_.size())))->first;
    } else {
        m.paths.push_back(random_path(Family::ipv4));
        if (kind > 5) {
            m.paths.push_back(random_path(Family::ipv4));
        }
        for (const Path& p : m.paths) {
            if (!is_up(p.ifindex)) {
                return;  // "Network is down"
            }
        }
    }
    if (list.empty()) {
        list.push_back(m);
        return tell(flagged(m, false, false, true));
    }
    if (std::any_of(list.begin(), list.end(), [&](const RouteMessage& r) { return same(r, m); })) {
        return;  // EEXIST
    }
    switch (pick(4)) {
        case 0:
            list.push_back(m);
            return tell(flagged(m, false, true, false));
        case 1:
            list.insert(list.begin(), m);
            return tell(flagged(m, false, false, false));
        default:
            list.front() = m;
            return tell(flagged(m, true, false, false));
    }
}

void KernelModel::change_route6() {
    RouteMessage m = route(random_prefix(Family::ipv6).text(), {}, 1024);
    if (pick(6) == 0) {
        m.source = net(pick(2) == 0 ? "2001:db8:a::/48" : "2001:db8:a::1/128");
    }
    auto& list = routes_[{m.prefix, m.metric, m.source}];
    if (pick(8) == 0) {
        m.type = RTN_BLACKHOLE;
    } else {
        m.paths.push_back(random_path(Family::ipv6));
        m.paths[0].weight = 1;
        if (!is_up(m.paths[0].ifindex)) {
            return;
        }
        if (m.paths[0].gateway && pick(6) == 0) {
            m.protocol = RTPROT_RA;
        }
    }
    const auto like =
        std::find_if(list.begin(), list.end(), [&](const RouteMessage& r) { return joins(r) == joins(m); });
    switch (list.empty() ? 0 : pick(4)) {
        case 0:  // add or append
            if (list.empty()) {
                list.push_back(m);
                return tell(flagged(m, false, false, true));
            }
            if (joins(m) && like != list.end()) {
                if (std::any_of(like->paths.begin(), like->paths.end(),
                                [&](const Path& p) { return p == m.paths[0]; })) {
                    return;
                }
                like->paths.push_back(m.paths[0]);
                return tell(flagged(*like, false, true, false));
            }
            if (std::any_of(list.begin(), list.end(), [&](const RouteMessage& r) { return same(r, m); })) {
                return;
            }
            list.push_back(m);
            return tell(flagged(m, false, true, false));
        case 1: {  // replace
            auto& target = like != list.end() ? *like : list.front();
            if (std::any_of(list.begin(), list.end(),
                            [&](const RouteMessage& r) { return &r != &target && same(r, m); })) {
                return;
            }
            target = m;
            return tell(flagged(m, true, false, false));
        }
        default: {  // delete a route, or a path of it
            const auto at = list.begin() + pick(static_cast<uint32_t>(list.size()));
            RouteMessage gone = flagged(*at, false, false, false);
            if (joins(*at) && at->paths.size() > 1 && pick(2) == 0) {
                gone.paths = {at->paths.back()};
                at->paths.pop_back();
            } else {
                list.erase(at);
            }
            return tell(removed(gone));
        }
    }
}

// told: an explicit delete. The IPv4 routes go without a message either way.
void KernelModel::drop_nexthop(NexthopId id, bool told) {
    nexthops_.erase(id);
    std::vector<NexthopId> empty;
    for (auto& [other, object_] : nexthops_) {
        if (std::erase_if(object_.members, [&](const NexthopMember& m) { return m.id == id; }) != 0) {
            if (object_.members.empty()) {
                empty.push_back(other);
            } else if (told) {
                tell(object_);
            }
        }
    }
    for (auto& [key, list] : routes_) {
        std::erase_if(list, [&](const RouteMessage& r) { return r.nexthop == id; });
    }
    if (told) {
        tell(removed(object(raw(id), {})));
    }
    for (const NexthopId e : empty) {
        drop_nexthop(e, told);
    }
}

void KernelModel::change_nexthop() {
    const uint32_t id = 1 + pick(6);
    const bool is_group = id > 4;
    const bool exists = nexthops_.contains(NexthopId{id});
    if (exists && pick(3) == 0) {
        return drop_nexthop(NexthopId{id}, true);
    }
    NexthopMessage m = object(id, {});
    if (is_group) {
        for (uint32_t member = 1; member <= 4; ++member) {
            const auto at = nexthops_.find(NexthopId{member});
            if (at != nexthops_.end() && !at->second.blackhole && pick(2) == 0) {
                m.members.push_back({NexthopId{member}, 1 + pick(3)});
            }
        }
        if (m.members.empty()) {
            return;
        }
    } else if (pick(8) == 0 && !exists) {
        m.blackhole = true;
    } else {
        m.path = random_path(Family::ipv4);
        m.path.weight = 1;
        if (!is_up(m.path.ifindex)) {
            return;
        }
    }
    nexthops_[m.id] = m;
    tell(m);
}

void KernelModel::change_neighbour() {
    const auto n = 1 + pick(4);
    const Ifindex i = port();
    if (!is_up(i)) {
        return;
    }
    constexpr uint16_t states[] = {NUD_REACHABLE, NUD_STALE, NUD_FAILED, NUD_INCOMPLETE, NUD_PERMANENT};
    NeighborMessage m =
        neighbour(i, pick(2) == 0 ? fmt::format("10.0.0.{}", n) : fmt::format("2001:db8::{}", n),
                  static_cast<uint8_t>(pick(3)), states[pick(5)]);
    const NeighborKey key{m.address, i};
    if (neighbours_.contains(key) && pick(4) == 0) {
        neighbours_.erase(key);
        return tell(removed(m));
    }
    neighbours_[key] = m;
    tell(m);
}

void KernelModel::change_link() {
    const Ifindex i = port();
    up_[i] = !up_[i];
    const bool up = up_[i];
    for (auto& [key, list] : routes_) {
        const bool ipv4 = key.prefix.address.family == Family::ipv4;
        for (RouteMessage& r : list) {
            if (r.paths.empty()) {
                continue;
            }
            if (ipv4) {
                for (Path& p : r.paths) {
                    p.flags = p.ifindex == i ? (up ? 0 : RTNH_F_DEAD | RTNH_F_LINKDOWN) : p.flags;
                }
            } else if (!up) {
                RouteMessage gone = flagged(r, false, false, false);
                std::erase_if(gone.paths, [&](const Path& p) { return p.ifindex != i; });
                std::erase_if(r.paths, [&](const Path& p) { return p.ifindex == i; });
                if (!gone.paths.empty()) {
                    tell(removed(gone));
                }
            }
        }
        std::erase_if(list, [](const RouteMessage& r) {
            return r.type == RTN_UNICAST && r.nexthop == NexthopId{} &&
                   std::all_of(r.paths.begin(), r.paths.end(),
                               [](const Path& p) { return (p.flags & RTNH_F_DEAD) != 0; });
        });
    }
    if (!up) {
        std::vector<NexthopId> gone;
        for (const auto& [id, object_] : nexthops_) {
            if (object_.members.empty() && !object_.blackhole && object_.path.ifindex == i) {
                gone.push_back(id);
            }
        }
        for (const NexthopId id : gone) {
            drop_nexthop(id, false);
        }
        for (auto at = neighbours_.begin(); at != neighbours_.end();) {
            if (at->first.ifindex == i) {
                tell(removed(at->second));
                at = neighbours_.erase(at);
            } else {
                ++at;
            }
        }
    }
    tell(link(i, i == e0 ? "e0" : "e1", up));
}

std::vector<Message> KernelModel::dump(DumpKind kind) const {
    std::vector<Message> all;
    switch (kind) {
        case DumpKind::links:
            all = {link(e0, "e0", up_.at(e0)), link(e1, "e1", up_.at(e1)), link(wan, "wan")};
            break;
        case DumpKind::addresses:
            break;
        case DumpKind::neighbours:
            for (const auto& [key, m] : neighbours_) {
                all.emplace_back(m);
            }
            break;
        case DumpKind::nexthops:
            for (const auto& [id, m] : nexthops_) {
                all.emplace_back(m);
            }
            break;
        case DumpKind::routes4:
        case DumpKind::routes6:
            for (const auto& [key, list] : routes_) {
                if ((key.prefix.address.family == Family::ipv4) == (kind == DumpKind::routes4)) {
                    for (const RouteMessage& m : list) {
                        all.emplace_back(flagged(m, false, false, false));
                    }
                }
            }
            break;
    }
    return all;
}

std::string KernelModel::outcome(const std::vector<Path>& paths) const {
    const bool any_up = std::any_of(paths.begin(), paths.end(), [this](const Path& p) {
        return p.gateway && (p.flags & RTNH_F_DEAD) == 0 && is_up(p.ifindex);
    });
    std::multiset<std::string> members;
    bool connected = false;
    for (const Path& p : paths) {
        if (p.ifindex == wan) {
            return "punt_unmanaged";
        }
        if ((p.flags & RTNH_F_DEAD) != 0) {
            continue;
        }
        connected = connected || !p.gateway;
        if (p.gateway && (is_up(p.ifindex) || !any_up)) {
            const auto n = neighbours_.find({*p.gateway, p.ifindex});
            const bool usable =
                n != neighbours_.end() && n->second.state != NUD_FAILED && n->second.state != NUD_INCOMPLETE;
            const std::string how = !is_up(p.ifindex) ? "punt_link_down"
                                    : usable          ? n->second.mac->text()
                                                      : "punt_no_neighbour";
            members.insert(fmt::format("{}:{}*{}", raw(p.ifindex), how, p.weight));
        }
    }
    if (connected) {
        return paths.size() == 1 ? "punt_glean" : "punt_unsupported";
    }
    std::string all = "forward";
    for (const std::string& m : members) {
        all += ' ' + m;
    }
    return all;
}

std::string KernelModel::outcome(const RouteMessage& m) const {
    if (m.type == RTN_BLACKHOLE) {
        return "drop_blackhole";
    }
    if (m.nexthop == NexthopId{}) {
        return outcome(m.paths);
    }
    const NexthopMessage& o = nexthops_.at(m.nexthop);
    if (o.blackhole) {
        return "drop_blackhole";
    }
    std::vector<Path> paths;
    for (const NexthopMember& member : o.members) {
        paths.push_back(nexthops_.at(member.id).path);
        paths.back().weight = member.weight;
    }
    return outcome(o.members.empty() ? std::vector{o.path} : paths);
}

Ifindex KernelModel::glean(const RouteMessage& m) const {
    if (outcome(m) != "punt_glean") {
        return {};
    }
    if (m.nexthop == NexthopId{}) {
        return m.paths[0].ifindex;
    }
    const NexthopMessage& o = nexthops_.at(m.nexthop);
    return o.members.empty() ? o.path.ifindex : nexthops_.at(o.members[0].id).path.ifindex;
}

std::map<Prefix, std::string> KernelModel::fib() const {
    std::map<Prefix, const RouteMessage*> best;
    std::map<Prefix, std::string> all;
    for (const auto& [key, list] : routes_) {  // ordered: the lowest metric of a prefix comes first
        if (list.empty()) {
            continue;
        }
        const bool first = best.try_emplace(key.prefix, &list.front()).second;
        // Of equal IPv6 routes only the kernel knows which it takes, where a source counts too, and how long
        // it uses one that was advertised.
        const bool kernels = (key.prefix.address.family == Family::ipv6 && list.size() > 1) ||
                             list.front().protocol == RTPROT_RA;
        if (key.source.length != 0) {
            all[key.prefix] = "punt_unsupported";
        } else if (first) {
            all[key.prefix] = kernels ? "punt_unsupported" : outcome(list.front());
        }
    }
    for (const auto& [key, n] : neighbours_) {
        const Prefix host = Prefix::make(key.address, address_bits(key.address.family));
        const RouteMessage* cover = nullptr;
        for (const auto& [prefix, m] : best) {
            if (!prefix.is_host() && prefix.contains(key.address) &&
                (cover == nullptr || prefix.length > cover->prefix.length)) {
                cover = m;
            }
        }
        if (const auto own = best.find(host); own != best.end()) {
            cover =
                own->second->nexthop == NexthopId{} ? own->second : nullptr;  // an object's group is shared
        }
        if (cover != nullptr && all.at(cover->prefix) == "punt_glean" && glean(*cover) == key.ifindex &&
            n.state != NUD_FAILED && n.state != NUD_INCOMPLETE) {
            all[host] =
                outcome({Path{.gateway = key.address, .ifindex = key.ifindex, .weight = 1, .flags = 0}});
        }
    }
    return all;
}

}  // namespace millrace::sync::test
