// SPDX-License-Identifier: BSD-3-Clause
#include "fib_sync/sync.hpp"

#include <fmt/core.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <utility>

namespace millrace::sync {

namespace {

constexpr uint64_t progress_period_ms = 2000;  // of a long resync, in the log
constexpr unsigned ipv6_passes = 3;

}  // namespace

std::string_view name(DumpKind kind) {
    constexpr std::string_view names[] = {"links",    "addresses",   "neighbours",
                                          "nexthops", "IPv4 routes", "IPv6 routes"};
    return names[static_cast<size_t>(kind)];
}

std::string_view name(SyncState state) {
    constexpr std::string_view names[] = {"idle", "waiting", "dumping", "applying", "synced"};
    return names[static_cast<size_t>(state)];
}

Sync::Sync(Mirror& mirror, Transport& transport, SyncOptions options)
    : mirror_(mirror), transport_(transport), options_(options), backoff_ms_(options.backoff_min_ms) {}

void Sync::start(uint64_t now) {
    begin(now);
}

std::optional<Message> Sync::understood(std::span<const std::byte> one_message) {
    auto decoded = decode(one_message);
    if (!decoded) {
        ++statistics_.decode_errors;
        spdlog::warn("netlink: {}", decoded.error().text());
        return std::nullopt;
    }
    if (!*decoded) {
        ++statistics_.ignored;
        return std::nullopt;
    }
    return std::move(**decoded);
}

void Sync::notification(std::span<const std::byte> one_message, uint64_t now) {
    if (auto message = understood(one_message)) {
        notification(std::move(*message), now);
    }
}

void Sync::notification(Message message, uint64_t now) {
    ++statistics_.messages;
    if (following()) {
        apply_live(message, now);
        return;
    }
    // What is known of links, neighbours and nexthop objects holds by itself, so it need not wait for the
    // dump.
    if (const auto* link = std::get_if<LinkMessage>(&message)) {
        touched_links_.insert(link->ifindex);
        apply_live(message, now);
        return;
    }
    if (const auto* neighbour = std::get_if<NeighborMessage>(&message)) {
        touched_neighbours_.insert({neighbour->ifindex, neighbour->address});
        apply_live(message, now);
        return;
    }
    if (const auto* nexthop = std::get_if<NexthopMessage>(&message)) {
        touched_nexthops_.insert(nexthop->id);
        apply_live(message, now);
        if (!nexthop->removed) {
            return;
        }
        // Queued too: routes that went with it may be in the dump.
    }
    if (state_ != SyncState::dumping && state_ != SyncState::applying) {
        return;  // the dump to come tells it
    }
    if (const auto* route = std::get_if<RouteMessage>(&message);
        route != nullptr && route->prefix.address.family == Family::ipv6 && stage_ == DumpKind::routes6 &&
        state_ == SyncState::dumping) {
        disturbed6_ = true;
    }
    if (queue_.size() >= options_.queue_limit) {
        ++statistics_.queue_overflows;
        if (state_ == SyncState::dumping) {
            restart(now, "more changes than the queue holds");
        } else {
            schedule(now, "more changes than the queue holds");
        }
        return;
    }
    queue_.push_back(std::move(message));
}

// Changes that take others along without a message.
void Sync::watch(const Message& message, uint64_t now) {
    if (const auto* link = std::get_if<LinkMessage>(&message)) {
        // Down counts also where the mirror knows it from a dump: an older message that adds a route over the
        // link may have been read after that dump, and nothing will take that route back.
        const bool down = link->removed || !link->up || !link->carrier;
        if (down) {
            mirror_.distrust(link->ifindex);
        }
        const Link* known = mirror_.links().find(link->ifindex);
        if (down || (known != nullptr && !(known->state.up && known->state.carrier))) {
            schedule(now, "link state");
        }
    } else if (const auto* address = std::get_if<AddressMessage>(&message)) {
        // fib_sync_down_addr, and fib_disable_ip after the last one: IPv4 routes go silently, or their paths
        // die. So do paths of IPv6 multipath routes where IPv6 is switched off, which takes the link-local
        // address along.
        const bool link_local = address->address.family == Family::ipv6 &&
                                address->address.bytes[0] == 0xfe &&
                                (address->address.bytes[1] & 0xc0) == 0x80;
        if (address->removed && (address->address.family == Family::ipv4 || link_local)) {
            schedule(now, "address removed");
        }
        // fib_sync_up: they live again, without a message too.
        if (!address->removed && mirror_.has_dead_path(address->ifindex)) {
            schedule(now, "address added where next hops are dead");
        }
    } else if (const auto* nexthop = std::get_if<NexthopMessage>(&message)) {
        if (nexthop->removed && mirror_.nexthop_in_use(nexthop->id)) {
            schedule(now, "nexthop object removed under its routes");
        }
    }
}

void Sync::apply_live(const Message& message, uint64_t now) {
    watch(message, now);
    const auto* route = std::get_if<RouteMessage>(&message);
    removal_ = removal_ || (route != nullptr && route->removed);
    mirror_.apply(message);
    uncommitted_ = true;
    if (observer_) {
        observer_(message);
    }
}

void Sync::end_batch(uint64_t now) {
    if (!uncommitted_) {
        return;
    }
    mirror_.commit_objects();
    if (!following()) {
        return;
    }
    if (removal_ && !commit_at_) {
        commit_at_ = now + options_.hold_ms;
    }
    removal_ = false;
    if (!commit_at_ || now >= *commit_at_) {
        work(now);
    }
}

// A queued notification, after the dump.
void Sync::replay(const Message& message, uint64_t now) {
    if (std::holds_alternative<NexthopMessage>(message)) {
        watch(message, now);  // it was applied when it came
    } else {
        apply_live(message, now);
    }
}

// True when the queue is empty.
bool Sync::replay_some(size_t& messages, uint64_t now) {
    for (; messages != 0 && replayed_ < queue_.size(); --messages) {
        if (replayed_ == told_end_) {
            mirror_.end_replay();
        }
        replay(queue_[replayed_++], now);
    }
    if (replayed_ < queue_.size()) {
        return false;
    }
    queue_ = {};
    return true;
}

// A slice of what is to be done for the sink.
void Sync::work(uint64_t now) {
    size_t left = options_.slice;
    busy_ = true;
    if (state_ == SyncState::applying) {
        say_progress(now);
        if (step_ == Step::sweep) {
            if (mirror_.end_resync(left * 16, !disturbed6_)) {
                return;
            }
            step_ = Step::replay;
        }
        if (step_ == Step::replay) {
            if (!replay_some(left, now)) {
                return;
            }
            step_ = Step::commit;
        }
    }
    const bool hold = commit_at_ && now < *commit_at_;
    if (!hold) {
        commit_at_.reset();
        removal_ = false;
    }
    const Mirror::Left rest = mirror_.commit_some(std::max<size_t>(left, 1), hold);
    ++statistics_.commits;
    busy_ = rest == Mirror::Left::more;
    if (rest == Mirror::Left::nothing) {
        uncommitted_ = false;
        if (state_ == SyncState::applying) {
            complete(now);
        }
    }
    if (mirror_.take_doubt()) {
        ++statistics_.doubts;
        schedule(now, "a change does not fit what the mirror has");
    }
}

void Sync::overrun(uint64_t now) {
    ++statistics_.overruns;
    lost_since_ = lost_since_ == 0 ? now : lost_since_;
    spdlog::info("netlink: notifications were lost, dumping again");
    if (state_ == SyncState::dumping) {
        restart(now, "notifications were lost");
    } else if (following() || state_ == SyncState::applying) {
        next_reason_ = "notifications were lost";
        resync_at_ = std::min(resync_at_.value_or(UINT64_MAX), now + options_.coalesce_ms);
    }
}

void Sync::schedule(uint64_t now, std::string_view why) {
    if (resync_at_) {
        return;
    }
    // No more than half of the time goes into dumps, however often links flap.
    const uint64_t rested = statistics_.last_resync_ms + statistics_.last_duration_ms;
    resync_at_ = std::max(now + options_.coalesce_ms, rested);
    next_reason_ = why;
    spdlog::debug("netlink: resync in {} ms: {}", *resync_at_ - now, why);
}

void Sync::begin(uint64_t now) {
    resync_at_.reset();
    commit_at_.reset();
    queue_.clear();
    touched_links_.clear();
    touched_neighbours_.clear();
    touched_nexthops_.clear();
    told_ = {};
    passes6_ = 0;
    disturbed6_ = false;
    began_ = said_ = now;
    route_calls_ = mirror_.route_calls();
    reason_ = next_reason_;
    spdlog::info("netlink: resync: {}", reason_);
    state_ = SyncState::dumping;
    mirror_.begin_resync();
    start_stage(DumpKind::links, now);
}

void Sync::start_stage(DumpKind kind, uint64_t now) {
    stage_ = kind;
    last_answer_ = now;
    if (const Status started = transport_.start_dump(kind); !started) {
        dump_failed(started.error(), now);
    }
}

void Sync::restart(uint64_t now, std::string_view why) {
    transport_.abandon_dump();
    ++statistics_.restarts;
    spdlog::info("netlink: dump of {} given up, again in {} ms: {}", name(stage_), backoff_ms_, why);
    state_ = SyncState::waiting;
    next_reason_ = why;
    queue_.clear();
    resync_at_ = now + backoff_ms_;
    backoff_ms_ = std::min(backoff_ms_ * 2, options_.backoff_max_ms);
}

void Sync::dump_message(std::span<const std::byte> one_message, uint64_t now) {
    if (const auto message = understood(one_message)) {
        dump_message(*message, now);
    }
}

void Sync::dump_message(const Message& message, uint64_t now) {
    if (state_ != SyncState::dumping) {
        return;
    }
    last_answer_ = now;
    ++statistics_.messages;
    ++told_.at(static_cast<size_t>(stage_));
    if (const auto* link = std::get_if<LinkMessage>(&message);
        link != nullptr && touched_links_.contains(link->ifindex)) {
        return;
    }
    if (const auto* n = std::get_if<NeighborMessage>(&message);
        n != nullptr && touched_neighbours_.contains({n->ifindex, n->address})) {
        return;
    }
    if (const auto* n = std::get_if<NexthopMessage>(&message);
        n != nullptr && touched_nexthops_.contains(n->id)) {
        return;
    }
    mirror_.apply(message);
    say_progress(now);
}

void Sync::dump_done(bool interrupted, uint64_t now) {
    if (state_ != SyncState::dumping) {
        return;
    }
    if (interrupted) {
        ++statistics_.interrupted;
        restart(now, "it changed while it was dumped");
    } else if (stage_ == DumpKind::routes6) {
        if (dump_ipv6_again(now)) {
            return;
        }
        state_ = SyncState::applying;
        step_ = Step::sweep;
        replayed_ = 0;
        told_end_ = queue_.size();
        work(now);
    } else {
        start_stage(static_cast<DumpKind>(static_cast<unsigned>(stage_) + 1), now);
    }
}

// Another pass over the IPv6 routes, where the last one may have left some out.
bool Sync::dump_ipv6_again(uint64_t now) {
    if (!disturbed6_ || ++passes6_ == ipv6_passes) {
        return false;
    }
    for (const Message& message : queue_) {
        if (const auto* route = std::get_if<RouteMessage>(&message);
            route != nullptr && route->prefix.address.family == Family::ipv6) {
            mirror_.forget_told(route->prefix);
        }
    }
    disturbed6_ = false;
    told_.at(static_cast<size_t>(DumpKind::routes6)) = 0;
    start_stage(DumpKind::routes6, now);
    return true;
}

void Sync::dump_failed(const Error& error, uint64_t now) {
    if (state_ != SyncState::dumping) {
        return;
    }
    ++statistics_.dump_failures;
    spdlog::warn("netlink: dump of {}: {}", name(stage_), error.text());
    restart(now, error.what);
}

void Sync::complete(uint64_t now) {
    state_ = SyncState::synced;
    lost_since_ = resync_at_ ? lost_since_ : 0;
    backoff_ms_ = options_.backoff_min_ms;
    ++statistics_.resyncs;
    statistics_.last_duration_ms = now - began_;
    statistics_.last_resync_ms = now;
    statistics_.last_told = told_;
    statistics_.last_changed = mirror_.route_calls() - route_calls_;
    statistics_.last_reason = reason_;
    touched_links_.clear();
    touched_neighbours_.clear();
    touched_nexthops_.clear();
    if (mirror_.unswept() != 0) {
        spdlog::info("netlink: {} IPv6 prefixes that no dump told are kept: others changed all the while",
                     mirror_.unswept());
        schedule(now, "IPv6 routes changed while they were dumped");
    }
    const auto told = [this](DumpKind kind) { return told_.at(static_cast<size_t>(kind)); };
    spdlog::info(
        "netlink: in sync after {}.{:03} s: {} IPv4 and {} IPv6 routes, {} nexthops, {} neighbours; {} prefixes "
        "changed",
        statistics_.last_duration_ms / 1000, statistics_.last_duration_ms % 1000, told(DumpKind::routes4),
        told(DumpKind::routes6), told(DumpKind::nexthops), told(DumpKind::neighbours),
        statistics_.last_changed);
}

void Sync::tick(uint64_t now) {
    if (busy_ || (commit_at_ && now >= *commit_at_ && following())) {
        work(now);
    }
    if (state_ == SyncState::dumping) {
        if (now >= last_answer_ + options_.dump_timeout_ms) {
            dump_failed({.what = "no answer"}, now);
        }
        return;
    }
    // What notifications have told is in force first.
    const bool settled =
        state_ == SyncState::waiting || (state_ == SyncState::synced && !busy_ && !commit_at_);
    if (resync_at_ && now >= *resync_at_ && settled) {
        begin(now);
    }
}

Progress Sync::progress() const {
    if (state_ == SyncState::applying) {
        const auto [done, total] = mirror_.commit_progress();
        return {.running = true,
                .applying = true,
                .stage = stage_,
                .done = done,
                .total = total,
                .began_ms = began_,
                .reason = reason_};
    }
    if (state_ != SyncState::dumping) {
        return {};
    }
    const auto stage = static_cast<size_t>(stage_);
    return {.running = true,
            .applying = false,
            .stage = stage_,
            .done = told_.at(stage),
            .total = statistics_.last_told.at(stage),
            .began_ms = began_,
            .reason = reason_};
}

void Sync::say_progress(uint64_t now) {
    if (now < said_ + progress_period_ms) {
        return;
    }
    said_ = now;
    const Progress p = progress();
    const std::string of = p.total == 0 ? "" : fmt::format(" of {}", p.total);
    spdlog::info("netlink: resync: {} {}{}", p.applying ? "applying" : name(p.stage), p.done, of);
}

std::optional<uint64_t> Sync::deadline() const {
    if (busy_) {
        return 0;
    }
    std::optional<uint64_t> at = commit_at_;
    const auto sooner = [&at](uint64_t t) { at = at ? std::min(*at, t) : t; };
    if (state_ == SyncState::dumping) {
        sooner(last_answer_ + options_.dump_timeout_ms);
    } else if (resync_at_) {
        sooner(*resync_at_);
    }
    return at;
}

}  // namespace millrace::sync
