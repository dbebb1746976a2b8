// SPDX-License-Identifier: BSD-3-Clause
// Follows what must be left to the kernel, and gives it to the sink and the mirror. Control thread only; time
// is in milliseconds of the caller's monotonic clock.
#pragma once

#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "fib_sync/exceptions.hpp"
#include "fib_sync/keeps.hpp"
#include "fib_sync/mirror.hpp"
#include "fib_sync/policy_watch.hpp"
#include "millrace/sink.hpp"

namespace millrace::sync {

class KeepWatch {
  public:
    // Both outlive this.
    KeepWatch(ForwardingSink& sink, Mirror& mirror, PolicyWatch policies, ExceptionWatch exceptions)
        : sink_(sink), mirror_(mirror), policies_(std::move(policies)), exceptions_(std::move(exceptions)) {}

    // See PolicyWatch and ExceptionWatch. After on_readable() call refresh().
    [[nodiscard]] std::vector<int> fds() const;
    void on_readable(uint64_t now);

    // Has read again what may have changed, and tells what did. To be called whenever the mirror may have
    // changed, and at next_deadline_ms(). resyncs: completed by the mirror; each one reads everything anew.
    void refresh(uint64_t now, uint64_t resyncs);
    [[nodiscard]] uint64_t next_deadline_ms() const;
    // What leaves over these devices is left to the kernel, too: it has hooks there (the firewall's reader
    // tells). In force when this returns.
    void keep_egress(std::set<Ifindex> devices);
    // Since when the kernel has told of what is not in force yet; 0 = there is no such thing.
    [[nodiscard]] uint64_t behind_since_ms() const {
        return reading_since_ != 0 ? reading_since_ : stale_since_;
    }
    // All has been read once since the mirror was complete for the first time.
    [[nodiscard]] bool known() const { return known_ && exceptions_.known(); }

  private:
    void tell(const std::vector<PortDevice>& ports);
    void read(bool everything, const std::vector<PortDevice>& ports);
    void stale(uint64_t since);
    void take(const PolicyWatch::Reading::Done& done, uint64_t now);

    ForwardingSink& sink_;
    Mirror& mirror_;
    PolicyWatch policies_;
    ExceptionWatch exceptions_;
    Policy policy_;
    std::vector<Keep> keeps_;
    std::set<Ifindex> egress_;
    uint64_t stale_since_ = 0;    // what is told has not been read since; 0 = it has
    uint64_t reading_since_ = 0;  // the same of what is being read; 0 = nothing
    bool known_ = false;
    bool complete_ = false;  // was the mirror, when the reading under way began?
    uint64_t links_version_ = 0;
    uint64_t locals_version_ = 0;
    uint64_t exceptions_version_ = 0;
    uint64_t learned_at_ = 0;  // when they may be told next
    uint64_t resyncs_ = 0;
    uint64_t not_before_ = 0;  // reads rest as long as they take
    uint64_t links_at_ = 0;    // when the links are to be looked at again
    std::string said_;         // the last error, so as not to say it again and again
};

}  // namespace millrace::sync
