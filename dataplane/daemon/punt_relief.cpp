// SPDX-License-Identifier: BSD-3-Clause
#include "dataplane/daemon/punt_relief.hpp"

#include <chrono>
#include <utility>

namespace millrace::dataplane {

PuntRelief::PuntRelief(std::vector<std::string> names, Punter& punter, const WorkerSet& workers,
                       const Tables& tables, Steering& steering)
    : bulk_(names),
      punter_(punter),
      workers_(workers),
      tables_(tables),
      steering_(steering),
      before_(names.size()) {}

void PuntRelief::look() {
    std::vector<BulkPunts::Seen> seen;
    for (size_t p = 0; p < before_.size(); ++p) {
        const PortId port{static_cast<uint16_t>(p)};
        const Counted now{.forwarded = workers_.packets(port, Reason::forwarded),
                          .dropped = workers_.packets(port, Reason::drop_punt_full)};
        const Counted before = std::exchange(before_[p], now);
        seen.push_back({.punts = punter_.take_sample(port),
                        .forwarded = now.forwarded - before.forwarded,
                        .dropped = now.dropped - before.dropped});
    }
    const auto since = std::chrono::steady_clock::now().time_since_epoch();
    const auto now_ms = std::chrono::duration_cast<std::chrono::milliseconds>(since).count();
    if (bulk_.look(static_cast<uint64_t>(now_ms), seen, [this](PortId port, const IpAddress& address) {
            return tables_.forwards(port, address);
        })) {
        steering_.set_punted(bulk_.keeps());
    }
}

}  // namespace millrace::dataplane
