// SPDX-License-Identifier: BSD-3-Clause
// Which member of a nexthop group each bucket belongs to: weighted rendezvous hashing. Every member draws a
// number for every bucket from its own key, and the best one, by weight, has the bucket. So the layout
// depends on the members alone:
// - of those that stay, none gains or loses a bucket to another when one goes, comes or changes its weight;
// - this holds between two groups too (FRR moves a prefix to another group when a path of it goes);
// - a restart changes nothing, and two routers in a row do not choose alike, since their next hops differ.
#pragma once

#include <cstdint>
#include <span>

#include "millrace/sink.hpp"

namespace millrace::dataplane {

// The same for every group, or the layouts of two groups would have nothing in common. Shares err by about
// 0.35 % of the flows (one standard deviation) with this many.
inline constexpr uint32_t buckets_per_group = 8192;

// members: at least one; one adjacency given twice counts with both weights. owners: of buckets_per_group,
// each set to the adjacency's id, in one store. Control thread.
void lay_out(std::span<const GroupMember> members, uint32_t* owners);

}  // namespace millrace::dataplane
