// SPDX-License-Identifier: BSD-3-Clause
#include "fib_sync/fib_sync.hpp"

#include <algorithm>
#include <chrono>
#include <utility>

#include "fib_sync/planter.hpp"

namespace millrace::sync {

namespace {
constexpr uint64_t room_period_ms = 1000;
}  // namespace

FibSync::FibSync(ForwardingSink& sink, std::vector<std::string> ports, const Options& options,
                 std::unique_ptr<NetlinkTransport> transport, std::unique_ptr<NeighbourWriter> writer,
                 PolicyWatch policy, ExceptionWatch exceptions, WakeFd work)
    : work_(std::move(work)),
      sink_(sink),
      mirror_(sink, std::move(ports)),
      transport_(std::move(transport)),
      sync_(mirror_, *transport_, options.sync),
      keeps_(sink, mirror_, std::move(policy), std::move(exceptions)),
      writer_(std::move(writer)),
      care_(mirror_, sink, *writer_, options.managed_neighbours && writer_->managed_entries(), options.care),
      query_(transport_->event_fd()),
      lifetimes_(mirror_, query_),
      audit_(mirror_, sink, sync_, query_, options.audit) {}

Result<std::unique_ptr<FibSync>> FibSync::create(ForwardingSink& sink, std::vector<std::string> ports,
                                                 const Options& options) {
    auto transport = NetlinkTransport::open(options.receive_buffer);
    if (!transport) {
        return tl::unexpected(transport.error());
    }
    auto writer = NeighbourWriter::open();
    if (!writer) {
        return tl::unexpected(writer.error());
    }
    auto policy = PolicyWatch::open();
    if (!policy) {
        return tl::unexpected(policy.error());
    }
    auto exceptions = ExceptionWatch::open();
    if (!exceptions) {
        return tl::unexpected(exceptions.error());
    }
    auto work = WakeFd::create();
    if (!work) {
        return tl::unexpected(work.error());
    }
    return std::unique_ptr<FibSync>(new FibSync(sink, std::move(ports), options, std::move(*transport),
                                                std::move(*writer), std::move(*policy),
                                                std::move(*exceptions), std::move(*work)));
}

uint64_t FibSync::next_deadline_ms() const {
    uint64_t deadline = std::min(sync_.deadline().value_or(UINT64_MAX), keeps_.next_deadline_ms());
    deadline = std::min(deadline, lifetimes_.deadline());
    return synced() ? std::min({deadline, care_.deadline(), audit_.deadline()}) : deadline;
}

void FibSync::tick(uint64_t now) {
    sync_.tick(now);
    if (now >= ask_for_room_at_ && settled()) {
        ask_for_room_at_ = now + room_period_ms;
        if (mirror_.ask_for_room()) {
            sync_.touched(now);
        }
    }
    after_step(now);
    if (synced()) {
        care_.tick(now);
        audit_.tick(now);
    }
    if (lifetimes_.tick(now)) {
        sync_.touched(now);
        work_.set(sync_.busy());
    }
}

Result<std::string> FibSync::plant(std::string_view kind, const Prefix& prefix) {
    return plant_difference(mirror_, sink_, kind, prefix);
}

void FibSync::give_back_neighbours() {
    care_.give_back_all();
    writer_->drain(1000);
}

uint64_t FibSync::now_ms() {
    const auto since = std::chrono::steady_clock::now().time_since_epoch();
    return static_cast<uint64_t>(std::chrono::duration_cast<std::chrono::milliseconds>(since).count());
}

}  // namespace millrace::sync
