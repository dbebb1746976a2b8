// SPDX-License-Identifier: BSD-3-Clause
#include "dataplane/daemon/reload.hpp"

#include <fmt/ranges.h>
#include <spdlog/spdlog.h>

#include <algorithm>

#include "dataplane/config/config_file.hpp"
#include "dataplane/control/server.hpp"
#include "dataplane/daemon/preflight.hpp"
#include "steering_bpf/attach.hpp"

namespace millrace::dataplane {

namespace {

// Where the daemon would find fewer queues than workers on every port, it would end.
Status check_queues(const Config& config, const Reload::QueuesOf& queues_of) {
    const size_t workers = config.workers.cores.size();
    std::string refused;
    for (const PortConfig& port : config.ports) {
        const uint32_t have = queues_of ? queues_of(port.name) : 0;
        if (have == 0 || have >= workers) {
            return {};
        }
        refused = refused.empty() ? too_few_queues(port.name, have, workers) : refused;
    }
    return refused.empty() ? Status() : fail(refused);
}

Result<Config> usable_config(const std::string& path, const cpu_set_t& cpus, const std::string& listens_at,
                             const Reload::QueuesOf& queues_of) {
    auto config = load_config(path);
    if (!config) {
        return config;
    }
    if (auto cores = check_cores(config->workers.cores, cpus); !cores) {
        return tl::unexpected(cores.error());
    }
    if (auto ready = preflight(); !ready) {
        return tl::unexpected(ready.error());
    }
    // A port that can't be served is the kernel's; a daemon without any would end. Nothing here may wait for
    // whoever holds the kernel's network configuration: pins are looked at, not links.
    const auto has_classifier = [&](const PortConfig& port) {
        return steering::has_pins(port.name, config->steering.pin_root);
    };
    if (std::none_of(config->ports.begin(), config->ports.end(), has_classifier)) {
        return fail(fmt::format("{}: no port has the classifier; 'millrace-steer attach {}'", path,
                                config->ports.front().name));
    }
    if (auto queues = check_queues(*config, queues_of); !queues) {
        return tl::unexpected(queues.error());
    }
    if (config->control_socket != listens_at) {
        if (auto could = Server::could_listen(config->control_socket); !could) {
            return tl::unexpected(could.error());
        }
    }
    return config;
}

}  // namespace

Reload::Reload(const std::string& path, const Config& running, const cpu_set_t& cpus, Steering& steering)
    : path_(path), running_(running), cpus_(cpus), steering_(steering) {}

Result<Reload::Done> Reload::run() {
    const auto config = usable_config(path_, cpus_, running_.control_socket, queues_of_);
    if (!config) {
        return tl::unexpected(config.error());
    }
    Done done{.changed = changes(running_, *config)};
    if (config->log_level != running_.log_level) {
        spdlog::set_level(spdlog::level::from_str(config->log_level));
        running_.log_level = config->log_level;
    }
    if (config->keep != running_.keep) {
        steering_.set_configured(config->keep);
        running_.keep = config->keep;
    }
    done.again = !changes(running_, *config).empty();
    wants_restart_ = done.again;
    return done;
}

void Reload::run_and_log() {
    const auto done = run();
    if (!done) {
        spdlog::error("the configuration stays as it was: {}", done.error().text());
    } else if (done->changed.empty()) {
        spdlog::info("{}: nothing has changed", path_);
    } else {
        spdlog::info("{}: changed: {}{}", path_, fmt::join(done->changed, ", "),
                     done->again ? "; millraced starts again" : "");
    }
}

bool Reload::good(uint64_t now_ms) {
    if (now_ms < next_ms_) {
        return false;
    }
    const auto config = usable_config(path_, cpus_, running_.control_socket, queues_of_);
    if (config) {
        return true;
    }
    next_ms_ = now_ms + 1000;
    if (std::string text = config.error().text(); text != told_) {
        spdlog::warn("millraced does not start again with this configuration: {}", text);
        told_ = std::move(text);
    }
    return false;
}

}  // namespace millrace::dataplane
