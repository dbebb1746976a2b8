// SPDX-License-Identifier: BSD-3-Clause
#include "fib_sync/metrics.hpp"

#include <memory>
#include <string>

namespace millrace::sync {

namespace {

constexpr std::array families = {Family::ipv4, Family::ipv6};
constexpr double ms_per_s = 1e3;
constexpr double us_per_s = 1e6;

struct Number {
    std::string_view name;
    std::string_view help;
    double (*read)(const FibSync&);
    MetricKind kind = MetricKind::counter;
};

double seconds(uint64_t ms) {
    return static_cast<double>(ms) / ms_per_s;
}

double number(uint64_t n) {
    return static_cast<double>(n);
}

constexpr Number numbers[] = {
    // The mirror: Statistics.
    {"millrace_sync_messages_total", "Messages of the kernel that were understood, notifications and dumps",
     [](const FibSync& s) { return number(s.statistics().messages); }},
    {"millrace_sync_ignored_messages_total", "Messages of kinds or families that the mirror does not follow",
     [](const FibSync& s) { return number(s.statistics().ignored); }},
    {"millrace_sync_decode_errors_total", "Malformed messages",
     [](const FibSync& s) { return number(s.statistics().decode_errors); }},
    {"millrace_sync_resyncs_total", "Resyncs that were completed",
     [](const FibSync& s) { return number(s.statistics().resyncs); }},
    {"millrace_sync_restarts_total", "Attempts of a resync that were given up",
     [](const FibSync& s) { return number(s.statistics().restarts); }},
    {"millrace_sync_overruns_total", "Times that the kernel could not deliver notifications",
     [](const FibSync& s) { return number(s.statistics().overruns); }},
    {"millrace_sync_interrupted_dumps_total", "Dumps during which their table changed",
     [](const FibSync& s) { return number(s.statistics().interrupted); }},
    {"millrace_sync_dump_failures_total", "Dumps that the kernel refused or did not answer",
     [](const FibSync& s) { return number(s.statistics().dump_failures); }},
    {"millrace_sync_queue_overflows_total",
     "Resyncs during which more notifications came than there is room for",
     [](const FibSync& s) { return number(s.statistics().queue_overflows); }},
    {"millrace_sync_doubts_total", "Changes that only a new dump can settle",
     [](const FibSync& s) { return number(s.statistics().doubts); }},
    {"millrace_sync_commits_total", "Batches of changes given to the fast path",
     [](const FibSync& s) { return number(s.statistics().commits); }},
    {"millrace_sync_last_resync_duration_seconds", "Of the last resync that was completed",
     [](const FibSync& s) { return seconds(s.statistics().last_duration_ms); }, MetricKind::gauge},
    {"millrace_sync_synced", "1: the fast path has had a whole table",
     [](const FibSync& s) { return s.synced() ? 1.0 : 0.0; }, MetricKind::gauge},
    {"millrace_sync_resync_running", "1: a resync is under way",
     [](const FibSync& s) { return s.progress().running ? 1.0 : 0.0; }, MetricKind::gauge},
    {"millrace_sync_behind_seconds",
     "How long the mirror has lacked what the kernel told: lost, or not readable",
     [](const FibSync& s) {
         const uint64_t since = s.behind_since_ms();
         return since == 0 ? 0.0 : seconds(FibSync::now_ms() - since);
     },
     MetricKind::gauge},
    // What it holds.
    {"millrace_mirror_prefixes", "Prefixes that the kernel has routes for",
     [](const FibSync& s) { return number(s.mirror().rib().table().size()); }, MetricKind::gauge},
    {"millrace_mirror_groups", "Nexthop groups of the mirror",
     [](const FibSync& s) { return number(s.mirror().groups().all().size()); }, MetricKind::gauge},
    {"millrace_mirror_adjacencies", "Next hops in use",
     [](const FibSync& s) { return number(s.mirror().groups().adjacencies().size()); }, MetricKind::gauge},
    {"millrace_mirror_nexthop_objects", "Nexthop objects of the kernel",
     [](const FibSync& s) { return number(s.mirror().nexthops().size()); }, MetricKind::gauge},
    {"millrace_neighbors", "Neighbour entries of the kernel that are followed",
     [](const FibSync& s) { return number(s.mirror().neighbours().all().size()); }, MetricKind::gauge},
    {"millrace_neighbor_requests_total", "Requests to the kernel to resolve or keep a neighbour",
     [](const FibSync& s) { return number(s.neighbour_care().requested()); }},
    {"millrace_neighbor_requests_refused_total", "Of those, refused",
     [](const FibSync& s) { return number(s.neighbour_writer().refused()); }},
    // The audit: AuditStatistics.
    {"millrace_audit_walks_total", "Comparisons of kernel, mirror and fast path that were completed",
     [](const FibSync& s) { return number(s.audit().statistics().walks); }},
    {"millrace_audit_failures_total", "Comparisons that the kernel did not answer",
     [](const FibSync& s) { return number(s.audit().statistics().failures); }},
    {"millrace_audit_checked_total", "Routes and prefixes that were compared",
     [](const FibSync& s) { return number(s.audit().statistics().checked); }},
    {"millrace_audit_differences_total", "Differences that were found",
     [](const FibSync& s) { return number(s.audit().statistics().differences); }},
    {"millrace_audit_repaired_total", "Differences that were repaired",
     [](const FibSync& s) { return number(s.audit().statistics().repaired); }},
    {"millrace_audit_cpu_seconds_total", "CPU time of the comparisons in the background",
     [](const FibSync& s) { return number(s.audit().statistics().cpu_us) / us_per_s; }},
    {"millrace_audit_last_walk_duration_seconds", "Of the last comparison in the background",
     [](const FibSync& s) { return seconds(s.audit().statistics().last_walk_ms); }, MetricKind::gauge},
};

}  // namespace

const PrefixCounts::Counts* PrefixCounts::step() {
    const auto& all = mirror_.groups().all();
    auto at = last_ ? all.upper_bound(*last_) : all.begin();
    if (!last_) {
        under_way_ = {.by_outcome = {},
                      .kept = {{.reason = Reason::punt_encapsulation}, {.reason = Reason::punt_unsupported}}};
    }
    for (size_t i = 0; i < groups_a_step_ && at != all.end(); ++i, ++at) {
        const Groups::Group& group = *at->second;
        const auto outcome = static_cast<size_t>(outcome_of(mirror_.groups().effective_reason(group)));
        for (size_t f = 0; f < families.size(); ++f) {
            under_way_.by_outcome.at(f).at(outcome) += group.routes(families.at(f));
        }
        for (KeptRoutes& kept : under_way_.kept) {
            kept.prefixes += group.content.reason == kept.reason ? group.routes() : 0;
        }
        last_ = at->first;
    }
    if (at == all.end()) {
        whole_ = under_way_;
        last_.reset();
    }
    return whole_ ? &*whole_ : nullptr;
}

void add_metrics(MetricRegistry& registry, const FibSync& sync) {
    for (const Number& n : numbers) {
        registry.add(n.name, n.help, n.kind, MetricThread::control,
                     [&sync, read = n.read] { return read(sync); });
    }
    // The first of the two takes the step for both.
    const auto counts = std::make_shared<PrefixCounts>(sync.mirror());
    const auto last = std::make_shared<const PrefixCounts::Counts*>(nullptr);
    registry.add({.name = "millrace_prefixes",
                  .help = "Prefixes by what the fast path does with their packets",
                  .thread = MetricThread::control,
                  .labels = {"family", "outcome"},
                  .collect = [counts, last](MetricSamples& out) {
                      *last = counts->step();
                      for (size_t f = 0; *last != nullptr && f < families.size(); ++f) {
                          for (size_t o = 0; o < outcome_count; ++o) {
                              out.push_back({{std::string(family_name(families.at(f))),
                                              std::string(name(static_cast<Outcome>(o)))},
                                             number((*last)->by_outcome.at(f).at(o))});
                          }
                      }
                  }});
    registry.add({.name = "millrace_kept_routes",
                  .help = "Prefixes of routes that the fast path can't express, left to the kernel",
                  .thread = MetricThread::control,
                  .labels = {"reason"},
                  .collect = [last](MetricSamples& out) {
                      if (*last != nullptr) {
                          for (const KeptRoutes& kept : (*last)->kept) {
                              out.push_back({{std::string(name(kept.reason))}, number(kept.prefixes)});
                          }
                      }
                  }});
}

}  // namespace millrace::sync
