// SPDX-License-Identifier: BSD-3-Clause
// One comparison of kernel, mirror and fast path, in pieces of about a millisecond, while all three change.
//
// Kernel and mirror: the kernel's tables are dumped, and what the mirror does not hold just so is a suspect:
// it may be in flight, for what a dump tells is older or newer than what the subscription has told by then.
// Suspects are looked at again, by a second dump or a question for the one thing. A suspect is a difference
// when both looks saw it, and all notifications of the time from the first look to 100 ms after the second
// have been read, and none was about it: what the kernel then has has not changed since, and the mirror had
// its say.
//
// Dumps of IPv6 routes leave out what has not changed, by the hundreds and without NLM_F_DUMP_INTR, when
// others change meanwhile (fib6_dump_table begins anew at the root, and skips as many as it had told). So
// what such a dump did not tell is asked for by address.
//
// Mirror and fast path change on this thread alone, so they are compared as they are; a difference is
// repaired at once. What differs from the kernel needs a resync, which is the caller's.
//
// Control thread only.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <random>
#include <set>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "fib_sync/kernel_query.hpp"
#include "fib_sync/mirror.hpp"
#include "millrace/sink.hpp"

namespace millrace::sync {

struct Difference {
    enum class Where : uint8_t {
        mirror,     // it does not hold what the kernel has
        fast_path,  // it does not do what the mirror holds
    };
    Where where = Where::mirror;
    std::string subject;  // a prefix, "link eth0", "neighbor 192.0.2.1 eth0", "nexthop 7"
    std::string what;
};
[[nodiscard]] std::string_view name(Difference::Where where);  // "mirror", "fast path"

struct AuditCounts {
    uint64_t routes4 = 0;  // of the kernel's main table; with a sample: prefixes
    uint64_t routes6 = 0;  // the same, and of the local table
    uint64_t nexthops = 0;
    uint64_t neighbours = 0;
    uint64_t links = 0;
    uint64_t prefixes = 0;      // of the fast path
    uint64_t in_mirror = 0;     // differences
    uint64_t in_fast_path = 0;  // differences
    uint64_t repaired = 0;      // of those in the fast path
    uint64_t without_room = 0;  // prefixes that punt because the fast path's table is full; no differences
    uint64_t not_asked = 0;     // of a sample: prefixes that no question to the kernel is about

    [[nodiscard]] uint64_t differences() const { return in_mirror + in_fast_path; }
};

class AuditWalk {
  public:
    struct Options {
        std::optional<size_t> sample;  // this many prefixes only, picked at random
        uint64_t settle_ms = 100;      // after the second look
    };
    using Report = std::function<void(const Difference&)>;

    // All outlive this. It takes the mirror's audit round: one walk at a time.
    AuditWalk(Mirror& mirror, ForwardingSink& sink, KernelQuery& kernel, Options options, Report report);

    enum class Step : uint8_t {
        worked,
        waiting,  // for time to pass, or for the subscription to be read
        done,
    };
    // Does a piece. Not while a resync is under way or pending. now: milliseconds. Error: the kernel does not
    // answer; the walk is over.
    Result<Step> step(uint64_t now);

    // A notification was applied to the mirror.
    void changed(const Message& message);
    // A resync has put the mirror right: what was suspected is no more.
    void resynced() { suspects_.clear(); }

    struct Progress {
        std::string_view what;  // "IPv4 routes"
        uint64_t done = 0;
        uint64_t total = 0;  // about; 0 = not known
    };
    [[nodiscard]] Progress progress() const;
    [[nodiscard]] const AuditCounts& counts() const { return counts_; }

  private:
    enum class Stage : uint8_t {
        links,
        neighbours,
        nexthops,
        routes4,
        routes6,
        sample,
        ask_again,
        routes4_again,
        routes6_again,
        judge,
        settle,
        fast_path,
        extra,
        done,
    };
    using Subject = std::variant<Ifindex, NeighborKey, NexthopId, Prefix>;
    struct Suspect {
        std::string what;
        std::vector<RouteMessage> told;  // by the second dump
    };
    enum class Answer : uint8_t { agrees, differs, unknown };

    void enter(Stage stage);
    void leave(Stage stage) { enter(static_cast<Stage>(static_cast<unsigned>(stage) + 1)); }
    [[nodiscard]] bool suspected(Family family) const;

    Result<Step> compare(DumpKind kind);
    Result<Step> look_again(DumpKind kind, Family family);
    Result<Step> ask_again();
    Result<Step> take_sample();
    Result<Step> judge();
    Step settle(uint64_t now);
    Step compare_fast_path();
    Step find_extra();

    void told(const Message& message);
    Status compare_untold(DumpKind kind);
    template <class Table>
    void compare_untold(const Table& table);
    Status compare_untold_routes(Family family);
    [[nodiscard]] bool not_dumped(const Prefix& prefix) const;
    void suspect(Subject subject, std::string what);
    void suspect_if_different(const Message& message);
    // nullopt when the mirror holds just this. message: of the kernel, nullopt = it has none.
    [[nodiscard]] std::optional<std::string> difference(const KernelQuery::Key& key,
                                                        const std::optional<Message>& message) const;
    // Does the kernel take this prefix, with just the route that the mirror holds, to an address of it?
    Result<Answer> ask(const Prefix& prefix, std::string& what);
    [[nodiscard]] std::string text(const Subject& subject) const;
    void report(Difference::Where where, std::string subject, std::string what);
    // next: the entry behind, which tells whether this one is the longest at its address.
    void check_fast_path(const Prefix& prefix, GroupId group, const Prefix* next);

    Mirror& mirror_;
    ForwardingSink& sink_;
    KernelQuery& kernel_;
    Options options_;
    Report report_;

    Stage stage_ = Stage::links;
    AuditCounts counts_;
    std::map<Subject, Suspect> suspects_;

    // Of the stage.
    bool dumping_ = false;
    bool dumped_ = false;
    bool interrupted_ = false;
    bool disturbed_ = false;  // an IPv6 route changed since the dump began
    uint64_t done_ = 0;
    std::set<Subject> told_;         // of a short table
    std::optional<Subject> cursor_;  // the last one that was looked at
    size_t scan_cursor_ = 0;
    Family scan_family_ = Family::ipv4;
    std::optional<uint64_t> settled_at_;
    std::mt19937_64 random_;
    std::vector<Prefix> sample_;
    uint64_t seen_ = 0;  // prefixes that the sample was picked from
};

}  // namespace millrace::sync
