// SPDX-License-Identifier: BSD-3-Clause
// Kernel against mirror; mirror against fast path is in audit_fast_path.cpp.
#include "fib_sync/audit_walk.hpp"

#include <fmt/core.h>
#include <linux/neighbour.h>
#include <linux/rtnetlink.h>

#include <algorithm>
#include <utility>

#include "fib_sync/question.hpp"

namespace millrace::sync {
namespace {

// Pieces of some hundred microseconds.
constexpr size_t untold_at_once = 2048;
constexpr size_t questions_at_once = 64;
constexpr size_t judged_at_once = 256;
// More are no coincidence of a busy moment; the rest is found by the next walk.
constexpr size_t suspects_limit = 65536;

bool usable(const std::optional<MacAddress>& mac, uint16_t state) {
    return Neighbor{.mac = mac, .state = state}.usable();
}

std::string neighbour_text(const std::optional<MacAddress>& mac, uint16_t state) {
    return !usable(mac, state) ? "unresolved" : mac ? mac->text() : "resolved";
}

// Flags of a nexthop object's path are state of its link, which is compared by itself.
bool same(NexthopMessage a, const NexthopMessage& b) {
    a.path.flags = b.path.flags;
    return a == b;
}

}  // namespace

std::string_view name(Difference::Where where) {
    return where == Difference::Where::mirror ? "mirror" : "fast path";
}

AuditWalk::AuditWalk(Mirror& mirror, ForwardingSink& sink, KernelQuery& kernel, Options options,
                     Report report)
    : mirror_(mirror),
      sink_(sink),
      kernel_(kernel),
      options_(options),
      report_(std::move(report)),
      random_(std::random_device{}()) {
    mirror_.begin_audit();
    enter(options_.sample ? Stage::sample : Stage::links);
}

void AuditWalk::enter(Stage stage) {
    stage_ = stage;
    dumping_ = dumped_ = interrupted_ = disturbed_ = false;
    done_ = 0;
    told_.clear();
    cursor_.reset();
    scan_cursor_ = 0;
    scan_family_ = Family::ipv4;
    settled_at_.reset();
    if (stage == Stage::judge) {
        mirror_.begin_audit();
    }
}

Result<AuditWalk::Step> AuditWalk::step(uint64_t now) {
    switch (stage_) {
        case Stage::links:
            return compare(DumpKind::links);
        case Stage::neighbours:
            return compare(DumpKind::neighbours);
        case Stage::nexthops:
            return compare(DumpKind::nexthops);
        case Stage::routes4:
            return compare(DumpKind::routes4);
        case Stage::routes6:
            return compare(DumpKind::routes6);
        case Stage::sample:
            return take_sample();
        case Stage::ask_again:
            return ask_again();
        case Stage::routes4_again:
            return look_again(DumpKind::routes4, Family::ipv4);
        case Stage::routes6_again:
            return look_again(DumpKind::routes6, Family::ipv6);
        case Stage::judge:
            return judge();
        case Stage::settle:
            return settle(now);
        case Stage::fast_path:
            return compare_fast_path();
        case Stage::extra:
            return find_extra();
        case Stage::done:
            break;
    }
    return Step::done;
}

AuditWalk::Progress AuditWalk::progress() const {
    const auto routes = [&](Family family) { return sink_.route_count(main_table, family); };
    switch (stage_) {
        case Stage::links:
            return {"links", done_, mirror_.links().all().size()};
        case Stage::neighbours:
            return {"neighbors", done_, mirror_.neighbours().all().size()};
        case Stage::nexthops:
            return {"nexthops", done_, mirror_.nexthops().size()};
        case Stage::routes4:
            return {"IPv4 routes", done_, std::max(done_, uint64_t{routes(Family::ipv4)})};
        case Stage::routes6:
            return {"IPv6 routes", done_, std::max(done_, uint64_t{routes(Family::ipv6)})};
        case Stage::sample:
            return {"sample", done_, options_.sample.value_or(0)};
        case Stage::routes4_again:
            return {"IPv4 routes, second look", done_, std::max(done_, uint64_t{routes(Family::ipv4)})};
        case Stage::routes6_again:
            return {"IPv6 routes, second look", done_, std::max(done_, uint64_t{routes(Family::ipv6)})};
        case Stage::ask_again:
        case Stage::judge:
        case Stage::settle:
            return {"second look", done_, suspects_.size()};
        case Stage::fast_path:
        case Stage::extra:
            return {"fast path", done_, routes(Family::ipv4) + routes(Family::ipv6)};
        case Stage::done:
            break;
    }
    return {"done", 0, 0};
}

void AuditWalk::changed(const Message& message) {
    const auto forget = [this](const Subject& subject) { suspects_.erase(subject); };
    if (const auto* route = std::get_if<RouteMessage>(&message)) {
        disturbed_ = disturbed_ || route->prefix.address.family == Family::ipv6;
        forget(route->prefix);
    } else if (const auto* neighbour = std::get_if<NeighborMessage>(&message)) {
        forget(NeighborKey{neighbour->address, neighbour->ifindex});
    } else if (const auto* nexthop = std::get_if<NexthopMessage>(&message)) {
        forget(nexthop->id);
    } else if (const auto* link = std::get_if<LinkMessage>(&message)) {
        forget(link->ifindex);
    }
}

void AuditWalk::suspect(Subject subject, std::string what) {
    if (suspects_.size() < suspects_limit) {
        suspects_[subject].what = std::move(what);
    }
}

bool AuditWalk::suspected(Family family) const {
    return std::any_of(suspects_.begin(), suspects_.end(), [&](const auto& s) {
        const auto* prefix = std::get_if<Prefix>(&s.first);
        return prefix != nullptr && prefix->address.family == family;
    });
}

Result<AuditWalk::Step> AuditWalk::compare(DumpKind kind) {
    if (!dumped_) {
        if (!dumping_) {
            if (auto started = kernel_.start_dump(kind); !started) {
                return tl::unexpected(started.error());
            }
            dumping_ = true;
        }
        const auto part = kernel_.next([this](const Message& m) { told(m); });
        if (!part) {
            return tl::unexpected(part.error());
        }
        dumped_ = part->last;
        interrupted_ = part->interrupted;
        return Step::worked;
    }
    if (kind == DumpKind::routes6 && !disturbed_ && !kernel_.notifications_read()) {
        return Step::waiting;
    }
    if (auto compared = compare_untold(kind); !compared) {
        return tl::unexpected(compared.error());
    }
    return Step::worked;
}

void AuditWalk::told(const Message& message) {
    ++done_;
    if (const auto* route = std::get_if<RouteMessage>(&message)) {
        if (route->table != main_table && route->table != local_table) {
            return;
        }
        ++(route->prefix.address.family == Family::ipv4 ? counts_.routes4 : counts_.routes6);
        if (!mirror_.confirm(*route)) {
            suspect(route->prefix, {});
        }
        return;
    }
    const auto compare = [&](const KernelQuery::Key& key, uint64_t& count) {
        ++count;
        std::visit([this](const auto& k) { told_.insert(k); }, key);
        if (auto what = difference(key, message)) {
            std::visit([&](const auto& k) { suspect(k, std::move(*what)); }, key);
        }
    };
    if (const auto* neighbour = std::get_if<NeighborMessage>(&message)) {
        compare(NeighborKey{neighbour->address, neighbour->ifindex}, counts_.neighbours);
    } else if (const auto* nexthop = std::get_if<NexthopMessage>(&message)) {
        compare(nexthop->id, counts_.nexthops);
    } else if (const auto* link = std::get_if<LinkMessage>(&message)) {
        compare(link->ifindex, counts_.links);
    }
}

std::optional<std::string> AuditWalk::difference(const KernelQuery::Key& key,
                                                 const std::optional<Message>& message) const {
    const std::string missing = "the kernel has it, the mirror does not";
    const std::string gone = "the kernel has no such thing";
    if (const auto* ifindex = std::get_if<Ifindex>(&key)) {
        const Link* held = mirror_.links().find(*ifindex);
        const auto* link = message ? std::get_if<LinkMessage>(&*message) : nullptr;
        if (held == nullptr || link == nullptr) {
            return held == nullptr && link == nullptr ? std::nullopt
                                                      : std::optional(held == nullptr ? missing : gone);
        }
        return held->state == *link ? std::nullopt : std::optional<std::string>("its state is another one");
    }
    if (const auto* id = std::get_if<NexthopId>(&key)) {
        const auto held = mirror_.nexthops().all().find(*id);
        const auto* nexthop = message ? std::get_if<NexthopMessage>(&*message) : nullptr;
        const bool has = held != mirror_.nexthops().all().end();
        if (!has || nexthop == nullptr) {
            return !has && nexthop == nullptr ? std::nullopt : std::optional(!has ? missing : gone);
        }
        return same(held->second.state, *nexthop) ? std::nullopt
                                                  : std::optional<std::string>("it leads elsewhere");
    }
    const Neighbor* held = mirror_.neighbours().find(std::get<NeighborKey>(key));
    const auto* neighbour = message ? std::get_if<NeighborMessage>(&*message) : nullptr;
    const Neighbor none;
    const Neighbor& mine = held == nullptr ? none : *held;
    const NeighborMessage& its = neighbour == nullptr ? NeighborMessage{} : *neighbour;
    // The kernel makes NOARP entries (multicast, ...) without a message; packets to them are its own.
    if (((mine.state | its.state) & NUD_NOARP) != 0) {
        return std::nullopt;
    }
    const std::string before = neighbour_text(mine.mac, mine.state);
    const std::string after = neighbour_text(its.mac, its.state);
    return before == after ? std::nullopt : std::optional(fmt::format("{}, of the kernel {}", before, after));
}

// What the mirror holds and the dump did not tell.
Status AuditWalk::compare_untold(DumpKind kind) {
    switch (kind) {
        case DumpKind::links:
            compare_untold(mirror_.links().all());
            return {};
        case DumpKind::neighbours:
            compare_untold(mirror_.neighbours().all());
            return {};
        case DumpKind::nexthops:
            compare_untold(mirror_.nexthops().all());
            return {};
        case DumpKind::routes4:
            return compare_untold_routes(Family::ipv4);
        case DumpKind::routes6:
            return compare_untold_routes(Family::ipv6);
        case DumpKind::addresses:
            break;  // the local table has them
    }
    return {};
}

template <class Table>
void AuditWalk::compare_untold(const Table& table) {
    using Key = typename Table::key_type;
    auto at = cursor_ ? table.upper_bound(std::get<Key>(*cursor_)) : table.begin();
    for (size_t i = 0; i < untold_at_once && at != table.end(); ++i, ++at) {
        cursor_ = at->first;
        if (!interrupted_ && !told_.contains(at->first)) {
            if (auto what = difference(at->first, std::nullopt)) {
                suspect(at->first, std::move(*what));
            }
        }
    }
    if (at == table.end()) {
        leave(stage_);
    }
}

// IPv4 routes of the local table are not.
bool AuditWalk::not_dumped(const Prefix& prefix) const {
    const auto entry = mirror_.find_entry(prefix);
    return prefix.address.family == Family::ipv4 && entry && entry->route != nullptr && entry->route->local;
}

Status AuditWalk::compare_untold_routes(Family family) {
    // Just before ::/0. No IPv4 prefix is above it.
    Prefix before6{IpAddress{.family = Family::ipv4, .bytes = {}}, 255};
    before6.address.bytes.fill(0xff);
    const Prefix* after = cursor_ ? &std::get<Prefix>(*cursor_) : family == Family::ipv6 ? &before6 : nullptr;
    const bool ask_for_them = family == Family::ipv6 && disturbed_;
    const auto found = mirror_.unconfirmed(after, ask_for_them ? questions_at_once : untold_at_once);
    for (const Prefix& prefix : found.prefixes) {
        if (prefix.address.family != family) {
            break;
        }
        if (not_dumped(prefix)) {
            continue;
        }
        std::string what;
        if (ask_for_them) {
            const auto answer = ask(prefix, what);
            if (!answer) {
                return tl::unexpected(answer.error());
            }
            if (*answer != Answer::differs) {
                continue;
            }
        }
        suspect(prefix, {});
    }
    if (!found.last || found.last->address.family != family) {
        leave(stage_);
    } else {
        cursor_ = *found.last;
    }
    return {};
}

Result<AuditWalk::Answer> AuditWalk::ask(const Prefix& prefix, std::string& what) {
    const auto entry = mirror_.find_entry(prefix);
    const auto address = question_about(mirror_, prefix);
    // The kernel merges local and main table until there are rules, and does not tell then which one it was.
    // Which route it takes also depends on the source where routes have one, and on the time where they have
    // a lifetime.
    if (!entry || entry->route == nullptr || entry->route->local || !address || mirror_.by_source(prefix) ||
        entry->route->limited) {
        return Answer::unknown;
    }
    const auto answer = kernel_.route_to(*address);
    if (!answer) {
        return tl::unexpected(answer.error());
    }
    if (!*answer) {
        const uint8_t type = entry->route->type;
        const bool refuses = type == RTN_UNREACHABLE || type == RTN_PROHIBIT || type == RTN_BLACKHOLE ||
                             type == RTN_THROW ||
                             entry->route->nexthop != NexthopId{};  // the object may be a blackhole
        what = "the kernel has no such route";
        return refuses ? Answer::unknown : Answer::differs;
    }
    const RouteMessage& route = **answer;
    if (route.table != main_table && route.table != local_table) {
        return Answer::unknown;
    }
    if (prefix.address.family == Family::ipv6 && route.nexthop != NexthopId{}) {
        // Of the routes by one nexthop object, the kernel tells any: the cached route hangs on the object
        // (rt6_get_pcpu_route). Another object may also be that of a longer prefix which is on its way here.
        what = "the kernel has another route";
        return route.nexthop == entry->route->nexthop ? Answer::agrees
               : options_.sample                      ? Answer::differs
                                                      : Answer::unknown;
    }
    if (route.prefix == prefix) {
        what = "the kernel has another route";
        return mirror_.confirm(route) ? Answer::agrees : Answer::differs;
    }
    if (route.prefix.length > prefix.length) {
        what = fmt::format("the kernel also has {}", route.prefix.text());
        return mirror_.confirm(route) || !options_.sample ? Answer::unknown : Answer::differs;
    }
    what = "the kernel has no such route";
    return Answer::differs;
}

// The second look at what is asked for one by one.
Result<AuditWalk::Step> AuditWalk::ask_again() {
    auto at = cursor_ ? suspects_.upper_bound(*cursor_) : suspects_.begin();
    for (size_t i = 0; i < questions_at_once && at != suspects_.end(); ++i) {
        cursor_ = at->first;
        bool keep = true;
        if (const auto* prefix = std::get_if<Prefix>(&at->first)) {
            if (options_.sample) {
                const auto answer = ask(*prefix, at->second.what);
                if (!answer) {
                    return tl::unexpected(answer.error());
                }
                keep = *answer == Answer::differs;
            }
        } else {
            const auto key = at->first.index() == 0   ? KernelQuery::Key(std::get<Ifindex>(at->first))
                             : at->first.index() == 1 ? KernelQuery::Key(std::get<NeighborKey>(at->first))
                                                      : KernelQuery::Key(std::get<NexthopId>(at->first));
            const auto answer = kernel_.get(key);
            if (!answer) {
                return tl::unexpected(answer.error());
            }
            const auto what = difference(key, *answer);
            keep = what.has_value();
            at->second.what = what.value_or("");
        }
        at = keep ? std::next(at) : suspects_.erase(at);
    }
    if (at == suspects_.end()) {
        enter(options_.sample ? Stage::settle : Stage::routes4_again);
    }
    return Step::worked;
}

Result<AuditWalk::Step> AuditWalk::look_again(DumpKind kind, Family family) {
    if (!dumping_) {
        if (!suspected(family)) {
            leave(stage_);
            return Step::worked;
        }
        if (auto started = kernel_.start_dump(kind); !started) {
            return tl::unexpected(started.error());
        }
        dumping_ = true;
    }
    const auto part = kernel_.next([this](const Message& message) {
        ++done_;
        const auto* route = std::get_if<RouteMessage>(&message);
        if (route == nullptr || (route->table != main_table && route->table != local_table)) {
            return;
        }
        if (const auto found = suspects_.find(route->prefix); found != suspects_.end()) {
            found->second.told.push_back(*route);
        }
    });
    if (!part) {
        return tl::unexpected(part.error());
    }
    if (part->last) {
        const bool disturbed = disturbed_;
        leave(stage_);
        disturbed_ = disturbed;  // goes on until the judgement
    }
    return Step::worked;
}

// What the second dumps told of the suspects, against what the mirror holds.
Result<AuditWalk::Step> AuditWalk::judge() {
    if (!kernel_.notifications_read()) {
        return Step::waiting;
    }
    auto at = cursor_ ? suspects_.upper_bound(*cursor_) : suspects_.begin();
    for (size_t i = 0; i < judged_at_once && at != suspects_.end(); ++i) {
        cursor_ = at->first;
        const auto* prefix = std::get_if<Prefix>(&at->first);
        if (prefix == nullptr) {
            ++at;
            continue;
        }
        Suspect& suspect = at->second;
        suspect.what.clear();
        const bool holds = mirror_.find_entry(*prefix).has_value();
        for (const RouteMessage& route : suspect.told) {
            if (!mirror_.confirm(route)) {
                suspect.what =
                    holds ? "the kernel has another route" : "the kernel has it, the mirror does not";
            }
        }
        if (suspect.what.empty() && !mirror_.confirmed(*prefix) && !not_dumped(*prefix)) {
            suspect.what =
                suspect.told.empty() ? "the kernel has no such route" : "the kernel has fewer routes";
            if (prefix->address.family == Family::ipv6 && disturbed_) {
                const auto answer = ask(*prefix, suspect.what);
                if (!answer) {
                    return tl::unexpected(answer.error());
                }
                suspect.what = *answer == Answer::differs ? suspect.what : "";
            }
        }
        at = suspect.what.empty() ? suspects_.erase(at) : std::next(at);
    }
    if (at == suspects_.end()) {
        leave(stage_);
    }
    return Step::worked;
}

AuditWalk::Step AuditWalk::settle(uint64_t now) {
    if (!suspects_.empty()) {
        if (!settled_at_) {
            settled_at_ = now + options_.settle_ms;
        }
        if (now < *settled_at_ || !kernel_.notifications_read()) {
            return Step::waiting;
        }
        for (auto& [subject, suspect] : suspects_) {
            report(Difference::Where::mirror, text(subject), std::move(suspect.what));
        }
        suspects_.clear();
    }
    enter(options_.sample ? Stage::extra : Stage::fast_path);
    return Step::worked;
}

std::string AuditWalk::text(const Subject& subject) const {
    struct Text {
        const Links& links;
        std::string operator()(Ifindex i) const { return "link " + links.name(i); }
        std::string operator()(const NeighborKey& key) const {
            return fmt::format("neighbor {} {}", key.address.text(), links.name(key.ifindex));
        }
        std::string operator()(NexthopId id) const { return fmt::format("nexthop {}", raw(id)); }
        std::string operator()(const Prefix& prefix) const { return prefix.text(); }
    };
    return std::visit(Text{mirror_.links()}, subject);
}

void AuditWalk::report(Difference::Where where, std::string subject, std::string what) {
    ++(where == Difference::Where::mirror ? counts_.in_mirror : counts_.in_fast_path);
    report_({where, std::move(subject), std::move(what)});
}

}  // namespace millrace::sync
