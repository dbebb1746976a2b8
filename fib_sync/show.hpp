// SPDX-License-Identifier: BSD-3-Clause
// What the mirror holds, as rows for the operator. Each source keeps the key of its last row and goes on
// behind it, so that a table may change, and be as long as it likes, while it is shown. Control thread only;
// the mirror outlives openers and sources.
#pragma once

#include "fib_sync/fib_sync.hpp"
#include "fib_sync/mirror.hpp"
#include "millrace/rows.hpp"

namespace millrace::sync {

// Prefixes in force in the fast path; the arguments are parse_route_filter's.
// {"family","prefix","outcome","reason","protocol","metric","nexthop_id","group","via":[...]}
// With count = true, instead of them one row for each family that can match: {"family","routes"} and a number
// for each outcome. At once, however long the table, unless it depends on prefixes or protocols.
[[nodiscard]] RowOpener show_routes(const Mirror& mirror);

// Groups in force. {"group","nexthop_id","outcome","reason","members":[...],"routes"}
[[nodiscard]] RowOpener show_nexthops(const Mirror& mirror);

// {"address","interface","mac","state","usable","host_route","care"}; care = who keeps the entry for the fast
// path: "managed" (the kernel, since we asked it to), "refreshed" (we do), null. Argument: family.
[[nodiscard]] RowOpener show_neighbors(const Mirror& mirror, const NeighbourCare& care);

// One row: the state, the counters of Statistics, and how much the mirror holds. "resync": the one under way,
// {"reason","stage","done","expected" (null = not known),"running_ms"}, or null; "last_resync":
// {"reason","duration_ms","ago_ms","told":{table: messages},"changed" (prefixes)}, or null.
// "audit_progress": of the walk under way, {"what","done","total" (0 = not known)}, or null.
[[nodiscard]] RowOpener show_sync(const FibSync& sync);

}  // namespace millrace::sync
