// SPDX-License-Identifier: BSD-3-Clause
// From the tables to the sink: what changed since the last commit, its final state only.
#include <algorithm>
#include <utility>

#include "fib_sync/mirror.hpp"

namespace millrace::sync {
void Mirror::commit() {
    while (commit_some(SIZE_MAX, false) == Left::more) {
    }
}

Mirror::Left Mirror::commit_some(size_t prefixes, bool hold) {
    end_replay();
    commit_ipv4();
    commit_nexthops();
    if (!hold) {
        commit_listed(prefixes);
    }
    commit_walk(prefixes);
    const bool listed = listed_done_ < listed_.size();
    if (!hold && !listed && !walking_) {
        commit_hosts(prefixes);
        if (host_marks_.empty()) {
            commit_end();
        }
    }
    commit_locals();
    sink_.commit();
    if (walking_ || (!hold && (listed || !host_marks_.empty()))) {
        return Left::more;
    }
    return hold ? Left::held : Left::nothing;
}

void Mirror::commit_objects() {
    commit_nexthops();
    sink_.commit();
}

std::pair<uint64_t, uint64_t> Mirror::commit_progress() const {
    const uint64_t all = rib_.table().size();
    return {walking_ ? std::min(walked_, all) : all, all};
}

bool Mirror::ask_for_room() {
    if (!groups_.ask_for_room()) {
        return false;
    }
    walk_from_start(true);
    return true;
}

void Mirror::commit_end() {
    groups_.end_move();
    groups_.sweep();
    if (std::exchange(settling_, false)) {
        // What went without a message is out of the sink now.
        nexthops_.settle(generation_);
        commit_nexthops();
        for (const Ifindex ifindex : links_.settle(generation_)) {
            groups_.refresh(ifindex);
        }
    }
    for (const Ifindex ifindex : std::exchange(removed_interfaces_, {})) {
        sink_.remove_interface(ifindex);
    }
}

// Objects that changed while prefixes point to their groups: one call each, however many prefixes.
void Mirror::commit_nexthops() {
    for (const NexthopId id : nexthops_.take_changed()) {
        Groups::Group* group = groups_.find(id);
        if (group == nullptr) {
            continue;
        }
        const Forwarding content = nexthops_.resolve(id, links_);
        if (group->content.glean != content.glean) {
            // Rare: the hosts below these prefixes are concerned too.
            ++choices_;
            walk_from_start(true);
        }
        groups_.update(*group, content);
    }
}

void Mirror::commit_listed(size_t& prefixes) {
    for (; prefixes != 0 && listed_done_ < listed_.size(); --prefixes) {
        const Prefix prefix = listed_[listed_done_++];
        PrefixEntry& entry = *rib_.find(prefix);
        entry.listed = false;
        if (commit_prefix(prefix, entry)) {
            rib_.erase(prefix);
        }
    }
    if (listed_done_ == listed_.size()) {
        listed_done_ = 0;
        listed_.clear();
    }
}

void Mirror::commit_walk(size_t& prefixes) {
    // Looking at a clean one is cheap.
    size_t looks = prefixes > SIZE_MAX / 16 ? SIZE_MAX : prefixes * 16;
    while (walking_ && prefixes != 0 && looks != 0) {
        bool ended = true;
        const std::optional<Prefix> after = walk_at_;
        rib_.table().visit(after ? &*after : nullptr, [&](const Prefix& prefix, PrefixEntry& entry) {
            if (prefixes == 0 || looks == 0) {
                ended = false;
                return Visit::stop;
            }
            --looks;
            ++walked_;
            walk_at_ = prefix;
            // One that is listed waits there, maybe for what replaces a removed route.
            if ((!entry.dirty && !walk_all_) || entry.listed) {
                return Visit::next;
            }
            --prefixes;
            return commit_prefix(prefix, entry) ? Visit::erase : Visit::next;
        });
        if (ended) {
            const bool again = walk_again_;
            walk_all_ = false;
            walk_from_start(false);
            walking_ = again;
        }
    }
}

void Mirror::commit_hosts(size_t& prefixes) {
    for (; prefixes != 0 && !host_marks_.empty(); --prefixes) {
        const IpAddress address = *host_marks_.begin();
        host_marks_.erase(host_marks_.begin());
        const Prefix prefix = Prefix::make(address, address_bits(address.family));
        PrefixEntry* entry = rib_.find(prefix);
        const bool routed = entry != nullptr && entry->has_route();
        if (routed ? commit_prefix(prefix, *entry) : commit_host(prefix, entry)) {
            rib_.erase(prefix);
        }
    }
}

// Which neighbours have a host route depends on the prefix that covers them.
void Mirror::cover(const Prefix& prefix, PrefixEntry& entry, bool routed, Ifindex glean) {
    const bool coverage = routed != entry.routed;
    if (coverage) {
        rib_.count_length(prefix, routed);
        entry.routed = routed;
    }
    const bool connected = rib_.set_glean(prefix, entry, glean);
    if ((coverage || connected) && !prefix.is_host()) {
        neighbours_.within(
            prefix, [this](const NeighborKey& key, const Neighbor&) { host_marks_.insert(key.address); });
    }
}

Groups::Group& Mirror::group_of(const Choice& choice) {
    return choice.nexthop != NexthopId{} ? groups_.of_nexthop(choice.nexthop, choice.content)
                                         : groups_.with_content(choice.content);
}

// Nearly always the route alone decides, and then its note tells the group that other prefixes with this
// route have.
Groups::Handle Mirror::choose_group(const Prefix& prefix, const PrefixEntry& entry, const Route& best,
                                    Ifindex& glean) {
    const bool alone = !best.local && !best.limited &&
                       !(entry.several && prefix.address.family == Family::ipv6) && !in_local_prefix(prefix);
    const uint64_t epoch = choices_ + groups_.destroyed();
    RouteStore::Note& note = rib_.note(prefix, entry);
    if (alone && note.epoch == epoch) {
        return Groups::Handle{note.group};
    }
    const Choice choice = choose(prefix, entry, best);
    const Groups::Handle group = group_of(choice).handle;
    glean = choice.content.glean;
    if (alone && glean == Ifindex{} && !choice.content.host) {
        note = {.epoch = epoch, .group = raw(group)};
    }
    return group;
}

// True when nothing is left of the entry.
bool Mirror::commit_prefix(const Prefix& prefix, PrefixEntry& entry) {
    entry.dirty = false;
    Groups::Handle group{};
    Ifindex glean{};
    const Route* best = rib_.best(prefix, entry);
    note_limited(prefix, best);
    if (best != nullptr) {
        group = choose_group(prefix, entry, *best, glean);
    }
    cover(prefix, entry, entry.has_route(), glean);
    if (!entry.has_route() && prefix.is_host()) {
        // Its neighbour decides, once all that may cover it is settled.
        host_marks_.insert(prefix.address);
        return false;
    }
    set_group(prefix, entry, group);
    return !entry.has_route();
}

// The same for a host prefix without a route; entry: nullptr where there is none.
bool Mirror::commit_host(const Prefix& prefix, PrefixEntry* entry) {
    const auto choice = choose_host(prefix.address);
    if (choice) {
        set_group(prefix, entry != nullptr ? *entry : rib_.at(prefix), group_of(*choice).handle);
    } else if (entry != nullptr) {
        set_group(prefix, *entry, {});
    }
    return entry != nullptr && !choice;
}

void Mirror::set_group(const Prefix& prefix, PrefixEntry& entry, Groups::Handle group) {
    if (entry.group == group && (group == Groups::Handle{} || !groups_.at(group).moved)) {
        return;
    }
    ++route_calls_;
    if (group == Groups::Handle{}) {
        sink_.remove_route(main_table, prefix);
    } else {
        Groups::hold(groups_.at(group), prefix.address.family);
        sink_.set_route(main_table, prefix, groups_.at(group).id);
    }
    if (entry.group != Groups::Handle{}) {
        groups_.release(groups_.at(entry.group), prefix.address.family);
    }
    entry.group = group;
}

void Mirror::restate(const Prefix& prefix) {
    const PrefixEntry* entry = rib_.find(prefix);
    if (entry != nullptr && entry->group != Groups::Handle{}) {
        sink_.set_route(main_table, prefix, groups_.at(entry->group).id);
    } else {
        sink_.remove_route(main_table, prefix);
    }
    sink_.commit();
}

void Mirror::commit_ipv4() {
    if (!std::exchange(addresses_changed_, false)) {
        return;
    }
    std::set<Ifindex> with_address;
    for (const auto& [address, local] : locals_) {
        if (address.family == Family::ipv4) {
            for (const auto& [ifindex, generation] : local.interfaces) {
                with_address.insert(ifindex);
            }
        }
    }
    announce(links_.set_ipv4(with_address));
}

void Mirror::commit_locals() {
    for (const IpAddress& address : std::exchange(dirty_locals_, {})) {
        const auto at = locals_.find(address);
        Local& local = at->second;
        local.dirty = false;
        const bool wanted = local.route || !local.interfaces.empty();
        if (wanted != local.announced) {
            local.announced = wanted;
            if (wanted) {
                sink_.add_local(address);
            } else {
                sink_.remove_local(address);
            }
        }
        if (!wanted) {
            locals_.erase(at);
        }
    }
}

}  // namespace millrace::sync
