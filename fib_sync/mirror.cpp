// SPDX-License-Identifier: BSD-3-Clause
// Messages into tables. What the sink hears of prefixes is in mirror_commit.cpp.
#include "fib_sync/mirror.hpp"

#include <linux/neighbour.h>
#include <linux/rtnetlink.h>

#include <utility>

namespace millrace::sync {
namespace {

// Prefixes marked one by one that are waiting for a commit: a second of the kernel's fastest changes. Beyond
// it a walk over the whole table is the quicker way.
constexpr size_t list_limit = 1U << 16;

bool is_local_type(uint8_t type) {
    return type == RTN_LOCAL || type == RTN_BROADCAST || type == RTN_ANYCAST;
}

}  // namespace

Mirror::Mirror(ForwardingSink& sink, std::vector<std::string> ports)
    : sink_(sink), links_(std::move(ports)), groups_(sink, links_, neighbours_) {
    rib_.set_generation(generation_);
}

void Mirror::apply(const Message& message) {
    std::visit([this](const auto& m) { apply_one(m); }, message);
}

bool Mirror::take_doubt() {
    return std::exchange(doubt_, false);
}

void Mirror::distrust(Ifindex ifindex) {
    links_.distrust(ifindex, generation_);
    nexthops_.distrust(ifindex, generation_);
    groups_.refresh(ifindex);
}

void Mirror::apply_one(const LinkMessage& m) {
    const Links::Change change = links_.apply(m, generation_);
    if (!links_.usable(m.ifindex)) {
        // First of all: no packet out of a dead port.
        groups_.refresh(m.ifindex);
    }
    if (change.interface) {
        if (links_.managed(m.ifindex)) {
            removed_interfaces_.erase(m.ifindex);
            sink_.set_interface(links_.find(m.ifindex)->interface());
        } else {
            removed_interfaces_.insert(m.ifindex);
        }
    }
    groups_.refresh(m.ifindex);
    if (change.managed) {
        mark_all();
    }
}

void Mirror::apply_one(const AddressMessage& m) {
    const auto [at, created] = locals_.try_emplace(m.address);
    if (m.removed) {
        at->second.interfaces.erase(m.ifindex);
    } else {
        at->second.interfaces[m.ifindex] = generation_;
    }
    touch_local(m.address, at->second);
    addresses_changed_ = true;
    if (m.address.family == Family::ipv6 && phase_ != Phase::dump && suspects_.size() < limited_most) {
        if (const auto cover = rib_.longest_match(m.address); cover && rib_.glean(*cover) == m.ifindex) {
            suspects_.insert_or_assign(*cover, Suspect{});
        }
    }
}

void Mirror::announce(const std::vector<Ifindex>& interfaces) {
    for (const Ifindex ifindex : interfaces) {
        groups_.refresh(ifindex);
        sink_.set_interface(links_.find(ifindex)->interface());
    }
}

void Mirror::set_device_policies(std::map<Ifindex, DevicePolicy> policies) {
    announce(links_.set_policies(std::move(policies)));
}

void Mirror::touch_local(const IpAddress& address, Local& local) {
    if (!local.dirty) {
        local.dirty = true;
        dirty_locals_.push_back(address);
    }
}

void Mirror::apply_one(const NeighborMessage& m) {
    if (neighbours_.apply(m, generation_)) {
        neighbour_changed({m.address, m.ifindex});
    }
}

void Mirror::neighbour_changed(const NeighborKey& key) {
    groups_.refresh(key);
    host_marks_.insert(key.address);
}

void Mirror::apply_one(const NexthopMessage& m) {
    nexthops_.apply(m, generation_);
}

void Mirror::apply_one(const RouteMessage& m) {
    if (m.table != main_table && m.table != local_table) {
        return;
    }
    if (m.removed && rib_.find(m.prefix) == nullptr) {
        return;
    }
    PrefixEntry& entry = rib_.at(m.prefix);
    const Rib::Change change = rib_.apply(entry, m, phase_ == Phase::dump);
    doubt_ = doubt_ || change.untold;
    if (phase_ == Phase::dump && change.changed) {
        suspect(m);
    }
    if (phase_ != Phase::replay) {
        doubt_ = doubt_ || change.missing;
    } else {
        // A removal may be older than the dump. But a replace and a removal, in either order, when the dump
        // came after both, took away another route than the one they meant.
        const bool removal = m.removed && change.changed;
        const bool both =
            (removal && replaced_.contains(m.prefix)) || (change.replaced && removed_.contains(m.prefix));
        doubt_ = doubt_ || change.ambiguous || both;
        if (change.replaced) {
            replaced_.insert(m.prefix);
        }
        if (removal) {
            removed_.insert(m.prefix);
        }
    }
    if (change.changed || !entry.has_route()) {
        route_changed(m.prefix, entry);
    }
}

void Mirror::route_changed(const Prefix& prefix, PrefixEntry& entry) {
    mark(prefix, entry);
    if (const auto limited = limited_.find(prefix); limited != limited_.end()) {
        limited->second.stale = true;
        limited->second.ask_at = limited->second.endless = 0;
    }
    const Route* best = rib_.best(prefix, entry);
    const bool local = best != nullptr && best->local;
    if (!prefix.is_host()) {
        if (local ? wide_locals_.insert(prefix).second : wide_locals_.erase(prefix) != 0) {
            ++wide_locals_version_;
            mark_within(prefix);
        }
        return;
    }
    const bool delivered = local && is_local_type(best->type);
    const auto found = locals_.find(prefix.address);
    if (found == locals_.end() ? delivered : found->second.route != delivered) {
        Local& l = locals_[prefix.address];
        l.route = delivered;
        touch_local(prefix.address, l);
    }
}

void Mirror::mark(const Prefix& prefix, PrefixEntry& entry) {
    if (entry.listed) {
        return;
    }
    if (phase_ != Phase::dump && listed_.size() < list_limit) {
        entry.listed = true;
        listed_.push_back(prefix);
    } else if (!entry.dirty) {
        walk_again_ = walk_again_ || (walking_ && walk_at_ && prefix <= *walk_at_);
        walking_ = true;
    }
    entry.dirty = true;
}

void Mirror::walk_from_start(bool all) {
    walking_ = true;
    walk_all_ = walk_all_ || all;
    walk_again_ = false;
    walk_at_.reset();
    walked_ = 0;
}

void Mirror::mark_all() {
    nexthops_.note_all();
    ++choices_;
    walk_from_start(true);
    for (const auto& [key, neighbour] : neighbours_.all()) {
        host_marks_.insert(key.address);
    }
}

void Mirror::mark_within(const Prefix& prefix) {
    rib_.table().visit(&prefix, [&](const Prefix& inner, PrefixEntry& entry) {
        if (!prefix.contains(inner.address)) {
            return Visit::stop;
        }
        mark(inner, entry);
        return Visit::next;
    });
}

void Mirror::begin_resync() {
    phase_ = Phase::dump;
    rib_.set_generation(++generation_);
    sweeping_ = false;
}

void Mirror::sweep_small_tables() {
    for (const Ifindex ifindex : links_.not_seen(generation_)) {
        LinkMessage gone;
        gone.removed = true;
        gone.ifindex = ifindex;
        apply_one(gone);
    }
    for (auto& [address, local] : locals_) {
        if (std::erase_if(local.interfaces, [this](const auto& i) { return i.second != generation_; }) != 0) {
            touch_local(address, local);
            addresses_changed_ = true;
        }
    }
    for (const NeighborKey& key : neighbours_.not_seen(generation_)) {
        NeighborMessage gone;
        gone.removed = true;
        gone.ifindex = key.ifindex;
        gone.address = key.address;
        apply_one(gone);
    }
    for (const NexthopId id : nexthops_.not_seen(generation_)) {
        NexthopMessage gone;
        gone.removed = true;
        gone.id = id;
        apply_one(gone);
    }
}

void Mirror::forget_told(const Prefix& prefix) {
    if (PrefixEntry* entry = rib_.find(prefix)) {
        rib_.unsee(prefix, *entry);
    }
}

bool Mirror::end_resync(size_t prefixes, bool sweep_ipv6) {
    if (!std::exchange(sweeping_, true)) {
        sweep_small_tables();
        swept_.reset();
        unswept_ = 0;
    }
    bool more = false;
    const std::optional<Prefix> after = swept_;
    rib_.table().visit(after ? &*after : nullptr, [&](const Prefix& prefix, PrefixEntry& entry) {
        if (prefixes-- == 0) {
            more = true;
            return Visit::stop;
        }
        if (prefix.address.family == Family::ipv6 && !sweep_ipv6) {
            unswept_ += rib_.unseen(prefix, entry) ? 1 : 0;
        } else if (rib_.sweep(prefix, entry)) {
            route_changed(prefix, entry);
        }
        swept_ = prefix;
        return Visit::next;
    });
    if (!more) {
        sweeping_ = false;
        settling_ = true;
        phase_ = Phase::replay;
    }
    return more;
}

void Mirror::end_replay() {
    if (phase_ == Phase::replay) {
        phase_ = Phase::live;
        replaced_.clear();
        removed_.clear();
    }
}

bool Mirror::confirm(const RouteMessage& message) {
    if (message.table != main_table && message.table != local_table) {
        return true;
    }
    const Rib::Confirmed confirmed = rib_.confirm(message);
    if (confirmed.changed) {
        route_changed(message.prefix, *rib_.find(message.prefix));
        uncommitted_ = true;
    }
    return confirmed.held;
}

bool Mirror::by_source(const Prefix& prefix) const {
    const PrefixEntry* entry = rib_.find(prefix);
    return entry != nullptr && rib_.by_source(prefix, *entry);
}

Mirror::Unconfirmed Mirror::unconfirmed(const Prefix* after, size_t limit) const {
    Unconfirmed result;
    bool more = false;
    rib_.table().visit(after, [&](const Prefix& prefix, const PrefixEntry& entry) {
        if (limit-- == 0) {
            more = true;
            return Visit::stop;
        }
        if (!rib_.confirmed(prefix, entry)) {
            result.prefixes.push_back(prefix);
        }
        result.last = prefix;
        return Visit::next;
    });
    if (!more) {
        result.last.reset();
    }
    return result;
}

bool Mirror::confirmed(const Prefix& prefix) const {
    const PrefixEntry* entry = rib_.find(prefix);
    return entry == nullptr || rib_.confirmed(prefix, *entry);
}

std::optional<std::pair<Prefix, Mirror::Entry>> Mirror::next_entry(const Prefix* after) const {
    std::optional<std::pair<Prefix, Entry>> found;
    rib_.table().visit(after, [&](const Prefix& prefix, const PrefixEntry& entry) {
        if (entry.group == Groups::Handle{}) {
            return Visit::next;
        }
        found.emplace(prefix, entry_of(prefix, entry));
        return Visit::stop;
    });
    return found;
}

std::optional<Mirror::Entry> Mirror::find_entry(const Prefix& prefix) const {
    const PrefixEntry* entry = rib_.find(prefix);
    if (entry == nullptr || entry->group == Groups::Handle{}) {
        return std::nullopt;
    }
    return entry_of(prefix, *entry);
}

Mirror::Entry Mirror::entry_of(const Prefix& prefix, const PrefixEntry& entry) const {
    return {.group = &groups_.at(entry.group), .route = rib_.best(prefix, entry)};
}

std::vector<KeptRoutes> Mirror::kept_routes() const {
    std::vector<KeptRoutes> all = {{.reason = Reason::punt_encapsulation},
                                   {.reason = Reason::punt_unsupported}};
    for (const auto& [key, group] : groups_.all()) {
        for (KeptRoutes& kept : all) {
            kept.prefixes += group->content.reason == kept.reason ? group->routes() : 0;
        }
    }
    return all;
}

bool Mirror::has_host_route(const NeighborKey& neighbour) const {
    const auto entry = find_entry(Prefix::make(neighbour.address, address_bits(neighbour.address.family)));
    return entry && entry->group->content.host &&
           entry->group->content.hops.front().ifindex == neighbour.ifindex;
}

}  // namespace millrace::sync
