// SPDX-License-Identifier: BSD-3-Clause
#include "fib_sync/sync.hpp"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <utility>

namespace millrace::sync {

std::string_view name(DumpKind kind) {
    constexpr std::string_view names[] = {"links",    "addresses",   "neighbours",
                                          "nexthops", "IPv4 routes", "IPv6 routes"};
    return names[static_cast<size_t>(kind)];
}

std::string_view name(SyncState state) {
    constexpr std::string_view names[] = {"idle", "waiting", "dumping", "synced"};
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
    if (state_ == SyncState::synced) {
        apply_live(message, now);
        return;
    }
    // What is known of links and neighbours holds by itself, so it need not wait for the dump.
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
    if (state_ != SyncState::dumping) {
        return;  // the dump to come tells it
    }
    if (queue_.size() >= options_.queue_limit) {
        ++statistics_.queue_overflows;
        restart(now, "more changes than the queue holds");
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
        // fib_sync_down_addr, and fib_disable_ip after the last one: IPv4 routes go silently.
        if (address->removed && address->address.family == Family::ipv4) {
            schedule(now, "address removed");
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
}

void Sync::end_batch(uint64_t now) {
    if (state_ != SyncState::synced || !uncommitted_) {
        return;
    }
    if (removal_ && !commit_at_) {
        commit_at_ = now + options_.hold_ms;
    }
    removal_ = false;
    if (!commit_at_ || now >= *commit_at_) {
        commit(now);
    }
}

void Sync::commit(uint64_t now) {
    mirror_.commit();
    ++statistics_.commits;
    uncommitted_ = false;
    removal_ = false;
    commit_at_.reset();
    if (mirror_.take_doubt()) {
        ++statistics_.doubts;
        schedule(now, "a change does not fit what the mirror has");
    }
}

void Sync::overrun(uint64_t now) {
    ++statistics_.overruns;
    spdlog::info("netlink: notifications were lost, dumping again");
    if (state_ == SyncState::dumping) {
        restart(now, "notifications were lost");
    } else if (state_ == SyncState::synced) {
        // What the socket still holds is read first, else it runs over again at once.
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
    spdlog::debug("netlink: resync in {} ms: {}", *resync_at_ - now, why);
}

void Sync::begin(uint64_t now) {
    resync_at_.reset();
    commit_at_.reset();
    queue_.clear();
    touched_links_.clear();
    touched_neighbours_.clear();
    began_ = now;
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
    if (const auto* link = std::get_if<LinkMessage>(&message);
        link != nullptr && touched_links_.contains(link->ifindex)) {
        return;
    }
    if (const auto* n = std::get_if<NeighborMessage>(&message);
        n != nullptr && touched_neighbours_.contains({n->ifindex, n->address})) {
        return;
    }
    mirror_.apply(message);
}

void Sync::dump_done(bool interrupted, uint64_t now) {
    if (state_ != SyncState::dumping) {
        return;
    }
    if (interrupted) {
        ++statistics_.interrupted;
        restart(now, "it changed while it was dumped");
    } else if (stage_ == DumpKind::routes6) {
        complete(now);
    } else {
        start_stage(static_cast<DumpKind>(static_cast<unsigned>(stage_) + 1), now);
    }
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
    mirror_.end_resync();
    state_ = SyncState::synced;
    backoff_ms_ = options_.backoff_min_ms;
    ++statistics_.resyncs;
    statistics_.last_duration_ms = now - began_;
    statistics_.last_resync_ms = now;
    for (const Message& message : std::exchange(queue_, {})) {
        apply_live(message, now);
    }
    touched_links_.clear();
    touched_neighbours_.clear();
    commit(now);
    spdlog::debug("netlink: in sync after {} ms", statistics_.last_duration_ms);
}

void Sync::tick(uint64_t now) {
    if (commit_at_ && now >= *commit_at_) {
        commit(now);
    }
    if (state_ == SyncState::dumping) {
        if (now >= last_answer_ + options_.dump_timeout_ms) {
            dump_failed({.what = "no answer"}, now);
        }
    } else if (resync_at_ && now >= *resync_at_) {
        begin(now);
    }
}

std::optional<uint64_t> Sync::deadline() const {
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
