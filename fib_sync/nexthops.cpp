// SPDX-License-Identifier: BSD-3-Clause
#include "fib_sync/nexthops.hpp"

#include <linux/rtnetlink.h>

#include <algorithm>
#include <utility>

namespace millrace::sync {
Forwarding resolve_paths(std::span<const Path> paths, const Links& links) {
    const bool single = paths.size() == 1;
    Forwarding f{.reason = Reason::forwarded, .hops = {}, .glean = {}};
    bool connected = false;
    for (const Path& p : paths) {
        if (p.ifindex == Ifindex{}) {
            return {.reason = Reason::punt_unsupported, .hops = {}, .glean = {}};
        }
        if (!links.managed(p.ifindex)) {
            return {.reason = Reason::punt_unmanaged, .hops = {}, .glean = {}};
        }
        // RTNH_F_LINKDOWN is no matter: that its link has no carrier is known from the link itself.
        if ((p.flags & RTNH_F_DEAD) != 0) {
            continue;
        }
        if (p.gateway) {
            f.hops.push_back({p.ifindex, *p.gateway, p.weight});
        } else {
            connected = true;
        }
    }
    if (connected) {
        // Of several paths only the kernel knows on which of them a connected host is.
        return single ? Forwarding{Reason::punt_glean, {}, paths.front().ifindex}
                      : Forwarding{Reason::punt_unsupported, {}, {}};
    }
    if (f.hops.empty()) {
        f.reason = paths.empty() ? Reason::punt_unsupported : Reason::punt_link_down;
    }
    return f;
}

void Nexthops::note(NexthopId id) {
    changed_.insert(id);
    if (const auto found = containers_.find(id); found != containers_.end()) {
        changed_.insert(found->second.begin(), found->second.end());
    }
}

void Nexthops::apply(const NexthopMessage& message, uint32_t generation) {
    const auto found = objects_.find(message.id);
    if (found != objects_.end()) {
        if (!message.removed && found->second.state == message) {
            found->second.seen = generation;
            return;
        }
        for (const NexthopMember& m : found->second.state.members) {
            if (const auto c = containers_.find(m.id); c != containers_.end()) {
                c->second.erase(message.id);
                if (c->second.empty()) {
                    containers_.erase(c);
                }
            }
        }
    }
    if (message.removed) {
        if (found == objects_.end()) {
            return;
        }
        objects_.erase(found);
    } else {
        for (const NexthopMember& m : message.members) {
            containers_[m.id].insert(message.id);
        }
        objects_.insert_or_assign(message.id, Object{message, generation});
    }
    note(message.id);
}

void Nexthops::distrust(Ifindex ifindex, uint32_t generation) {
    for (const auto& [id, object] : objects_) {
        if (object.state.members.empty() && !object.state.blackhole && object.state.path.ifindex == ifindex) {
            distrusted_[id] = generation;
            note(id);
        }
    }
}

void Nexthops::settle(uint32_t generation) {
    std::erase_if(distrusted_, [&](const auto& one) {
        if (one.second == generation) {
            return false;
        }
        note(one.first);
        return true;
    });
}

std::vector<NexthopId> Nexthops::not_seen(uint32_t generation) const {
    std::vector<NexthopId> gone;
    for (const auto& [id, object] : objects_) {
        if (object.seen != generation) {
            gone.push_back(id);
        }
    }
    return gone;
}

void Nexthops::note_all() {
    for (const auto& [id, object] : objects_) {
        changed_.insert(id);
    }
}

std::set<NexthopId> Nexthops::take_changed() {
    return std::exchange(changed_, {});
}

Forwarding Nexthops::resolve(NexthopId id, const Links& links) const {
    Forwarding unsupported{Reason::punt_unsupported, {}, {}};
    const auto found = objects_.find(id);
    if (found == objects_.end() || found->second.state.unsupported || distrusted_.contains(id)) {
        return unsupported;
    }
    Forwarding encapsulation{Reason::punt_encapsulation, {}, {}};
    if (found->second.state.encapsulation) {
        return encapsulation;
    }
    const NexthopMessage& object = found->second.state;
    if (object.blackhole) {
        return {Reason::drop_blackhole, {}, {}};
    }
    if (object.members.empty()) {
        return resolve_paths({&object.path, 1}, links);
    }
    std::vector<Path> paths;
    for (const NexthopMember& m : object.members) {
        if (distrusted_.contains(m.id)) {
            continue;
        }
        const auto member = objects_.find(m.id);
        // The kernel nests no groups, and a blackhole is only ever the single member of one.
        if (member == objects_.end() || member->second.state.unsupported ||
            !member->second.state.members.empty()) {
            return unsupported;
        }
        if (member->second.state.encapsulation) {
            return encapsulation;
        }
        if (member->second.state.blackhole) {
            return object.members.size() == 1 ? Forwarding{Reason::drop_blackhole, {}, {}} : unsupported;
        }
        paths.push_back(member->second.state.path);
        paths.back().weight = m.weight;
    }
    return resolve_paths(paths, links);
}

}  // namespace millrace::sync
