// SPDX-License-Identifier: BSD-3-Clause
#include "fib_sync/keep_watch.hpp"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <chrono>
#include <map>
#include <utility>

namespace millrace::sync {
namespace {

constexpr uint64_t link_period_ms = 500;  // a sysctl without a notification is followed within a second
constexpr uint64_t retry_ms = 100;
constexpr uint64_t learned_period_ms = 100;

uint64_t ms_since(std::chrono::steady_clock::time_point begin) {
    const auto passed = std::chrono::steady_clock::now() - begin;
    return static_cast<uint64_t>(std::chrono::duration_cast<std::chrono::milliseconds>(passed).count());
}

}  // namespace

std::vector<int> KeepWatch::fds() const {
    std::vector<int> all = reader_.fds();
    const std::vector<int> more = exceptions_.fds();
    all.insert(all.end(), more.begin(), more.end());
    return all;
}

void KeepWatch::on_readable(uint64_t now) {
    stale_ = reader_.changed() || stale_;
    exceptions_.on_readable(now);
}

uint64_t KeepWatch::next_deadline_ms() const {
    uint64_t links = std::min(links_at_, exceptions_.next_deadline_ms());
    if (exceptions_version_ != exceptions_.version()) {
        links = std::min(links, learned_at_);
    }
    return stale_ ? std::min(not_before_, links) : links;
}

void KeepWatch::read(bool everything, const std::vector<PortDevice>& ports, uint64_t now) {
    std::vector<Ifindex> indexes;
    indexes.reserve(ports.size());
    for (const PortDevice& port : ports) {
        indexes.push_back(port.ifindex);
    }
    const auto begin = std::chrono::steady_clock::now();
    const Status done = everything ? reader_.read(indexes, policy_) : reader_.read_links(indexes, policy_);
    links_at_ = now + link_period_ms;
    if (done) {
        stale_ = stale_ && !everything;
        known_ = known_ || (everything && resyncs_ != 0);
        not_before_ = now + 1 + 2 * ms_since(begin);
        said_.clear();
        return;
    }
    stale_ = true;
    not_before_ = now + retry_ms;
    if (done.error().text() != said_) {
        said_ = done.error().text();
        spdlog::warn("what the kernel must keep could not be read, again in {} ms: {}", retry_ms, said_);
    }
}

void KeepWatch::tell(const std::vector<PortDevice>& ports) {
    std::vector<Keep> keeps = keeps_of(policy_, ports, mirror_.local_prefixes());
    const std::vector<Keep> learned = exceptions_.keeps();
    keeps.insert(keeps.end(), learned.begin(), learned.end());
    std::sort(keeps.begin(), keeps.end());
    if (keeps != keeps_) {
        keeps_ = std::move(keeps);
        sink_.set_keeps(keeps_);
    }
    std::map<Ifindex, DevicePolicy> policies = device_policies(policy_, ports);
    for (const Ifindex ifindex : egress_) {
        policies[ifindex].egress_kept = true;
    }
    mirror_.set_device_policies(std::move(policies));
}

void KeepWatch::keep_egress(std::set<Ifindex> devices) {
    if (egress_ != devices) {
        egress_ = std::move(devices);
        tell(mirror_.links().port_devices());
    }
}

void KeepWatch::refresh(uint64_t now, uint64_t resyncs) {
    const uint64_t version = mirror_.links().version();
    const bool moved = version != links_version_;
    stale_ = stale_ || moved || resyncs != resyncs_;
    links_version_ = version;
    resyncs_ = resyncs;
    const bool everything = stale_ && now >= not_before_;
    const bool links = now >= links_at_;
    const bool locals = locals_version_ != mirror_.local_prefixes_version();
    locals_version_ = mirror_.local_prefixes_version();
    exceptions_.refresh(now);
    // Anybody can send what makes them change: that must not cost much.
    const bool learned = exceptions_version_ != exceptions_.version() && now >= learned_at_;
    if (learned) {
        exceptions_version_ = exceptions_.version();
        learned_at_ = now + learned_period_ms;
    }
    if (!moved && !everything && !links && !locals && !learned) {
        return;
    }
    const std::vector<PortDevice> ports = mirror_.links().port_devices();
    if (everything || links) {
        read(everything, ports, now);
    }
    tell(ports);
}

}  // namespace millrace::sync
