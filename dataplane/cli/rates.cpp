// SPDX-License-Identifier: BSD-3-Clause
#include "dataplane/cli/rates.hpp"

#include <algorithm>
#include <map>
#include <tuple>
#include <utility>

namespace millrace::cli {

namespace {

using Json = nlohmann::json;
constexpr double bits_per_byte = 8;

uint64_t number(const Json& row, const char* key) {
    const auto found = row.find(key);
    return found != row.end() && found->is_number_unsigned() ? found->get<uint64_t>() : 0;
}

// A row of now beside the same one of before.
class Growth {
  public:
    Growth(const Json* before, const Json& after, double seconds)
        : before_(before), after_(after), seconds_(seconds) {}
    // A counter that is smaller now has begun again from zero: a classifier's, when it was attached anew.
    [[nodiscard]] double of(const char* key) const {
        const uint64_t now = number(after_, key);
        const uint64_t then = before_ == nullptr ? now : number(*before_, key);
        return static_cast<double>(now >= then ? now - then : now);
    }
    [[nodiscard]] double rate(const char* key) const { return seconds_ > 0 ? of(key) / seconds_ : 0; }
    [[nodiscard]] double bits(const char* key) const { return rate(key) * bits_per_byte; }

  private:
    const Json* before_;
    const Json& after_;
    double seconds_;
};

double seconds_between(const Rows& before, const Rows& after) {
    return std::chrono::duration<double>(after.at - before.at).count();
}

// Calls what(row of now, its growth) for each row.
template <class What>
void for_each(const Rows& before, const Rows& after, const std::vector<const char*>& key, const What& what) {
    const auto key_of = [&key](const Json& row) {
        std::string text;
        for (const char* part : key) {
            text += row.value(part, Json()).dump() + "\n";
        }
        return text;
    };
    std::map<std::string, const Json*> then;
    for (const Json& row : before.rows) {
        then[key_of(row)] = &row;
    }
    const double seconds = seconds_between(before, after);
    for (const Json& row : after.rows) {
        const auto found = then.find(key_of(row));
        what(row, Growth(found == then.end() ? nullptr : found->second, row, seconds));
    }
}

bool same_life(const Rows& before, const Rows& after) {
    return std::equal(before.rows.begin(), before.rows.end(), after.rows.begin(), after.rows.end(),
                      [](const Json& a, const Json& b) {
                          return number(a, "started_ms") == number(b, "started_ms") &&
                                 number(a, "thread") == number(b, "thread");
                      });
}

void add_reasons(const Rows& before, const Rows& after, bool of_classifier, Rates& rates) {
    for_each(before, after, {"port", "reason"}, [&](const Json& row, const Growth& grown) {
        if (grown.of("packets") == 0) {
            return;
        }
        rates.reasons.push_back({.port = row.value("port", ""),
                                 .of_classifier = of_classifier,
                                 .reason = row.value("reason", ""),
                                 .packets = grown.rate("packets"),
                                 .bits = of_classifier ? std::optional(grown.bits("bytes")) : std::nullopt});
    });
}

void add_ports(const Sample& before, const Sample& after, Rates& rates) {
    std::map<std::string, std::pair<double, double>> verdicts;  // seen, redirected
    for_each(before.verdicts, after.verdicts, {"port", "reason"}, [&](const Json& row, const Growth& grown) {
        auto& [seen, redirected] = verdicts[row.value("port", "")];
        seen += grown.rate("packets");
        redirected += row.value("reason", "") == "redirect" ? grown.rate("packets") : 0;
    });
    for_each(before.ports, after.ports, {"port"}, [&](const Json& row, const Growth& grown) {
        PortRates port{.port = row.value("port", ""), .served = row.value("state", "") == "served"};
        std::tie(port.seen, port.redirected) = verdicts[port.port];
        port.rx_packets = grown.rate("rx_packets");
        port.rx_bits = grown.bits("rx_bytes");
        port.tx_packets = grown.rate("tx_packets");
        port.tx_bits = grown.bits("tx_bytes");
        port.tx_dropped = grown.rate("tx_dropped");
        port.punted = grown.rate("punted_packets");
        rates.ports.push_back(std::move(port));
    });
}

void add_workers(const Sample& before, const Sample& after, Rates& rates) {
    for_each(before.workers, after.workers, {"worker"}, [&](const Json& row, const Growth& grown) {
        // By the worker's own clock: what the daemon took to answer doesn't count.
        const double ran = grown.of("running_us");
        const auto share = [&](const char* key) {
            return ran > 0 ? std::clamp(grown.of(key) / ran, 0.0, 1.0) : 0;
        };
        rates.workers.push_back({.worker = number(row, "worker"),
                                 .core = number(row, "core"),
                                 .busy = share("busy_us"),
                                 .asleep = share("asleep_us"),
                                 .sleeps = grown.rate("sleeps"),
                                 .bursts = grown.rate("bursts"),
                                 .rx_packets = grown.rate("rx_packets"),
                                 .rx_bits = grown.bits("rx_bytes"),
                                 .tx_packets = grown.rate("tx_packets"),
                                 .tx_bits = grown.bits("tx_bytes")});
    });
}

double packets(const PortRates& p) {
    return std::max(p.seen, p.rx_packets) + p.tx_packets;
}
double bits(const PortRates& p) {
    return p.rx_bits + p.tx_bits;
}
std::string name(const PortRates& p) {
    return p.port;
}
double packets(const WorkerRates& w) {
    return w.rx_packets;
}
double bits(const WorkerRates& w) {
    return w.rx_bits + w.tx_bits;
}
uint64_t name(const WorkerRates& w) {
    return w.worker;
}
double packets(const ReasonRates& r) {
    return r.packets;
}
double bits(const ReasonRates& r) {
    return r.bits.value_or(0);
}
std::tuple<std::string, bool, std::string> name(const ReasonRates& r) {
    return {r.port, !r.of_classifier, r.reason};
}

template <class Row>
void sort_rows(std::vector<Row>& rows, SortBy by) {
    std::sort(rows.begin(), rows.end(), [by](const Row& a, const Row& b) {
        const auto size = [by](const Row& row) {
            return by == SortBy::packets ? packets(row) : by == SortBy::bits ? bits(row) : 0;
        };
        return size(a) != size(b) ? size(a) > size(b) : name(a) < name(b);
    });
}

}  // namespace

std::optional<Rates> rates_between(const Sample& before, const Sample& after) {
    if (!same_life(before.workers, after.workers)) {
        return std::nullopt;
    }
    Rates rates;
    rates.seconds = seconds_between(before.ports, after.ports);
    add_ports(before, after, rates);
    add_workers(before, after, rates);
    add_reasons(before.verdicts, after.verdicts, true, rates);
    add_reasons(before.reasons, after.reasons, false, rates);
    return rates;
}

void sort(Rates& rates, SortBy by) {
    sort_rows(rates.ports, by);
    sort_rows(rates.workers, by);
    sort_rows(rates.reasons, by);
}

nlohmann::ordered_json json_of(const Rates& rates) {
    using Object = nlohmann::ordered_json;
    Object ports = Object::array();
    for (const PortRates& p : rates.ports) {
        ports.push_back({{"port", p.port},
                         {"state", p.served ? "served" : "kernel"},
                         {"seen", p.seen},
                         {"redirected", p.redirected},
                         {"rx_packets", p.rx_packets},
                         {"rx_bits", p.rx_bits},
                         {"tx_packets", p.tx_packets},
                         {"tx_bits", p.tx_bits},
                         {"tx_dropped", p.tx_dropped},
                         {"punted", p.punted}});
    }
    Object workers = Object::array();
    for (const WorkerRates& w : rates.workers) {
        workers.push_back({{"worker", w.worker},
                           {"core", w.core},
                           {"busy", w.busy},
                           {"asleep", w.asleep},
                           {"sleeps", w.sleeps},
                           {"bursts", w.bursts},
                           {"rx_packets", w.rx_packets},
                           {"rx_bits", w.rx_bits},
                           {"tx_packets", w.tx_packets},
                           {"tx_bits", w.tx_bits}});
    }
    Object reasons = Object::array();
    for (const ReasonRates& r : rates.reasons) {
        reasons.push_back({{"port", r.port},
                           {"where", r.of_classifier ? "classifier" : "worker"},
                           {"reason", r.reason},
                           {"packets", r.packets},
                           {"bits", r.bits ? Object(*r.bits) : Object(nullptr)}});
    }
    return {{"seconds", rates.seconds}, {"ports", ports}, {"workers", workers}, {"reasons", reasons}};
}

}  // namespace millrace::cli
