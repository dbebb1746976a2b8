// SPDX-License-Identifier: BSD-3-Clause
// What the operator may ask of the audit. Control thread only; what is given outlives openers and sources.
#pragma once

#include "fib_sync/fib_sync.hpp"
#include "millrace/rows.hpp"

namespace millrace::sync {

// Compares kernel, mirror and fast path at once. Argument: sample = compare so many prefixes only.
// Rows, by "kind":
//   {"kind":"progress","what":"IPv4 routes","done","total"}            several a second; total about, 0 = not
//   known
//   {"kind":"difference","subject":"192.0.2.0/24","where":"fast path" | "mirror","what"}   the first thousand
//   {"kind":"summary","routes4","routes6","nexthops","neighbors","links","prefixes","differences","without_room",
//    "not_asked","seconds"}                                            the last
[[nodiscard]] RowOpener verify(FibSync& sync);

// For drills: makes a difference that nothing but an audit finds. Arguments: prefix, and kind =
//   fib | fib-group         the fast path loses the prefix, or does with it as with another one
//   mirror | mirror-route   the mirror loses its route, or takes it for a blackhole
// Row: {"planted": "what"}
[[nodiscard]] RowOpener plant(FibSync& sync);

}  // namespace millrace::sync
