// SPDX-License-Identifier: BSD-3-Clause
// What is measured, in one list: a metric has a name, a help text, a kind, labels, and a collector that reads
// its values where they are. Whoever exports metrics goes over the list; nobody counts for it.
//
// Names are Prometheus's: millrace_WHAT_UNIT, base units (seconds, bytes), _total for counters alone. Labels
// have few values, known from the configuration or the code: port, reason, worker, family; never an address
// or a prefix.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace millrace {

enum class MetricKind : uint8_t {
    counter,  // since the daemon's start; only grows
    gauge,
};

// Who may call a collector.
enum class MetricThread : uint8_t {
    any,      // it reads words that are written for everybody
    control,  // the control thread, which owns what it reads
};

struct MetricSample {
    std::vector<std::string> labels;  // values, in the order of Metric::labels
    double value = 0;
};
using MetricSamples = std::vector<MetricSample>;

struct Metric {
    std::string_view name;  // as the help, and the labels' names: for good
    std::string_view help;  // one line
    MetricKind kind = MetricKind::gauge;
    MetricThread thread = MetricThread::any;
    std::vector<std::string_view> labels{};
    std::function<void(MetricSamples&)> collect{};  // adds the samples that there are now
};

// Filled by one thread before others read it. What the collectors read outlives it.
class MetricRegistry {
  public:
    void add(Metric metric) { all_.push_back(std::move(metric)); }
    // Of one value without labels. read: returns a number; see Metric::collect.
    template <class Read>
    void add(std::string_view name, std::string_view help, MetricKind kind, MetricThread thread, Read read) {
        add({.name = name,
             .help = help,
             .kind = kind,
             .thread = thread,
             .collect = [read](MetricSamples& out) {
                 out.push_back({.labels = {}, .value = static_cast<double>(read())});
             }});
    }
    [[nodiscard]] const std::vector<Metric>& all() const { return all_; }

  private:
    std::vector<Metric> all_;
};

}  // namespace millrace
