// SPDX-License-Identifier: BSD-3-Clause
#include "dataplane/metrics/exporter.hpp"

#include <netinet/in.h>
#include <prometheus/collectable.h>
#include <prometheus/exposer.h>
#include <prometheus/metric_family.h>
#include <sys/resource.h>
#include <sys/socket.h>

#include <cerrno>
#include <charconv>
#include <cstring>
#include <exception>
#include <mutex>
#include <nlohmann/json.hpp>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include "millrace/types.hpp"

namespace millrace::dataplane {

namespace {

// Names of netdevs may be any bytes, and one that is no UTF-8 would cost the whole scrape.
std::string in_utf8(const std::string& text) {
    using nlohmann::json;
    return json::parse(json(text).dump(-1, ' ', false, json::error_handler_t::replace)).get<std::string>();
}

prometheus::MetricFamily family_of(const Metric& metric, const MetricSamples& samples) {
    prometheus::MetricFamily family;
    family.name = metric.name;
    family.help = metric.help;
    family.type =
        metric.kind == MetricKind::counter ? prometheus::MetricType::Counter : prometheus::MetricType::Gauge;
    for (const MetricSample& sample : samples) {
        prometheus::ClientMetric& out = family.metric.emplace_back();
        for (size_t i = 0; i < metric.labels.size(); ++i) {
            out.label.push_back({std::string(metric.labels[i]), in_utf8(sample.labels.at(i))});
        }
        (metric.kind == MetricKind::counter ? out.counter.value : out.gauge.value) = sample.value;
    }
    return family;
}

// Why nobody can listen there: the library doesn't tell. listen: checked. 0: not known.
int listen_error(const std::string& listen) {
    const size_t colon = listen.rfind(':');
    const auto address = IpAddress::parse(listen.substr(0, colon));
    uint16_t port = 0;
    std::from_chars(listen.data() + colon + 1, listen.data() + listen.size(), port);
    if (!address) {
        return EINVAL;
    }
    sockaddr_in in{};
    in.sin_family = AF_INET;
    in.sin_port = htons(port);
    std::memcpy(&in.sin_addr, address->bytes.data(), sizeof(in.sin_addr));
    const steering::Fd fd(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    const int on = 1;
    if (!fd || setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) != 0 ||
        bind(fd.get(), reinterpret_cast<const sockaddr*>(&in), sizeof(in)) != 0 ||
        ::listen(fd.get(), 1) != 0) {
        return errno;
    }
    return 0;
}

}  // namespace

class Exporter::Families : public prometheus::Collectable {
  public:
    Families(const MetricRegistry& registry, ControlSamples& control)
        : registry_(&registry), control_(control) {}

    // A thread of the library's.
    [[nodiscard]] std::vector<prometheus::MetricFamily> Collect() const override {
        try {
            return collect();
        } catch (const std::exception&) {  // out of memory: it would end the process
            return {};
        }
    }
    void end() {
        control_.end();
        const std::lock_guard lock(mutex_);
        registry_ = nullptr;
    }

  private:
    [[nodiscard]] std::vector<prometheus::MetricFamily> collect() const {
        const std::lock_guard lock(mutex_);
        std::vector<prometheus::MetricFamily> families;
        if (registry_ == nullptr) {
            return families;
        }
        const auto asked = control_.take(patience);
        size_t next = 0;
        for (const Metric& metric : registry_->all()) {
            if (metric.thread == MetricThread::any) {
                MetricSamples samples;
                metric.collect(samples);
                families.push_back(family_of(metric, samples));
            } else if (asked != nullptr) {
                families.push_back(family_of(metric, asked->samples[next++]));
            }
        }
        return families;
    }

    mutable std::mutex mutex_;
    const MetricRegistry* registry_;  // guarded by mutex_
    ControlSamples& control_;
};

Exporter::Exporter() = default;

Result<std::unique_ptr<Exporter>> Exporter::start(const std::string& listen, const MetricRegistry& registry,
                                                  ControlSamples& control) {
    std::unique_ptr<Exporter> exporter(new Exporter);
    exporter->families_ = std::make_shared<Families>(registry, control);
    const std::vector<std::string> options = {"listening_ports",    listen,
                                              "num_threads",        "2",
                                              "listen_backlog",     "16",
                                              "connection_queue",   "4",
                                              "request_timeout_ms", std::to_string(most_idle.count())};
    bool listens = false;
    // The library's threads inherit the nice value of who starts them; they are in no hurry.
    const auto listen_there = [&] {
        if (getpriority(PRIO_PROCESS, 0) < 0) {
            setpriority(PRIO_PROCESS, 0, 0);
        }
        try {
            exporter->exposer_ = std::make_unique<prometheus::Exposer>(options);
            exporter->exposer_->RegisterCollectable(exporter->families_);
            listens = true;
        } catch (const std::exception&) {
            listens = false;
        }
    };
    try {
        std::thread(listen_there).join();
    } catch (const std::system_error& error) {
        return fail("metrics: no thread", error.code().value());
    }
    if (!listens) {
        return fail(fmt::format("metrics: nobody can listen on {}", listen), listen_error(listen));
    }
    return exporter;
}

Exporter::~Exporter() {
    if (exposer_ == nullptr) {
        return;
    }
    families_->end();
    try {
        std::thread([exposer = std::move(exposer_)]() mutable { exposer.reset(); }).detach();
    } catch (const std::system_error&) {  // no thread: it has ended here, which took longer
    }
}

}  // namespace millrace::dataplane
