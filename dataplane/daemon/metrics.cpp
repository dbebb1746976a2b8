// SPDX-License-Identifier: BSD-3-Clause
#include "dataplane/daemon/metrics.hpp"

#include <rte_version.h>
#include <spdlog/spdlog.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <string>

#include "fib_sync/metrics.hpp"

namespace millrace::dataplane {

namespace {

double cpu_seconds() {
    rusage used{};
    getrusage(RUSAGE_SELF, &used);
    const auto seconds = [](const timeval& t) {
        return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_usec) / 1e6;
    };
    return seconds(used.ru_utime) + seconds(used.ru_stime);
}

double resident_bytes() {
    uint64_t pages = 0;
    if (std::FILE* statm = std::fopen("/proc/self/statm", "re"); statm != nullptr) {
        if (std::fscanf(statm, "%*u %lu", &pages) != 1) {
            pages = 0;
        }
        std::fclose(statm);
    }
    return static_cast<double>(pages) * static_cast<double>(sysconf(_SC_PAGESIZE));
}

void add_process_metrics(MetricRegistry& registry, ControlSamples& control) {
    constexpr MetricThread any = MetricThread::any;
    registry.add({.name = "millrace_build_info",
                  .help = "Versions, as labels",
                  .labels = {"version", "dpdk"},
                  .collect = [](MetricSamples& out) {
                      out.push_back({{MILLRACE_VERSION, rte_version()}, 1});
                  }});
    // The names that every exporter gives these.
    const double start =
        std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
    registry.add("process_start_time_seconds",
                 "Since the epoch; a daemon that starts itself again counts anew", MetricKind::gauge, any,
                 [start] { return start; });
    registry.add("process_cpu_seconds_total", "CPU time of all threads", MetricKind::counter, any,
                 cpu_seconds);
    registry.add("process_resident_memory_bytes", "Memory in use", MetricKind::gauge, any, resident_bytes);
    registry.add({.name = "millrace_control_samples_age_seconds",
                  .help = "Age of what only the control thread can tell; it grows while that stands still",
                  .collect = [&control](MetricSamples& out) {
                      if (const auto age = control.age()) {
                          out.push_back({{}, std::chrono::duration<double>(*age).count()});
                      }
                  }});
}

}  // namespace

Metrics::Metrics(EventLoop& loop, const Measured& measured) {
    const std::string& listen = measured.config.metrics.listen;
    if (listen.empty()) {
        return;
    }
    auto control = ControlSamples::create(registry_);
    if (!control) {
        spdlog::warn("{}; there are none", control.error().text());
        return;
    }
    control_ = std::move(*control);
    add_process_metrics(registry_, *control_);
    add_traffic_metrics(registry_, measured);
    add_state_metrics(registry_, measured);
    sync::add_metrics(registry_, measured.sync);
    auto handle = loop.on_io(control_->fd(), EPOLLIN, [this](uint32_t) { control_->answer(); });
    if (!handle) {
        spdlog::warn("metrics: {}; there are none", handle.error().text());
        return;
    }
    handle_ = std::move(*handle);
    auto exporter = Exporter::start(listen, registry_, *control_);
    if (!exporter) {
        handle_.reset();
        spdlog::warn("{}; forwarding goes on without metrics, [metrics] listen says where",
                     exporter.error().text());
        return;
    }
    exporter_ = std::move(*exporter);
    spdlog::info("metrics: http://{}/metrics", listen);
}

}  // namespace millrace::dataplane
