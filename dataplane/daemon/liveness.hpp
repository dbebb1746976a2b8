// SPDX-License-Identifier: BSD-3-Clause
// Whether the whole way of a port's packets is alive, and so which heartbeat its classifier gets: the time at
// which the slowest part of the way was last seen to move. Pure: whoever looks says what it saw and when. All
// times in ns of CLOCK_MONOTONIC.
//
// Falling back to the kernel loses nothing, so doubt is enough for it. To come back, all that was missing
// must have moved again: a worker and the punter have gone round once from the start (so what waited is
// discarded), and the mirror has what the kernel told meanwhile.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "millrace/config.hpp"

namespace millrace::dataplane {

class Liveness {
  public:
    struct Options {
        size_t ports = 0;
        std::vector<uint16_t> cores{};  // of the workers: for the text
        uint64_t timeout_ns = 0;        // of the heartbeat
    };
    struct Worker {
        uint64_t loops = 0;
        uint64_t waited_ns = 0;  // for its core, since it began; 0 where the kernel doesn't tell
    };
    struct Port {
        bool open = false;   // else nothing is said of it
        bool bound = false;  // its sockets are
        // By worker: frames that the kernel dropped since its receive rings were full, or its fill rings
        // empty.
        std::vector<uint64_t> dropped{};
    };
    struct Seen {
        uint64_t now_ns = 0;
        std::vector<Worker> workers{};
        uint64_t punter_rounds = 0;
        bool punts_wait = false;  // for the punting thread to take them
        uint64_t control_turns = 0;
        bool news_wait = false;     // the kernel has told what the control thread has not read yet
        uint64_t behind_ns = 0;     // since when what it told is lost, or can't be read; 0: all is there
        uint64_t caught_up = 0;     // the highest ask() that the control thread has answered
        std::vector<Port> ports{};  // by PortId
    };
    struct Pulse {
        uint64_t beat_ns = 0;   // for the classifier; 0: stale
        std::string missing{};  // why; empty: alive
        uint64_t since_ns = 0;  // the way was last whole, or missing, since
        bool operator==(const Pulse&) const = default;
    };

    explicit Liveness(Options options);
    // By PortId; good until the next call.
    const std::vector<Pulse>& look(const Seen& seen);
    // To be answered by the control thread once all that waited when it was asked is in force.
    [[nodiscard]] uint64_t ask() const { return ask_; }
    // All threads moved in time at the last look. What else keeps a heartbeat from beating, no restart would
    // cure.
    [[nodiscard]] bool moves() const { return moves_; }

    // What the kernel tells may wait for so long, if the control thread does not move.
    static constexpr uint64_t mirror_limit_ns = uint64_t{SteeringConfig::least_late_ms} * 1'000'000;
    // A worker is starved if frames were dropped on its queues in a window in which it waited for its core
    // for this share. One that works all the time is overloaded: the kernel would forward less.
    static constexpr uint64_t window_ns = 100'000'000;
    static constexpr uint64_t starved_share = 2;  // a half
    // A port that was starved is the kernel's for so long, and twice as long each time, until a calm minute.
    static constexpr uint64_t first_hold_ns = 1'000'000'000;
    static constexpr uint64_t longest_hold_ns = 30'000'000'000;
    static constexpr uint64_t calm_ns = 60'000'000'000;

  private:
    struct Part {
        uint64_t count = 0;
        uint64_t moved_ns = 0;
    };
    struct State {
        // While it is silent: what must have moved before it beats again.
        std::vector<uint64_t> loops{};
        uint64_t punter_rounds = 0;
        uint64_t ask = 0;
        uint64_t hold_until_ns = 0;
        uint64_t hold_ns = 0;
        std::vector<uint64_t> dropped{};  // when the window began
    };
    void take(const Seen& seen);
    void look_for_starved(const Seen& seen);
    [[nodiscard]] std::string missing(size_t port, const Seen& seen, bool stood_still) const;
    [[nodiscard]] bool moves_again(const State& state, const Seen& seen) const;
    [[nodiscard]] bool mirror_is_behind(const Seen& seen) const;
    [[nodiscard]] static bool news_are_lost(const Seen& seen);
    [[nodiscard]] uint64_t oldest() const;

    Options options_;
    uint64_t last_ns_ = 0;
    std::vector<Part> workers_;
    Part punter_;
    Part control_;
    uint64_t ask_ = 0;
    bool moves_ = true;
    uint64_t window_began_ns_ = 0;
    std::vector<uint64_t> waited_;      // by worker, when the window began
    std::vector<std::string> starved_;  // by port, of the window that ended with this look
    std::vector<State> states_;
    std::vector<Pulse> pulses_;
};

}  // namespace millrace::dataplane
