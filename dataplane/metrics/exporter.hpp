// SPDX-License-Identifier: BSD-3-Clause
// The registry over HTTP, in Prometheus's text format, at /metrics: prometheus-cpp's exposer. A few threads
// of ordinary priority serve it; a client that hangs is let go, and holds up other scrapes at the most.
#pragma once

#include <chrono>
#include <memory>
#include <string>

#include "dataplane/metrics/control_samples.hpp"
#include "millrace/metric.hpp"
#include "millrace/result.hpp"

namespace prometheus {
class Exposer;
}

namespace millrace::dataplane {

class Exporter {
  public:
    // listen: "ADDRESS:PORT", as MetricsConfig has it. registry and control outlive it. Its threads inherit
    // what the caller may run on. Error: nobody can listen there, and why.
    static Result<std::unique_ptr<Exporter>> start(const std::string& listen, const MetricRegistry& registry,
                                                   ControlSamples& control);
    // Nothing of the registry is read any more once it returns, within milliseconds. The library's threads
    // end later, on their own: they look for it every two seconds.
    ~Exporter();
    Exporter(const Exporter&) = delete;
    Exporter& operator=(const Exporter&) = delete;

    // How long a scrape waits for the control thread; then it gets what that said the last time.
    static constexpr std::chrono::milliseconds patience{250};
    // A client that sends and takes nothing for so long is let go.
    static constexpr std::chrono::milliseconds most_idle{2000};

  private:
    class Families;
    Exporter();
    std::shared_ptr<Families> families_;
    std::unique_ptr<prometheus::Exposer> exposer_;
};

}  // namespace millrace::dataplane
