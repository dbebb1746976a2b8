// SPDX-License-Identifier: BSD-3-Clause
// Mirror against fast path. Both change on this thread alone.
#include <fmt/core.h>

#include <numeric>
#include <utility>

#include "fib_sync/audit_walk.hpp"

namespace millrace::sync {
namespace {

// Pieces of some hundred microseconds.
constexpr size_t entries_at_once = 256;
constexpr size_t scanned_at_once = 8192;
constexpr size_t sampled_at_once = 32;

size_t prefixes_of(const Mirror& mirror, Family family) {
    const auto& groups = mirror.groups().all();
    return std::accumulate(groups.begin(), groups.end(), size_t{0},
                           [&](size_t sum, const auto& group) { return sum + group.second->routes(family); });
}

}  // namespace

void AuditWalk::check_fast_path(const Prefix& prefix, GroupId group, const Prefix* next) {
    ++counts_.prefixes;
    // Of the prefixes that begin at an address, which come in order, the last is the longest that covers it.
    const bool longest = next == nullptr || next->address != prefix.address;
    const auto right = [&] {
        return sink_.find_route(main_table, prefix) == group &&
               (!longest || sink_.lookup_route(main_table, prefix.address) == group);
    };
    if (right()) {
        return;
    }
    const auto found = sink_.find_route(main_table, prefix);
    const GroupId used =
        found == group ? sink_.lookup_route(main_table, prefix.address) : found.value_or(no_route);
    mirror_.restate(prefix);
    const bool repaired = right();
    if (found == group && used == no_room && !repaired) {
        ++counts_.without_room;  // the table is full, and its own alarm has said so
        return;
    }
    counts_.repaired += repaired ? 1 : 0;
    report(Difference::Where::fast_path, prefix.text(),
           !found           ? "missing"
           : found != group ? fmt::format("leads to group {} instead of {}", raw(used), raw(group))
                            : fmt::format("its packets find group {} instead of {}", raw(used), raw(group)));
}

AuditWalk::Step AuditWalk::compare_fast_path() {
    const auto after = cursor_ ? std::optional(std::get<Prefix>(*cursor_)) : std::nullopt;
    auto entry = mirror_.next_entry(after ? &*after : nullptr);
    for (size_t i = 0; i < entries_at_once && entry; ++i) {
        const auto next = mirror_.next_entry(&entry->first);
        check_fast_path(entry->first, entry->second.group->id, next ? &next->first : nullptr);
        cursor_ = entry->first;
        ++done_;
        entry = next;
    }
    if (!entry) {
        enter(Stage::extra);
    }
    return Step::worked;
}

// Prefixes of the fast path that are not in the mirror: they are looked for where there must be some.
AuditWalk::Step AuditWalk::find_extra() {
    const bool needed = scan_cursor_ != 0 ||
                        sink_.route_count(main_table, scan_family_) != prefixes_of(mirror_, scan_family_);
    std::vector<Prefix> extra;
    if (needed) {
        scan_cursor_ = sink_.scan_routes(main_table, scan_family_, scan_cursor_, scanned_at_once,
                                         [&](const Prefix& prefix, GroupId) {
                                             if (!mirror_.find_entry(prefix)) {
                                                 extra.push_back(prefix);
                                             }
                                         });
    }
    for (const Prefix& prefix : extra) {
        mirror_.restate(prefix);
        counts_.repaired += sink_.find_route(main_table, prefix) ? 0 : 1;
        report(Difference::Where::fast_path, prefix.text(), "not in the mirror");
    }
    if (scan_cursor_ == 0) {
        if (scan_family_ == Family::ipv6) {
            enter(Stage::done);
            return Step::done;
        }
        scan_family_ = Family::ipv6;
    }
    return Step::worked;
}

// First the prefixes are picked, in a pass over the fast path, then looked at one by one.
Result<AuditWalk::Step> AuditWalk::take_sample() {
    const size_t wanted = *options_.sample;
    if (!dumped_) {
        scan_cursor_ = sink_.scan_routes(main_table, scan_family_, scan_cursor_, scanned_at_once,
                                         [&](const Prefix& prefix, GroupId) {
                                             ++seen_;
                                             if (sample_.size() < wanted) {
                                                 sample_.push_back(prefix);
                                             } else if (const size_t at = random_() % seen_; at < wanted) {
                                                 sample_[at] = prefix;
                                             }
                                         });
        dumped_ = scan_cursor_ == 0 && scan_family_ == Family::ipv6;
        if (const auto first = dumped_ ? mirror_.next_entry(nullptr) : std::nullopt) {
            const auto second = mirror_.next_entry(&first->first);  // it is behind none
            check_fast_path(first->first, first->second.group->id, second ? &second->first : nullptr);
        }
        scan_family_ = scan_cursor_ == 0 ? Family::ipv6 : scan_family_;
        return Step::worked;
    }
    for (size_t i = 0; i < sampled_at_once && !sample_.empty(); ++i) {
        const Prefix prefix = sample_.back();
        sample_.pop_back();
        ++done_;
        // The one behind it too: so those are met that the fast path does not have.
        const auto next = mirror_.next_entry(&prefix);
        if (const auto entry = mirror_.find_entry(prefix)) {
            check_fast_path(prefix, entry->group->id, next ? &next->first : nullptr);
        }
        if (next) {
            const auto second = mirror_.next_entry(&next->first);
            check_fast_path(next->first, next->second.group->id, second ? &second->first : nullptr);
        }
        std::string what;
        const auto answer = ask(prefix, what);
        if (!answer) {
            return tl::unexpected(answer.error());
        }
        ++(prefix.address.family == Family::ipv4 ? counts_.routes4 : counts_.routes6);
        counts_.not_asked += *answer == Answer::unknown ? 1 : 0;
        if (*answer == Answer::differs) {
            suspect(prefix, std::move(what));
        }
    }
    if (sample_.empty()) {
        enter(Stage::ask_again);
    }
    return Step::worked;
}

}  // namespace millrace::sync
