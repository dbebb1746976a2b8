// SPDX-License-Identifier: BSD-3-Clause
// Prefixes whose route has a lifetime, or may hide another: what lifetimes.hpp finds out about them, and what
// follows for the sink.
#include <linux/rtnetlink.h>

#include "fib_sync/mirror.hpp"

namespace millrace::sync {

void Mirror::note_limited(const Prefix& prefix, const Route* best) {
    if (best == nullptr || !best->limited || best->local) {
        if (!limited_.empty()) {
            limited_.erase(prefix);
        }
    } else if (limited_.size() < limited_most) {
        limited_.try_emplace(prefix);
    }
}

bool Mirror::may_have_ended(const Prefix& prefix, const Route& best) const {
    if (!best.limited) {
        return false;
    }
    const auto found = limited_.find(prefix);
    return found == limited_.end() || found->second.until == 0 || found->second.stale;
}

void Mirror::trust(const Prefix& prefix, uint64_t until) {
    Limited& limited = limited_.at(prefix);
    if (limited.until == 0 || limited.stale) {
        mark(prefix, *rib_.find(prefix));
        uncommitted_ = true;
    }
    limited.until = until;
    limited.stale = false;
}

void Mirror::no_end(const Prefix& prefix) {
    PrefixEntry& entry = *rib_.find(prefix);
    rib_.set_limited(prefix, entry, false);
    mark(prefix, entry);
    uncommitted_ = true;
}

void Mirror::may_end(const Prefix& prefix) {
    PrefixEntry* entry = rib_.find(prefix);
    const Route* best = entry == nullptr ? nullptr : rib_.best(prefix, *entry);
    // Of routes by nexthop objects the kernel does not tell the prefix right.
    if (best != nullptr && !best->limited && best->nexthop == NexthopId{}) {
        rib_.set_limited(prefix, *entry, true);
        mark(prefix, *entry);
        uncommitted_ = true;
    }
}

// The last hundredth of a second of a lifetime, and the first one behind it, are told as none. Of the routes
// of routing daemons none has one.
//
// fib6_dump_node goes from a multipath route's first path to its last one; what a notification told of a
// route between them is remembered (Rib::untold), but there may be one from before.
void Mirror::suspect(const RouteMessage& dumped) {
    if (dumped.prefix.address.family != Family::ipv6 || dumped.table != main_table ||
        dumped.nexthop != NexthopId{} || suspects_.size() >= limited_most) {
        return;
    }
    const bool hides = dumped.paths.size() > 1;
    const bool ends = dumped.lifetime_ms == 0 && dumped.protocol <= RTPROT_STATIC;
    if (hides || ends) {
        suspects_.insert_or_assign(dumped.prefix,
                                   Suspect{.questions = ends ? 3U : 1U, .dumped = true, .hides = hides});
    }
}

void Mirror::found_hidden(const RouteMessage& m) {
    const PrefixEntry* entry = rib_.find(m.prefix);
    const Route* best = entry == nullptr ? nullptr : rib_.best(m.prefix, *entry);
    // Of another metric it is on its way here, as a path of the multipath route would be.
    const bool path = m.protocol != RTPROT_RA && !m.paths.empty() && m.paths.front().gateway.has_value();
    if (best == nullptr || best->local || best->metric != m.metric || m.table != main_table ||
        m.paths.size() != 1 || path) {
        return;
    }
    RouteMessage beside = m;
    beside.exclusive = beside.replace = beside.append = false;
    apply_one(beside);
    uncommitted_ = true;
}

// Outside of a commit, since it can't wait for the end of a dump; to punt is right at any time.
void Mirror::let_end(const Prefix& prefix) {
    limited_.at(prefix).until = 0;
    PrefixEntry* entry = rib_.find(prefix);
    if (entry == nullptr || entry->group == Groups::Handle{}) {
        return;
    }
    set_group(prefix, *entry,
              groups_.with_content({.reason = Reason::punt_unsupported, .hops = {}, .glean = {}}).handle);
    const Ifindex glean = rib_.glean(prefix);
    if (glean == Ifindex{}) {
        return;
    }
    rib_.set_glean(prefix, *entry, {});
    neighbours_.within(prefix, [&](const NeighborKey& key, const Neighbor&) {
        const Prefix host = Prefix::make(key.address, address_bits(key.address.family));
        PrefixEntry* below = rib_.find(host);
        if (key.ifindex == glean && below != nullptr && !below->has_route()) {
            set_group(host, *below, {});
            host_marks_.insert(key.address);
            uncommitted_ = true;
        }
    });
    sink_.commit();
}

}  // namespace millrace::sync
