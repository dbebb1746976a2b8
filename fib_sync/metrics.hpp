// SPDX-License-Identifier: BSD-3-Clause
// What the mirror, the audit and the care of neighbours count, as metrics of the control thread.
#pragma once

#include <array>
#include <cstdint>
#include <optional>

#include "fib_sync/fib_sync.hpp"
#include "fib_sync/show_words.hpp"
#include "millrace/metric.hpp"

namespace millrace::sync {

// sync outlives the registry's use.
void add_metrics(MetricRegistry& registry, const FibSync& sync);

// How many prefixes do what. Where there are many groups, some thousands are looked at in each step, so that
// no step takes long: a whole round that took several is of no single moment. Control thread.
class PrefixCounts {
  public:
    struct Counts {
        std::array<std::array<uint64_t, outcome_count>, 2> by_outcome{};  // IPv4, IPv6
        std::vector<KeptRoutes> kept;                                     // as Mirror::kept_routes()
    };
    // mirror outlives it.
    explicit PrefixCounts(const Mirror& mirror, size_t groups_a_step = 4096)
        : mirror_(mirror), groups_a_step_(groups_a_step) {}
    // The last whole round, which this step may have ended; nullptr: there was none yet.
    const Counts* step();

  private:
    const Mirror& mirror_;
    size_t groups_a_step_;
    std::optional<Groups::Key> last_;
    Counts under_way_;
    std::optional<Counts> whole_;
};

}  // namespace millrace::sync
