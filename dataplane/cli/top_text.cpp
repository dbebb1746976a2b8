// SPDX-License-Identifier: BSD-3-Clause
#include "dataplane/cli/top_text.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <string_view>

namespace millrace::cli {

namespace {

std::string percent(double share) {
    return fmt::format("{:.0f}%", share * 100);
}

// Of what came in, to the workers; a port that is the kernel's says so instead.
std::string fast(const PortRates& p) {
    return !p.served ? "kernel" : p.seen == 0 ? "-" : percent(std::min(1.0, p.redirected / p.seen));
}

}  // namespace

std::string short_number(double value) {
    constexpr std::string_view powers = " kMGTPE";
    size_t power = 0;
    // What would be rounded up to four digits is a number of the next power.
    while (value >= 999.5 && power + 1 < powers.size()) {
        value /= 1000;
        ++power;
    }
    if (power == 0) {
        return value == 0 || value >= 9.95 ? fmt::format("{:.0f}", value) : fmt::format("{:.1f}", value);
    }
    return fmt::format("{:.{}f}{}", value, value < 9.995 ? 2 : value < 99.95 ? 1 : 0, powers[power]);
}

std::string top_text(const Rates& rates) {
    const auto n = short_number;
    constexpr std::string_view of_port = "{:<15} {:>7} {:>6} {:>7} {:>8} {:>7} {:>8} {:>7} {:>7}\n";
    std::string text = fmt::format(of_port, "PORT", "SEEN/s", "FAST", "RX/s", "RX-bit/s", "TX/s", "TX-bit/s",
                                   "DROP/s", "PUNT/s");
    for (const PortRates& p : rates.ports) {
        text += fmt::format(of_port, p.port, n(p.seen), fast(p), n(p.rx_packets), n(p.rx_bits),
                            n(p.tx_packets), n(p.tx_bits), n(p.tx_dropped), n(p.punted));
    }
    constexpr std::string_view of_worker =
        "{:<6} {:>4} {:>5} {:>6} {:>8} {:>8} {:>6} {:>5} {:>8} {:>5} {:>8}\n";
    text += "\n" + fmt::format(of_worker, "WORKER", "CORE", "BUSY", "ASLEEP", "SLEEPS/s", "BURSTS/s",
                               "/BURST", "RX/s", "RX-bit/s", "TX/s", "TX-bit/s");
    for (const WorkerRates& w : rates.workers) {
        const std::string in_burst = w.bursts == 0 ? "-" : fmt::format("{:.1f}", w.rx_packets / w.bursts);
        text +=
            fmt::format(of_worker, w.worker, w.core, percent(w.busy), percent(w.asleep), n(w.sleeps),
                        n(w.bursts), in_burst, n(w.rx_packets), n(w.rx_bits), n(w.tx_packets), n(w.tx_bits));
    }
    constexpr std::string_view of_reason = "{:<15} {:<10} {:<24} {:>9} {:>8}\n";
    text += "\n" + fmt::format(of_reason, "PORT", "WHERE", "REASON", "PACKETS/s", "bit/s");
    for (const ReasonRates& r : rates.reasons) {
        text += fmt::format(of_reason, r.port, r.of_classifier ? "classifier" : "worker", r.reason,
                            n(r.packets), r.bits ? n(*r.bits) : "-");
    }
    return text;
}

}  // namespace millrace::cli
