// SPDX-License-Identifier: BSD-3-Clause
// What nf_tables tells of itself: that there is a new generation of its ruleset, and its base chains. Which
// hooks there are at all it doesn't know (iptables-legacy, ipvs, BPF programs have theirs).
//
// Any thread, one at a time; but settle() waits for whoever holds the ruleset's lock: a transaction of
// 10,000 rules for a good part of a second.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <vector>

#include "fib_sync/decode_nft.hpp"
#include "fib_sync/exchange.hpp"
#include "millrace/result.hpp"

namespace millrace::sync {

class NftReader {
  public:
    static constexpr int receive_buffer = 16 << 20;  // bytes; a reload of 10,000 rules announces 10 MB

    // Sees the network namespace of the calling thread. Error: no such socket. A kernel without nf_tables
    // has one, and nothing comes from it.
    static Result<NftReader> open();

    // Readable: call news(). The same for life.
    [[nodiscard]] int fd() const { return events_.fd(); }
    struct News {
        bool any = false;   // something has changed
        bool lost = false;  // there were more notifications than fitted
    };
    // Takes what notifications there are.
    News news();

    // Of the ruleset in force; nullopt: no nf_tables in this kernel.
    Result<std::optional<uint32_t>> generation();
    // Base chains of all tables that are not dormant. Error code EAGAIN: they changed meanwhile.
    Result<std::vector<NftBaseChain>> chains();
    // Has the chain rules that are in force now? The count that a chain tells is ahead of a transaction that
    // may yet fail. Error code EAGAIN: the ruleset changed meanwhile.
    Result<bool> has_rules(const NftBaseChain& chain);
    // Returns when no transaction is under way that had begun before: what the present generation changes has
    // been changed. A new generation is announced to packets before its policies are.
    Status settle();

  private:
    NftReader(Exchange events, Exchange requests)
        : events_(std::move(events)), requests_(std::move(requests)) {}

    Exchange events_;
    Exchange requests_;
};

}  // namespace millrace::sync
