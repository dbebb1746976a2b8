// SPDX-License-Identifier: BSD-3-Clause
// What happens in a second, from two samples. Packets and bits a second; frames are counted with their
// layer-2 header and without FCS.
#pragma once

#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "dataplane/cli/sample.hpp"

namespace millrace::cli {

struct PortRates {
    std::string port;
    bool served = false;
    double seen = 0;        // by the classifier: all that came in
    double redirected = 0;  // of that, to the workers
    double rx_packets = 0;  // by the workers, as the following
    double rx_bits = 0;
    double tx_packets = 0;
    double tx_bits = 0;
    double tx_dropped = 0;
    double punted = 0;
};

struct WorkerRates {
    uint64_t worker = 0;
    uint64_t core = 0;
    double busy = 0;    // share of its time, 0 to 1
    double asleep = 0;  // the same; the rest it looks for packets and finds none
    double sleeps = 0;
    double bursts = 0;
    double rx_packets = 0;
    double rx_bits = 0;
    double tx_packets = 0;
    double tx_bits = 0;
};

struct ReasonRates {
    std::string port;
    bool of_classifier = false;  // else of the workers
    std::string reason;
    double packets = 0;
    std::optional<double> bits{};  // the workers count packets alone
};

struct Rates {
    double seconds = 0;
    std::vector<PortRates> ports;
    std::vector<WorkerRates> workers;
    std::vector<ReasonRates> reasons;  // without those of which there was none
};

// nullopt: another life of the daemon has begun between the two, and with it most counters.
std::optional<Rates> rates_between(const Sample& before, const Sample& after);

enum class SortBy : uint8_t { packets, bits, name };
// The largest first; the name (of a worker: its number) decides between equals.
void sort(Rates& rates, SortBy by);

nlohmann::ordered_json json_of(const Rates& rates);

}  // namespace millrace::cli
