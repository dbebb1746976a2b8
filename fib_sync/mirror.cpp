// SPDX-License-Identifier: BSD-3-Clause
// Messages into tables. What the sink hears of prefixes is in mirror_commit.cpp.
#include "fib_sync/mirror.hpp"

#include <linux/neighbour.h>
#include <linux/rtnetlink.h>

#include <utility>

namespace millrace::sync {
namespace {

bool is_local_type(uint8_t type) {
    return type == RTN_LOCAL || type == RTN_BROADCAST || type == RTN_ANYCAST;
}

}  // namespace

Mirror::Mirror(ForwardingSink& sink, std::vector<std::string> ports)
    : sink_(sink), links_(std::move(ports)), groups_(sink, links_, neighbours_) {}

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
    mark(Prefix::make(key.address, address_bits(key.address.family)));
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
    const Rib::Change change = rib_.apply(entry, m, generation_, phase_ == Phase::dump);
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
    if (change.changed || entry.routes.empty()) {
        route_changed(m.prefix, entry);
    }
}

void Mirror::route_changed(const Prefix& prefix, PrefixEntry& entry) {
    mark(prefix, entry);
    const bool local = !entry.routes.empty() && entry.routes.front().local;
    if (!prefix.is_host()) {
        if (local ? wide_locals_.insert(prefix).second : wide_locals_.erase(prefix) != 0) {
            ++wide_locals_version_;
            mark_within(prefix);
        }
        return;
    }
    const bool delivered = local && is_local_type(entry.routes.front().type);
    const auto found = locals_.find(prefix.address);
    if (found == locals_.end() ? delivered : found->second.route != delivered) {
        Local& l = locals_[prefix.address];
        l.route = delivered;
        touch_local(prefix.address, l);
    }
}

void Mirror::mark(const Prefix& prefix, PrefixEntry& entry) {
    if (!entry.dirty) {
        entry.dirty = true;
        dirty_.push_back(prefix);
    }
}

void Mirror::mark_all() {
    nexthops_.note_all();
    for (auto& [prefix, entry] : rib_.table()) {
        mark(prefix, entry);
    }
    for (const auto& [key, neighbour] : neighbours_.all()) {
        mark(Prefix::make(key.address, address_bits(key.address.family)));
    }
}

void Mirror::mark_within(const Prefix& prefix) {
    Rib::Table& table = rib_.table();
    for (auto at = table.lower_bound(prefix); at != table.end() && prefix.contains(at->first.address); ++at) {
        mark(at->first, at->second);
    }
}

void Mirror::begin_resync() {
    phase_ = Phase::dump;
    ++generation_;
}

void Mirror::end_resync() {
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
    nexthops_.settle(generation_);
    for (const NexthopId id : nexthops_.not_seen(generation_)) {
        NexthopMessage gone;
        gone.removed = true;
        gone.id = id;
        apply_one(gone);
    }
    for (auto& [prefix, entry] : rib_.table()) {
        if (rib_.sweep(entry, generation_)) {
            route_changed(prefix, entry);
        }
    }
    phase_ = Phase::replay;
}

std::optional<std::pair<Prefix, Mirror::Entry>> Mirror::next_entry(const Prefix* after) const {
    const Rib::Table& table = rib_.table();
    auto at = after == nullptr ? table.begin() : table.upper_bound(*after);
    while (at != table.end() && at->second.group == nullptr) {
        ++at;
    }
    if (at == table.end()) {
        return std::nullopt;
    }
    return std::pair{at->first, *find_entry(at->first)};
}

std::optional<Mirror::Entry> Mirror::find_entry(const Prefix& prefix) const {
    const PrefixEntry* entry = rib_.find(prefix);
    if (entry == nullptr || entry->group == nullptr) {
        return std::nullopt;
    }
    return Entry{.group = entry->group, .route = entry->routes.empty() ? nullptr : entry->routes.data()};
}

std::vector<KeptRoutes> Mirror::kept_routes() const {
    std::vector<KeptRoutes> all = {{.reason = Reason::punt_encapsulation},
                                   {.reason = Reason::punt_unsupported}};
    for (const auto& [id, group] : groups_.all()) {
        for (KeptRoutes& kept : all) {
            kept.prefixes += group->content.reason == kept.reason ? group->routes : 0;
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
