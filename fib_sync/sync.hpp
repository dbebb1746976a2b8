// SPDX-License-Identifier: BSD-3-Clause
// When to dump, and in which order to give dumps and notifications to the mirror. No socket, no clock: time
// comes in as an argument, in milliseconds of any monotonic clock. Control thread only.
//
// The kernel's notifications are not a complete stream: on link or carrier loss IPv4 routes and nexthop
// objects vanish without one, and a full socket loses some. So a resync is a normal event: dump everything
// while notifications queue, sweep what the dump did not tell, replay the queue. Forwarding goes on with the
// old table meanwhile; link, neighbour and nexthop messages take effect at once, also during a resync.
//
// A table of a million routes takes a second to sweep and to give to the sink. That goes in slices of a few
// milliseconds: while busy(), call tick() as often as there is nothing else to do.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "fib_sync/decode.hpp"
#include "fib_sync/mirror.hpp"
#include "millrace/result.hpp"

namespace millrace::sync {

// In the order that they are asked for: what is referred to comes first.
enum class DumpKind : uint8_t { links, addresses, neighbours, nexthops, routes4, routes6 };
inline constexpr size_t dump_kinds = 6;
[[nodiscard]] std::string_view name(DumpKind kind);

class Transport {
  public:
    Transport() = default;
    virtual ~Transport() = default;
    Transport(const Transport&) = delete;
    Transport& operator=(const Transport&) = delete;
    // Asks the kernel for a table. The answer comes as Sync::dump_message calls and then one of dump_done
    // and dump_failed. Nothing of a dump that was started before it comes any more.
    virtual Status start_dump(DumpKind kind) = 0;
    // Nothing of the dump that is under way comes any more.
    virtual void abandon_dump() = 0;
};

enum class SyncState : uint8_t {
    idle,      // not started
    waiting,   // an attempt failed; the next one starts after the back-off
    dumping,   // a resync is under way
    applying,  // it is told, and goes to the sink
    synced,    // following notifications
};
[[nodiscard]] std::string_view name(SyncState state);

struct Statistics {
    uint64_t messages = 0;          // notifications and dumped ones that were understood
    uint64_t ignored = 0;           // of kinds or families that the mirror does not follow
    uint64_t decode_errors = 0;     // malformed
    uint64_t resyncs = 0;           // completed
    uint64_t restarts = 0;          // attempts that had to be given up
    uint64_t overruns = 0;          // the kernel could not deliver notifications
    uint64_t interrupted = 0;       // a table changed while it was dumped
    uint64_t dump_failures = 0;     // refused, or no answer
    uint64_t queue_overflows = 0;   // more notifications during a resync than there is room for
    uint64_t doubts = 0;            // changes that only a new dump can settle
    uint64_t commits = 0;           // batches given to the sink
    uint64_t last_duration_ms = 0;  // of the last completed resync
    uint64_t last_resync_ms = 0;    // when it ended, on the caller's clock
    std::array<uint64_t, dump_kinds> last_told{};  // by DumpKind: messages of its dumps
    uint64_t last_changed = 0;                     // prefixes that it changed in the sink
    std::string last_reason;                       // for it
};

// A resync that is under way, for those who watch it.
struct Progress {
    bool running = false;              // false: nothing below says anything
    bool applying = false;             // the dumps are complete: what they told goes to the sink
    DumpKind stage = DumpKind::links;  // before that: the table that is dumped
    uint64_t done = 0;                 // messages of the stage; when applying, prefixes
    uint64_t total = 0;       // as many as there were the last time, 0 = not known; when applying, exact
    uint64_t began_ms = 0;    // on the caller's clock
    std::string_view reason;  // why there is a resync; good until the next call on Sync
};

struct SyncOptions {
    size_t queue_limit = 1U << 18;  // notifications kept during a resync; about 40 MB of routes
    uint64_t backoff_min_ms = 10;   // doubled after each failure in a row
    uint64_t backoff_max_ms = 1000;
    uint64_t coalesce_ms = 20;          // from the first reason for a resync to its start
    uint64_t hold_ms = 5;               // removed routes wait so long for what replaces them: FRR 8.4 deletes
                                        // an IPv6 route and then adds the new one
    uint64_t dump_timeout_ms = 10'000;  // without a message of the dump under way
    size_t slice = 2048;                // prefixes to commit, or messages to replay, at a time: 1 to 3 ms
};

class Sync {
  public:
    // Both outlive this.
    Sync(Mirror& mirror, Transport& transport, SyncOptions options = {});

    // The subscription is in place: begin the first resync.
    void start(uint64_t now);

