// SPDX-License-Identifier: BSD-3-Clause
#include "fib_sync/lifetimes.hpp"

#include <linux/rtnetlink.h>

#include <algorithm>
#include <iterator>

#include "fib_sync/question.hpp"

namespace millrace::sync {
namespace {

constexpr uint64_t sure_ms = 950;     // how long an answer holds, whatever the kernel is told meanwhile
constexpr uint64_t early_ms = 20;     // of a lifetime's end: two of the kernel's ticks
constexpr uint64_t again_ms = 400;    // between two questions about a prefix: one may come late
constexpr uint64_t doubt_ms = 50;     // until "no lifetime" is believed
constexpr uint64_t suspects_ms = 10;  // doubled each time
constexpr uint64_t spread_ms = 5;     // questions_at_once, 10 to 20 us each, no oftener than this
constexpr size_t questions_at_once = 16;

}  // namespace

bool Lifetimes::tick(uint64_t now) {
    size_t left = now < busy_until_ ? 0 : questions_at_once;
    for (auto& [prefix, limited] : mirror_.limited()) {
        if (now >= limited.ask_at && left != 0) {
            --left;
            renew(prefix, limited, now);
        }
        if (limited.until != 0 && now >= limited.until) {
            mirror_.let_end(prefix);
        }
    }
    auto& suspects = mirror_.suspects();
    for (auto at = suspects.begin(); at != suspects.end() && left != 0;) {
        Mirror::Suspect& suspect = at->second;
        if (now < suspect.ask_at) {
            ++at;
            continue;
        }
        if (suspect.dumped && mirror_.in_resync()) {
            suspect.ask_at = now + suspects_ms;
            ++at;
            continue;
        }
        --left;
        if (suspect.hides && suspect.asked == 0) {
            look_behind(at->first);
        } else if (const Answer answer = ask(at->first); answer.asked) {
            // Another answer about a multipath route may be one of its paths, whose message is on its way.
            if (answer.held ? answer.held->lifetime_ms != 0 : !suspect.hides) {
                mirror_.may_end(at->first);
            }
        }
        suspect.ask_at = now + (suspects_ms << suspect.asked);
        at = ++suspect.asked == suspect.questions ? suspects.erase(at) : std::next(at);
    }
    if (left == 0 && now >= busy_until_) {
        busy_until_ = now + spread_ms;
    }
    return mirror_.take_uncommitted();
}

void Lifetimes::look_behind(const Prefix& prefix) {
    const auto address = question_about(mirror_, prefix);
    if (!address) {
        return;
    }
    ++questions_;
    const auto answer = kernel_.route_to(*address);
    if (answer && *answer && (*answer)->prefix == prefix && !mirror_.in_force(**answer)) {
        mirror_.found_hidden(**answer);
    }
}

Lifetimes::Answer Lifetimes::ask(const Prefix& prefix) {
    const auto address = question_about(mirror_, prefix);
    if (!address) {
        return {};
    }
    ++questions_;
    const auto answer = kernel_.route_to(*address);
    const bool held = answer && *answer && (*answer)->prefix == prefix && mirror_.in_force(**answer);
    // A longer prefix that the mirror does not know yet, an anycast address for one, says nothing of this
    // one.
    const bool longer = answer && *answer && (*answer)->prefix.length > prefix.length;
    return {.asked = answer.has_value() && !longer, .held = held ? *answer : std::nullopt};
}

void Lifetimes::renew(const Prefix& prefix, Mirror::Limited& limited, uint64_t now) {
    limited.ask_at = now + again_ms;
    const auto answer = ask(prefix).held;
    if (!answer) {
        return;  // it is over, or what the kernel has now is on its way here
    }
    const int64_t left = answer->lifetime_ms;
    const bool alone = answer->paths.size() == 1 && answer->nexthop == NexthopId{};
    if (left != 0) {
        limited.endless = 0;
        const auto until_end = static_cast<uint64_t>(std::max<int64_t>(left, 0));
        if (alone && until_end > early_ms) {
            mirror_.trust(prefix, now + std::min(sure_ms, until_end - early_ms));
        }
        return;
    }
    // The last hundredth of a second of a lifetime, and the first one behind it, are told as none.
    if (limited.endless == 0) {
        limited.endless = now;
        limited.ask_at = now + doubt_ms;
    } else if (now >= limited.endless + doubt_ms) {
        mirror_.trust(prefix, now + sure_ms);
        if (alone && answer->protocol != RTPROT_RA) {
            mirror_.no_end(prefix);
        }
    }
}

uint64_t Lifetimes::deadline() const {
    uint64_t at = UINT64_MAX;
    for (const auto& [prefix, limited] : mirror_.limited()) {
        at = std::min(at, std::max(limited.ask_at, busy_until_));
        at = limited.until != 0 ? std::min(at, limited.until) : at;
    }
    for (const auto& [prefix, suspect] : mirror_.suspects()) {
        at = std::min(at, std::max(suspect.ask_at, busy_until_));
    }
    return at;
}

}  // namespace millrace::sync
