// SPDX-License-Identifier: BSD-3-Clause
// All of the mirror in one object, for the daemon's event loop. Control thread only, the one that the sink is
// called on.
//
//     auto sync = FibSync::create(sink, ports);            // in the network namespace to be mirrored
//     (*sync)->start();
//     loop: wait for fds() and policy_fds() until next_deadline_ms(), then on_event_readable(),
//           on_dump_readable() or on_policy_readable() for those that are readable, and tick().
//
// A loop that has deadlines of its own waits for work_fd() too, and calls tick() when it is readable. No call
// takes more than a few milliseconds, however long the table.
//
// Time is CLOCK_MONOTONIC in milliseconds.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "fib_sync/audit.hpp"
#include "fib_sync/keep_watch.hpp"
#include "fib_sync/lifetimes.hpp"
#include "fib_sync/mirror.hpp"
#include "fib_sync/neighbour_care.hpp"
#include "fib_sync/neighbour_writer.hpp"
#include "fib_sync/netlink.hpp"
#include "fib_sync/sync.hpp"
#include "fib_sync/wake_fd.hpp"
#include "millrace/result.hpp"
#include "millrace/sink.hpp"

namespace millrace::sync {

class FibSync {
  public:
    struct Options {
        size_t receive_buffer = 64U << 20;  // bytes; the kernel takes twice that, about 1 kB a message
        SyncOptions sync;
        CareOptions care;
        AuditOptions audit;
        bool managed_neighbours = true;  // false: refresh them, as on a kernel that has no managed ones
    };

    // Opens and subscribes the sockets; nothing reaches the sink before start(). sink outlives this.
    // Error: no socket, or a kernel without nexthop objects (before 5.3).
    static Result<std::unique_ptr<FibSync>> create(ForwardingSink& sink, std::vector<std::string> ports,
                                                   const Options& options);
    static Result<std::unique_ptr<FibSync>> create(ForwardingSink& sink, std::vector<std::string> ports) {
        return create(sink, std::move(ports), Options{});
    }

    void start() { sync_.start(now_ms()); }

    // Event socket, dump socket: the same for life. Wait for EPOLLIN, level-triggered.
    [[nodiscard]] std::array<int, 2> fds() const { return {event_fd(), dump_fd()}; }
    [[nodiscard]] int event_fd() const { return transport_->event_fd(); }
    [[nodiscard]] int dump_fd() const { return transport_->dump_fd(); }
    void on_event_readable() {
        transport_->on_event_readable(sync_, now_ms());
        after_step(now_ms());
    }
    void on_dump_readable() {
        transport_->on_dump_readable(sync_, now_ms());
        after_step(now_ms());
    }
    // What says that the keeps may have changed; a few, the same for life.
    [[nodiscard]] std::vector<int> policy_fds() const { return keeps_.fds(); }
    void on_policy_readable() {
        keeps_.on_readable(now_ms());
        after_step(now_ms());
    }

    // See KeepWatch.
    void keep_egress(std::set<Ifindex> devices) { keeps_.keep_egress(std::move(devices)); }

    // Readable while tick() has something to do at once; the same for life. tick() reads it.
    [[nodiscard]] int work_fd() const { return work_.fd(); }

    // When tick() has something to do, if nothing becomes readable before.
    [[nodiscard]] uint64_t next_deadline_ms() const;
    void tick() { tick(now_ms()); }
    void tick(uint64_t now_ms);

    // Dump everything again, soon; why: for the log.
    void request_resync(std::string_view why) { sync_.request_resync(now_ms(), why); }

    // The orderly end: neighbour entries that were kept for the fast path are the kernel's again. Waits up to
    // a second for the kernel; no tick() after it.
    void give_back_neighbours();

    // The sink has had a whole table, and all keeps: true from the end of the first resync on, also during
    // later ones.
    [[nodiscard]] bool synced() const { return sync_.statistics().resyncs != 0 && keeps_.known(); }
    // No resync is under way or about to begin.
    [[nodiscard]] bool settled() const {
        return sync_.state() == SyncState::synced && !sync_.deadline().has_value();
    }

    // All that on_event_readable() has read is in force, and the keeps are, but for removed routes that wait
    // for what replaces them, and no dump has to tell more.
    [[nodiscard]] bool in_force() const {
        return sync_.state() == SyncState::synced && !sync_.resync_pending() && !sync_.busy() &&
               behind_since_ms() == 0;
    }
    // Since when the kernel has told of what was lost, or can't be read; 0 = there is no such thing.
    [[nodiscard]] uint64_t behind_since_ms() const {
        const uint64_t lost = sync_.lost_since_ms();
        const uint64_t unread = keeps_.behind_since_ms();
        return lost == 0 || unread == 0 ? lost + unread : std::min(lost, unread);
    }

    [[nodiscard]] SyncState state() const { return sync_.state(); }
    [[nodiscard]] const Statistics& statistics() const { return sync_.statistics(); }
    [[nodiscard]] Progress progress() const { return sync_.progress(); }
    [[nodiscard]] const Mirror& mirror() const { return mirror_; }
    [[nodiscard]] const NeighbourCare& neighbour_care() const { return care_; }
    [[nodiscard]] const NeighbourWriter& neighbour_writer() const { return *writer_; }
    [[nodiscard]] Audit& audit() { return audit_; }
    [[nodiscard]] const Audit& audit() const { return audit_; }
    // For drills; see planter.hpp.
    Result<std::string> plant(std::string_view kind, const Prefix& prefix);
    [[nodiscard]] static uint64_t now_ms();

  private:
    FibSync(ForwardingSink& sink, std::vector<std::string> ports, const Options& options,
            std::unique_ptr<NetlinkTransport> transport, std::unique_ptr<NeighbourWriter> writer,
            PolicyWatch policy, ExceptionWatch exceptions, WakeFd work);
    void after_step(uint64_t now_ms) {
        keeps_.refresh(now_ms, sync_.statistics().resyncs);
        work_.set(sync_.busy());
    }

    WakeFd work_;
    uint64_t ask_for_room_at_ = 0;
    ForwardingSink& sink_;
    Mirror mirror_;
    std::unique_ptr<NetlinkTransport> transport_;
    Sync sync_;
    KeepWatch keeps_;
    std::unique_ptr<NeighbourWriter> writer_;
    NeighbourCare care_;
    NetlinkQuery query_;
    Lifetimes lifetimes_;
    Audit audit_;
};

}  // namespace millrace::sync
