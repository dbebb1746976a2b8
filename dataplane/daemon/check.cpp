// SPDX-License-Identifier: BSD-3-Clause
#include "dataplane/daemon/check.hpp"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <thread>

#include "dataplane/daemon/core_check.hpp"
#include "dataplane/daemon/preflight.hpp"
#include "dataplane/daemon/steering.hpp"

namespace millrace::dataplane {

namespace {

Status check_ports(const Config& config) {
    const auto problems = port_problems(config);
    if (!problems) {
        return tl::unexpected(problems.error());
    }
    const auto found =
        std::find_if(problems->begin(), problems->end(), [](const std::string& p) { return !p.empty(); });
    return found == problems->end() ? Status() : fail(*found);
}

}  // namespace

Status check(const Config& config, Ruleset ruleset) {
    if (auto good = check_ports(config); !good) {
        return good;
    }
    warn_of_queues(config);
    warn_of_hidden_tags(config);
    tell_of_firewall(config, std::move(ruleset));
    for (const std::string& problem :
         core_problems(config, [] { std::this_thread::sleep_for(core_sample); })) {
        spdlog::warn("{}", problem);
    }
    return {};
}

}  // namespace millrace::dataplane
