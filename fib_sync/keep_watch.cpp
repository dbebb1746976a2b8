// SPDX-License-Identifier: BSD-3-Clause
#include "fib_sync/keep_watch.hpp"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <map>
#include <utility>

namespace millrace::sync {
namespace {

constexpr uint64_t link_period_ms = 500;  // a sysctl without a notification is followed within a second
constexpr uint64_t retry_ms = 50;
constexpr uint64_t learned_period_ms = 100;

}  // namespace

std::vector<int> KeepWatch::fds() const {
    std::vector<int> all = policies_.fds();
    const std::vector<int> more = exceptions_.fds();
    all.insert(all.end(), more.begin(), more.end());
    return all;
}

void KeepWatch::stale(uint64_t since) {
    stale_since_ = stale_since_ == 0 ? since : std::min(stale_since_, since);
}

void KeepWatch::on_readable(uint64_t now) {
    if (policies_.changed()) {
        stale(now);
    }
    exceptions_.on_readable(now);
}

uint64_t KeepWatch::next_deadline_ms() const {
    uint64_t next = exceptions_.next_deadline_ms();
    if (!policies_.reading()) {
        next = std::min(next, stale_since_ != 0 ? std::min(not_before_, links_at_) : links_at_);
    }
    return exceptions_version_ != exceptions_.version() ? std::min(next, learned_at_) : next;
}

void KeepWatch::read(bool everything, const std::vector<PortDevice>& ports) {
    std::vector<Ifindex> indexes;
    indexes.reserve(ports.size());
    for (const PortDevice& port : ports) {
        indexes.push_back(port.ifindex);
    }
    // What is told from now on is one more reason to read.
    if (everything) {
        reading_since_ = std::exchange(stale_since_, 0);
    }
    complete_ = resyncs_ != 0;
    policies_.read({.everything = everything, .ports = std::move(indexes)});
}

void KeepWatch::take(const PolicyWatch::Reading::Done& done, uint64_t now) {
    const PolicyAnswer& answer = done.answer;
    policy_ = answer.policy;
    links_at_ = now + link_period_ms;
    const uint64_t since = std::exchange(reading_since_, 0);
    if (answer.status) {
        known_ = known_ || (answer.everything && complete_);
        not_before_ = now + 1 + 2 * done.cpu_ms;
        said_.clear();
        return;
    }
    stale(since != 0 ? since : now);
    not_before_ = now + retry_ms;
    if (answer.status.error().text() != said_) {
        said_ = answer.status.error().text();
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
    if (moved || resyncs != resyncs_) {
        stale(now);
    }
    links_version_ = version;
    resyncs_ = resyncs;
    const auto done = policies_.take();
    if (done) {
        take(*done, now);
    }
    const bool locals = locals_version_ != mirror_.local_prefixes_version();
    locals_version_ = mirror_.local_prefixes_version();
    exceptions_.refresh(now);
    // Anybody can send what makes them change: that must not cost much.
    const bool learned = exceptions_version_ != exceptions_.version() && now >= learned_at_;
    if (learned) {
        exceptions_version_ = exceptions_.version();
        learned_at_ = now + learned_period_ms;
    }
    const bool everything = stale_since_ != 0 && now >= not_before_;
    const bool read_now = !policies_.reading() && (everything || now >= links_at_);
    if (!moved && !done && !locals && !learned && !read_now) {
        return;
    }
    const std::vector<PortDevice> ports = mirror_.links().port_devices();
    if (read_now) {
        read(everything, ports);
    }
    if (moved || done || locals || learned) {
        tell(ports);
    }
}

}  // namespace millrace::sync
