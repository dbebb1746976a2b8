// SPDX-License-Identifier: BSD-3-Clause
#include "dataplane/daemon/firewall_watch.hpp"

#include <fmt/core.h>
#include <poll.h>
#include <pthread.h>
#include <spdlog/spdlog.h>
#include <sys/eventfd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <utility>

#include "steering_bpf/attach.hpp"

namespace millrace::dataplane {

namespace {

// Rules may change without end: a third of one CPU goes to looking, at most.
constexpr auto longest_pause = std::chrono::milliseconds(20);
constexpr int most_tries = 10;  // of reading a ruleset that changes all the time; then again after a pause

}  // namespace

FirewallWatch::FirewallWatch(const std::vector<PortConfig>& ports, Ruleset ruleset)
    : ruleset_(std::move(ruleset)),
      wake_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)),
      news_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
    for (const PortConfig& port : ports) {
        ports_.push_back(steering::find_netdev(port.name).value_or(Ifindex{}));
    }
    auto reader = steering::HookReader::load();
    if (reader) {
        reader_.emplace(std::move(*reader));
    } else {
        no_reader_ = reader.error().text();
        spdlog::warn("the firewall can't be read: all transit is left to the kernel: {}", no_reader_);
    }
    look();
}

FirewallWatch::~FirewallWatch() {
    stop_ = true;
    eventfd_write(wake_.get(), 1);
    if (thread_.joinable()) {
        thread_.join();
    }
}

void FirewallWatch::start() {
    thread_ = std::thread([this] { run(); });
    pthread_setname_np(thread_.native_handle(), "millrace-fw");
}

FirewallWatch::Found FirewallWatch::found() {
    eventfd_t count = 0;
    eventfd_read(news_.get(), &count);
    const std::lock_guard lock(mutex_);
    return found_;
}

void FirewallWatch::run() {
    std::array<pollfd, 2> wanted = {{{.fd = wake_.get(), .events = POLLIN, .revents = 0},
                                     {.fd = ruleset_.fd, .events = POLLIN, .revents = 0}}};
    while (!stop_) {
        poll(wanted.data(), wanted.size(), static_cast<int>(period.count()));
        const auto begin = std::chrono::steady_clock::now();
        if (ruleset_.take && ruleset_.take()) {
            spdlog::info("netfilter: notifications were lost; it is read anew");
        }
        look();
        const auto pause = 2 * (std::chrono::steady_clock::now() - begin);
        if (!stop_ && wanted[1].revents != 0) {
            std::this_thread::sleep_for(std::min<std::chrono::nanoseconds>(pause, longest_pause));
        }
    }
}

// What a generation says is whole only when its transaction has ended: policies change after the generation
// has. And no other may have begun to change them.
Result<steering::Hooks> FirewallWatch::settled(steering::Hooks hooks) {
    if (!ruleset_.settle) {
        return hooks;
    }
    for (int i = 0; i < most_tries; ++i) {
        if (const Status waited = ruleset_.settle(); !waited) {
            return tl::unexpected(waited.error());
        }
        auto again = reader_->read(ports_);
        if (!again && again.error().code != EAGAIN) {
            return again;
        }
        if (again && again->generation == hooks.generation) {
            return again;
        }
        if (again) {
            hooks = std::move(*again);
        }
    }
    return fail("the firewall's rules change all the time", EAGAIN);
}

FirewallWatch::Found FirewallWatch::read() {
    if (!reader_) {
        return {.problem = no_reader_};
    }
    auto hooks = reader_->read(ports_);
    if (hooks && *hooks == found_.hooks && found_.problem.empty()) {
        return found_;
    }
    if (hooks) {
        hooks = settled(std::move(*hooks));
    }
    if (hooks) {
        return {.hooks = std::move(*hooks)};
    }
    // Who tries again soon goes on with what was found before: it holds for its generation alone.
    return hooks.error().code == EAGAIN ? found_ : Found{.problem = hooks.error().text()};
}

void FirewallWatch::look() {
    Found now = read();
    const std::lock_guard lock(mutex_);
    if (found_ != now) {
        if (!now.problem.empty() && now.problem != found_.problem && reader_) {
            spdlog::warn("all transit is left to the kernel: {}", now.problem);
        }
        found_ = std::move(now);
        eventfd_write(news_.get(), 1);
    }
}

}  // namespace millrace::dataplane
