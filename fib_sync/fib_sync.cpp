// SPDX-License-Identifier: BSD-3-Clause
#include "fib_sync/fib_sync.hpp"

#include <chrono>
#include <utility>

namespace millrace::sync {

FibSync::FibSync(ForwardingSink& sink, std::vector<std::string> ports, const Options& options,
                 std::unique_ptr<NetlinkTransport> transport, PolicyReader policy)
    : mirror_(sink, std::move(ports)),
      transport_(std::move(transport)),
      sync_(mirror_, *transport_, options.sync),
      keeps_(sink, mirror_, std::move(policy)) {}

Result<std::unique_ptr<FibSync>> FibSync::create(ForwardingSink& sink, std::vector<std::string> ports,
                                                 const Options& options) {
    auto transport = NetlinkTransport::open(options.receive_buffer);
    if (!transport) {
        return tl::unexpected(transport.error());
    }
    auto policy = PolicyReader::open();
    if (!policy) {
        return tl::unexpected(policy.error());
    }
    return std::unique_ptr<FibSync>(
        new FibSync(sink, std::move(ports), options, std::move(*transport), std::move(*policy)));
}

uint64_t FibSync::now_ms() {
    const auto since = std::chrono::steady_clock::now().time_since_epoch();
    return static_cast<uint64_t>(std::chrono::duration_cast<std::chrono::milliseconds>(since).count());
}

}  // namespace millrace::sync
