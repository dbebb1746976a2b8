// SPDX-License-Identifier: BSD-3-Clause
#include "fib_sync/audit.hpp"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <ctime>
#include <thread>
#include <utility>

namespace millrace::sync {
namespace {

constexpr uint64_t logged_a_walk = 20;
constexpr size_t kept_differences = 1000;
constexpr uint64_t work_at_once_us = 2000;
constexpr uint64_t wait_ms = 10;                      // in the background, until it is worth looking again
constexpr auto nap = std::chrono::microseconds(500);  // while there is nothing to do but to wait

}  // namespace

uint64_t AuditOptions::thread_cpu_us() {
    timespec t{};
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return static_cast<uint64_t>(t.tv_sec) * 1'000'000 + static_cast<uint64_t>(t.tv_nsec) / 1000;
}

Audit::Audit(Mirror& mirror, ForwardingSink& sink, Sync& sync, KernelQuery& kernel, AuditOptions options)
    : mirror_(mirror), sink_(sink), sync_(sync), kernel_(kernel), options_(std::move(options)) {
    sync_.observe([this](const Message& message) { changed(message); });
}

// What is compared would be half of an old table and half of a new one.
bool Audit::busy() const {
    return sync_.state() != SyncState::synced || sync_.resync_pending() || sync_.busy();
}

void Audit::changed(const Message& message) {
    if (*verification_ != nullptr) {
        (*verification_)->walk_->changed(message);
    } else if (walk_ != nullptr) {
        walk_->changed(message);
    }
}

std::unique_ptr<AuditWalk> Audit::begin(std::optional<size_t> sample, std::vector<Difference>* found) {
    AuditWalk::Options options = options_.walk;
    options.sample = sample;
    logged_ = 0;
    resyncs_ = sync_.statistics().resyncs;
    return std::make_unique<AuditWalk>(mirror_, sink_, kernel_, options, [this, found](const Difference& d) {
        note(d);
        if (found != nullptr && found->size() < kept_differences) {
            found->push_back(d);
        }
    });
}

void Audit::note(const Difference& d) {
    ++statistics_.differences;
    if (++logged_ <= logged_a_walk) {
        spdlog::warn("audit: {}: {}: {}; {}", d.subject, name(d.where), d.what,
                     d.where == Difference::Where::mirror ? "a resync repairs it" : "repaired");
    }
}

void Audit::note_piece(uint64_t us) {
    statistics_.longest_piece_us = std::max(statistics_.longest_piece_us, us);
}

Result<AuditWalk::Step> Audit::step(AuditWalk& walk, uint64_t now) {
    if (busy()) {
        return AuditWalk::Step::waiting;
    }
    if (const uint64_t resyncs = sync_.statistics().resyncs; std::exchange(resyncs_, resyncs) != resyncs) {
        walk.resynced();
    }
    auto stepped = walk.step(now);
    if (stepped && *stepped == AuditWalk::Step::done) {
        finish(walk, now);
    }
    return stepped;
}

void Audit::finish(const AuditWalk& walk, uint64_t now) {
    const AuditCounts& counts = walk.counts();
    ++statistics_.walks;
    statistics_.checked += counts.routes4 + counts.routes6 + counts.prefixes;
    statistics_.repaired += counts.repaired;
    statistics_.without_room = counts.without_room;
    if (logged_ > logged_a_walk) {
        spdlog::warn("audit: {} more differences", logged_ - logged_a_walk);
    }
    if (counts.in_mirror != 0) {
        repairing_ += counts.in_mirror;
        sync_.request_resync(now, "the audit found a difference");
    }
    spdlog::debug("audit: {} IPv4 and {} IPv6 routes, {} prefixes of the fast path: {} differences",
                  counts.routes4, counts.routes6, counts.prefixes, counts.differences());
}

void Audit::tick(uint64_t now) {
    if (repairing_ != 0 && !busy()) {
        statistics_.repaired += std::exchange(repairing_, 0);
    }
    if (*verification_ != nullptr || options_.cpu_share <= 0 || now < next_piece_) {
        return;
    }
    if (busy()) {
        next_piece_ = now + wait_ms;
        return;
    }
    const uint64_t before = options_.cpu_us();
    if (walk_ == nullptr) {
        walk_ = begin(std::nullopt, nullptr);
        began_ = now;
    }
    const auto stepped = step(*walk_, now);
    const uint64_t used = options_.cpu_us() - before;
    statistics_.cpu_us += used;
    note_piece(used);
    next_piece_ =
        now + static_cast<uint64_t>(std::ceil(static_cast<double>(used) / options_.cpu_share / 1000));
    if (!stepped) {
        ++statistics_.failures;
        spdlog::warn("audit: {}", stepped.error().text());
        walk_.reset();
        next_piece_ = now + options_.retry_ms;
    } else if (*stepped == AuditWalk::Step::waiting) {
        next_piece_ = std::max(next_piece_, now + wait_ms);
    } else if (*stepped == AuditWalk::Step::done) {
        statistics_.last_walk_ms = now - began_;
        statistics_.last_walk_end = now;
        walk_.reset();
        next_piece_ += options_.rest_ms;
    }
}

uint64_t Audit::deadline() const {
    return *verification_ != nullptr || options_.cpu_share <= 0 ? UINT64_MAX : next_piece_;
}

std::optional<AuditWalk::Progress> Audit::progress() const {
    if (*verification_ != nullptr) {
        return (*verification_)->progress();
    }
    return walk_ != nullptr ? std::optional(walk_->progress()) : std::nullopt;
}

Result<std::unique_ptr<Audit::Verification>> Audit::verify(std::optional<size_t> sample) {
    if (*verification_ != nullptr) {
        return fail("another 'millrace verify' is under way");
    }
    if (sync_.statistics().resyncs == 0) {
        return fail("the mirror is not complete yet; wait until 'millrace show sync' says synced");
    }
    walk_.reset();
    std::unique_ptr<Verification> verification(new Verification(*this));
    verification->walk_ = begin(sample, &verification->differences_);
    *verification_ = verification.get();
    return verification;
}

Audit::Verification::~Verification() {
    *slot_ = nullptr;
}

Result<bool> Audit::Verification::work(uint64_t now) {
    const uint64_t begin = audit_.options_.cpu_us();
    uint64_t at = begin;
    do {
        const auto stepped = audit_.step(*walk_, now);
        if (!stepped) {
            return tl::unexpected(stepped.error());
        }
        if (*stepped == AuditWalk::Step::done) {
            return true;
        }
        if (*stepped == AuditWalk::Step::waiting) {
            std::this_thread::sleep_for(nap);
            break;
        }
        const uint64_t now_us = audit_.options_.cpu_us();
        audit_.note_piece(now_us - at);
        at = now_us;
    } while (at - begin < work_at_once_us);
    return false;
}

}  // namespace millrace::sync
