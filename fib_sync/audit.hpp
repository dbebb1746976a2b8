// SPDX-License-Identifier: BSD-3-Clause
// The continuous audit: walks (audit_walk.hpp) one after the other in the background, slow by measure of the
// CPU time that they take; or at once, for an operator who asks. Counts, logs, and has repaired, what they
// find. Control thread only.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "fib_sync/audit_walk.hpp"

namespace millrace::sync {

struct AuditOptions {
    double cpu_share = 0.01;     // of a core, for the walks in the background; 0 = none
    uint64_t rest_ms = 1000;     // between two walks
    uint64_t retry_ms = 10'000;  // after one that the kernel did not answer
    AuditWalk::Options walk;     // of those in the background too
    // CPU time of the calling thread, in microseconds.
    std::function<uint64_t()> cpu_us = [] { return thread_cpu_us(); };

    [[nodiscard]] static uint64_t thread_cpu_us();
};

struct AuditStatistics {
    uint64_t walks = 0;     // completed, in the background or asked for
    uint64_t failures = 0;  // walks that the kernel did not answer
    uint64_t checked = 0;   // routes and prefixes of all walks
    uint64_t differences = 0;
    uint64_t repaired = 0;          // in the fast path at once, in the mirror by a resync
    uint64_t longest_piece_us = 0;  // CPU time without a break, of any walk
    uint64_t cpu_us = 0;            // taken by walks in the background
    uint64_t last_walk_ms = 0;      // how long the last one in the background took
    uint64_t last_walk_end = 0;     // when, on the caller's clock; 0 = never
    uint64_t without_room = 0;      // prefixes of the last walk that punt, the fast path's table being full
};

class Audit {
  public:
    // All outlive this.
    Audit(Mirror& mirror, ForwardingSink& sink, Sync& sync, KernelQuery& kernel, AuditOptions options = {});

    // Does the piece that is due. Not before the mirror has had its first whole table.
    void tick(uint64_t now);
    [[nodiscard]] uint64_t deadline() const;

    [[nodiscard]] const AuditStatistics& statistics() const { return statistics_; }
    // Of the walk under way, whoever asked for it.
    [[nodiscard]] std::optional<AuditWalk::Progress> progress() const;

    // A walk that does what it can at once. While one is there, the background rests.
    class Verification {
      public:
        ~Verification();
        Verification(const Verification&) = delete;
        Verification& operator=(const Verification&) = delete;
        // Some milliseconds of work, a short sleep when there is none to do yet. True when it is over.
        Result<bool> work(uint64_t now);
        [[nodiscard]] AuditWalk::Progress progress() const { return walk_->progress(); }
        [[nodiscard]] const AuditCounts& counts() const { return walk_->counts(); }
        // Found so far; the first thousand.
        [[nodiscard]] const std::vector<Difference>& differences() const { return differences_; }
        // It can't go on before a resync has ended.
        [[nodiscard]] bool held_up() const { return audit_.busy(); }

      private:
        friend class Audit;
        explicit Verification(Audit& audit) : audit_(audit), slot_(audit.verification_) {}
        Audit& audit_;
        std::shared_ptr<Verification*> slot_;  // a source may outlive the audit at the daemon's end
        std::unique_ptr<AuditWalk> walk_;
        std::vector<Difference> differences_;
    };
    // sample: compare so many prefixes only, picked at random. Error: another verification is under way, or
    // the mirror has not had its first table.
    Result<std::unique_ptr<Verification>> verify(std::optional<size_t> sample);

  private:
    [[nodiscard]] bool busy() const;
    void changed(const Message& message);
    std::unique_ptr<AuditWalk> begin(std::optional<size_t> sample, std::vector<Difference>* found);
    // One piece of a walk. True = it is over.
    Result<AuditWalk::Step> step(AuditWalk& walk, uint64_t now);
    void note(const Difference& difference);
    void note_piece(uint64_t us);
    void finish(const AuditWalk& walk, uint64_t now);

    Mirror& mirror_;
    ForwardingSink& sink_;
    Sync& sync_;
    KernelQuery& kernel_;
    AuditOptions options_;
    AuditStatistics statistics_;

    std::unique_ptr<AuditWalk> walk_;  // in the background
    std::shared_ptr<Verification*> verification_ = std::make_shared<Verification*>(nullptr);
    uint64_t began_ = 0;
    uint64_t next_piece_ = 0;
    uint64_t resyncs_ = 0;    // as of the last step
    uint64_t logged_ = 0;     // differences of this walk
    uint64_t repairing_ = 0;  // differences that the next resync repairs
};

}  // namespace millrace::sync