    // One message of the subscription. end_batch follows when there are no more for the moment.
    void notification(std::span<const std::byte> one_message, uint64_t now);
    void notification(Message message, uint64_t now);
    void end_batch(uint64_t now);
    // The subscription lost messages, and has been read to the end since: what it tells from now on is newer.
    void overrun(uint64_t now);

    void dump_message(std::span<const std::byte> one_message, uint64_t now);
    void dump_message(const Message& message, uint64_t now);
    // All notifications that the kernel sent before it ended the dump have been given to notification().
    // interrupted: the kernel says that what it told is not consistent (NLM_F_DUMP_INTR).
    void dump_done(bool interrupted, uint64_t now);
    void dump_failed(const Error& error, uint64_t now);

    // Somebody has seen that the mirror is not what the kernel has: a resync begins soon.
    void request_resync(uint64_t now, std::string_view why) { schedule(now, why); }
    // The mirror has changed by itself: a commit follows.
    void touched(uint64_t now) {
        uncommitted_ = true;
        end_batch(now);
    }
    // Is told each notification when it is applied; what a resync changes is not told.
    void observe(std::function<void(const Message&)> observer) { observer_ = std::move(observer); }

    void tick(uint64_t now);
    // When tick has something to do next; 0 = at once.
    [[nodiscard]] std::optional<uint64_t> deadline() const;
    // There is work that nothing has to be waited for.
    [[nodiscard]] bool busy() const { return busy_; }

    [[nodiscard]] SyncState state() const { return state_; }
    // Since when messages are lost that no complete dump has made up for; 0 = there are none.
    [[nodiscard]] uint64_t lost_since_ms() const { return lost_since_; }
    [[nodiscard]] bool resync_pending() const { return resync_at_.has_value(); }
    [[nodiscard]] const Statistics& statistics() const { return statistics_; }
    [[nodiscard]] Progress progress() const;

  private:
    struct NeighborTouched {
        Ifindex ifindex{};
        IpAddress address;
        auto operator<=>(const NeighborTouched&) const = default;
    };

    std::optional<Message> understood(std::span<const std::byte> one_message);
    void begin(uint64_t now);
    void start_stage(DumpKind kind, uint64_t now);
    void restart(uint64_t now, std::string_view why);
    void complete(uint64_t now);
    void schedule(uint64_t now, std::string_view why);
    void watch(const Message& message, uint64_t now);
    void apply_live(const Message& message, uint64_t now);
    void replay(const Message& message, uint64_t now);
    bool replay_some(size_t& messages, uint64_t now);
    void work(uint64_t now);
    // Are notifications applied as they come?
    [[nodiscard]] bool following() const {
        return state_ == SyncState::synced || (state_ == SyncState::applying && step_ == Step::commit);
    }
    void say_progress(uint64_t now);
    bool dump_ipv6_again(uint64_t now);

    Mirror& mirror_;
    Transport& transport_;
    SyncOptions options_;
    std::function<void(const Message&)> observer_;
    Statistics statistics_;
    SyncState state_ = SyncState::idle;
    DumpKind stage_ = DumpKind::links;
    std::array<uint64_t, dump_kinds> told_{};  // by DumpKind, in the resync under way
    std::string reason_;                       // of the resync under way
    std::string next_reason_ = "start";        // of the one to come

    enum class Step : uint8_t { sweep, replay, commit };
    Step step_ = Step::sweep;  // when applying

    std::vector<Message> queue_;
    size_t replayed_ = 0;  // of the queue
    size_t told_end_ = 0;  // ... up to here they may be older than the dump
    // Dumps of IPv6 routes leave out some that have not changed, by the hundreds and without NLM_F_DUMP_INTR,
    // when others change meanwhile (fib6_dump_table begins anew at the root, and skips as many as it had
    // told). So what counts is what any of a few passes told, and without an undisturbed one nothing is
    // swept.
    unsigned passes6_ = 0;
    bool disturbed6_ = false;  // an IPv6 route changed since the pass began
    // Told by a notification since the resync began: the dump may be older.
    std::set<Ifindex> touched_links_;
    std::set<NeighborTouched> touched_neighbours_;
    std::set<NexthopId> touched_nexthops_;

    uint64_t backoff_ms_;
    uint64_t began_ = 0;
    uint64_t lost_since_ = 0;
    uint64_t last_answer_ = 0;
    std::optional<uint64_t> resync_at_;
    std::optional<uint64_t> commit_at_;  // held back until
    uint64_t said_ = 0;                  // when progress was last logged
    uint64_t route_calls_ = 0;           // of the mirror, when the resync began
    bool busy_ = false;
    bool uncommitted_ = false;
    bool removal_ = false;  // the batch removes routes
};

}  // namespace millrace::sync
