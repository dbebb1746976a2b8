// SPDX-License-Identifier: BSD-3-Clause
#include "dataplane/daemon/liveness.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <utility>

namespace millrace::dataplane {

namespace {
// One round may have begun before.
constexpr uint64_t whole_round = 2;
}  // namespace

Liveness::Liveness(Options options)
    : options_(std::move(options)),
      workers_(options_.cores.size()),
      waited_(options_.cores.size()),
      starved_(options_.ports),
      states_(options_.ports),
      pulses_(options_.ports) {}

void Liveness::take(const Seen& seen) {
    const auto move = [&](Part& part, uint64_t count) {
        if (part.count != count || part.moved_ns == 0) {
            part = {count, seen.now_ns};
        }
    };
    for (size_t w = 0; w < workers_.size(); ++w) {
        move(workers_[w], seen.workers[w].loops);
    }
    move(punter_, seen.punter_rounds);
    move(control_, seen.control_turns);
    // One that has nothing to do may wait for its core as long as it likes.
    if (!seen.punts_wait) {
        punter_.moved_ns = seen.now_ns;
    }
    if (!seen.news_wait) {
        control_.moved_ns = seen.now_ns;
    }
}

uint64_t Liveness::oldest() const {
    uint64_t oldest = punter_.moved_ns;
    for (const Part& worker : workers_) {
        oldest = std::min(oldest, worker.moved_ns);
    }
    return oldest;
}

bool Liveness::mirror_is_behind(const Seen& seen) const {
    return seen.now_ns - control_.moved_ns > mirror_limit_ns || news_are_lost(seen);
}

bool Liveness::news_are_lost(const Seen& seen) {
    return seen.behind_ns != 0 && seen.now_ns > seen.behind_ns + mirror_limit_ns;
}

void Liveness::look_for_starved(const Seen& seen) {
    std::fill(starved_.begin(), starved_.end(), "");
    const uint64_t window = seen.now_ns - window_began_ns_;
    if (window < window_ns) {
        return;
    }
    for (size_t p = 0; p < states_.size(); ++p) {
        State& state = states_[p];
        state.dropped.resize(workers_.size());
        for (size_t w = 0; w < workers_.size() && w < seen.ports[p].dropped.size(); ++w) {
            const uint64_t dropped =
                seen.ports[p].dropped[w] - std::exchange(state.dropped[w], seen.ports[p].dropped[w]);
            const uint64_t waited = seen.workers[w].waited_ns - waited_[w];
            if (window_began_ns_ != 0 && dropped > 0 && waited >= window / starved_share) {
                starved_[p] =
                    fmt::format("worker {} does not get core {}, which others use", w, options_.cores[w]);
            }
        }
    }
    window_began_ns_ = seen.now_ns;
    for (size_t w = 0; w < workers_.size(); ++w) {
        waited_[w] = seen.workers[w].waited_ns;
    }
}

std::string Liveness::missing(size_t port, const Seen& seen, bool stood_still) const {
    if (stood_still) {
        return "millraced stood still";
    }
    if (!seen.ports[port].bound) {
        return "its sockets are dead";
    }
    const auto late = [&](const Part& part) { return seen.now_ns - part.moved_ns > options_.timeout_ns; };
    for (size_t w = 0; w < workers_.size(); ++w) {
        if (late(workers_[w])) {
            return fmt::format("worker {} on core {} stands still", w, options_.cores[w]);
        }
    }
    if (late(punter_)) {
        return "the punting thread stands still";
    }
    if (news_are_lost(seen)) {
        return "what the kernel tells was lost, or can't be read yet";
    }
    if (mirror_is_behind(seen)) {
        return "the control thread stands still, while the kernel tells of changes";
    }
    return starved_[port];
}

bool Liveness::moves_again(const State& state, const Seen& seen) const {
    for (size_t w = 0; w < workers_.size(); ++w) {
        if (seen.workers[w].loops < state.loops[w] + whole_round) {
            return false;
        }
    }
    return seen.punter_rounds >= state.punter_rounds + whole_round && seen.caught_up >= state.ask &&
           seen.now_ns >= state.hold_until_ns;
}

const std::vector<Liveness::Pulse>& Liveness::look(const Seen& seen) {
    const bool stood_still = last_ns_ != 0 && seen.now_ns - last_ns_ > options_.timeout_ns;
    const uint64_t stood_since = last_ns_;
    last_ns_ = seen.now_ns;
    take(seen);
    look_for_starved(seen);
    if (stood_still || mirror_is_behind(seen)) {
        ++ask_;
    }
    moves_ = !stood_still && seen.now_ns - oldest() <= options_.timeout_ns;
    for (size_t p = 0; p < states_.size(); ++p) {
        State& state = states_[p];
        Pulse& pulse = pulses_[p];
        if (!seen.ports[p].open) {
            continue;
        }
        const std::string missing = this->missing(p, seen, stood_still);
        if (!missing.empty()) {
            if (!starved_[p].empty() && seen.now_ns >= state.hold_until_ns) {
                const bool calm = state.hold_ns == 0 || seen.now_ns > state.hold_until_ns + calm_ns;
                state.hold_ns = calm ? first_hold_ns : std::min(state.hold_ns * 2, longest_hold_ns);
                state.hold_until_ns = seen.now_ns + state.hold_ns;
            }
            if (pulse.missing.empty()) {
                uint64_t since = stood_still ? stood_since : std::min(oldest(), control_.moved_ns);
                if (news_are_lost(seen)) {
                    since = std::min(since, seen.behind_ns);
                }
                pulse.since_ns = starved_[p].empty() ? since : seen.now_ns;
            }
            pulse.missing = missing;
            pulse.beat_ns = 0;
            state.loops.clear();
            for (const Worker& worker : seen.workers) {
                state.loops.push_back(worker.loops);
            }
            state.punter_rounds = seen.punter_rounds;
            state.ask = ask_;
            continue;
        }
        if (!pulse.missing.empty() && !moves_again(state, seen)) {
            continue;
        }
        if (!pulse.missing.empty() || pulse.since_ns == 0) {
            pulse.missing.clear();
            pulse.since_ns = seen.now_ns;
        }
        pulse.beat_ns = oldest();
    }
    return pulses_;
}

}  // namespace millrace::dataplane
