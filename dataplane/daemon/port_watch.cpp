// SPDX-License-Identifier: BSD-3-Clause
#include "dataplane/daemon/port_watch.hpp"

#include <fmt/core.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <poll.h>
#include <pthread.h>
#include <spdlog/spdlog.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <utility>

namespace millrace::dataplane {

namespace {

// Link messages may come without end: a third of one CPU goes to looking, at most.
constexpr auto longest_pause = std::chrono::milliseconds(50);
constexpr auto shortest_pause = std::chrono::milliseconds(2);
constexpr int most_messages = 10'000;  // at a time

// Has the kernel tell of every link; none where it refuses.
steering::Fd link_messages() {
    steering::Fd socket(::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_ROUTE));
    sockaddr_nl address{};
    address.nl_family = AF_NETLINK;
    address.nl_groups = RTMGRP_LINK;
    if (!socket || bind(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0) {
        spdlog::warn("link messages can't be had: what takes a port's frames is noticed every {} ms",
                     PortWatch::period.count());
        return {};
    }
    return socket;
}

}  // namespace

std::string hidden_tags(const PortConfig& port, uint32_t sees, bool hardware,
                        const Result<steering::TagOffload>& offload) {
    constexpr const char* otherwise = "vlan_tags = \"none\" if its link carries none";
    if (port.vlan_tags == VlanTags::none || (sees & MILLRACE_SEES_TAGS) != 0) {
        return {};
    }
    if (!hardware) {
        return fmt::format("VLAN tags can't be seen here; {}", otherwise);
    }
    if (!offload) {
        return fmt::format("VLAN offloads can't be asked for; {}", otherwise);
    }
    if (offload->on == 0) {
        return {};
    }
    if ((offload->on & ~offload->changeable) != 0) {
        return fmt::format("the driver strips VLAN tags; {}", otherwise);
    }
    return fmt::format("the driver strips VLAN tags; 'ethtool -K {} {}', or {}", port.name,
                       offload->on == MILLRACE_RESTORE_STAG ? "rx-vlan-stag-hw-parse off" : "rxvlan off",
                       otherwise);
}

std::string hidden_tags(const PortConfig& port, uint32_t sees, Ifindex ifindex) {
    if (port.vlan_tags == VlanTags::none || (sees & MILLRACE_SEES_TAGS) != 0) {
        return {};  // nothing to ask the kernel for
    }
    if (!steering::has_hardware(ifindex)) {
        return hidden_tags(port, sees, false, steering::TagOffload{});
    }
    return hidden_tags(port, sees, true, steering::tag_offload(port.name));
}

PortWatch::PortWatch(std::vector<Watched> ports)
    : wake_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)),
      news_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)),
      links_(link_messages()),
      found_(ports.size()) {
    for (Watched& port : ports) {
        ports_.push_back({.watched = std::move(port)});
    }
    auto judge = steering::Judge::load();
    if (judge) {
        judge_.emplace(std::move(*judge));
    } else {
        no_judge_ = judge.error().text();
        spdlog::warn("whether a device above a port takes its frames is not shown: {}", no_judge_);
    }
    look_at_all();
}

PortWatch::~PortWatch() {
    stop_ = true;
    nudge();
    if (thread_.joinable()) {
        thread_.join();
    }
}

void PortWatch::start() {
    thread_ = std::thread([this] { run(); });
    pthread_setname_np(thread_.native_handle(), "millrace-watch");
}

void PortWatch::nudge() const {
    eventfd_write(wake_.get(), 1);
}

std::vector<PortWatch::Found> PortWatch::found() {
    eventfd_t count = 0;
    eventfd_read(news_.get(), &count);
    const std::lock_guard lock(mutex_);
    return found_;
}

void PortWatch::run() {
    while (!stop_) {
        std::array<pollfd, 2> wanted = {{{.fd = wake_.get(), .events = POLLIN, .revents = 0},
                                         {.fd = links_.get(), .events = POLLIN, .revents = 0}}};
        poll(wanted.data(), wanted.size(), static_cast<int>(period.count()));
        eventfd_t count = 0;
        eventfd_read(wake_.get(), &count);
        announced_ = !links_ || links_changed();
        const auto begin = std::chrono::steady_clock::now();
        look_at_all();
        const auto pause = 2 * (std::chrono::steady_clock::now() - begin);
        if (!stop_) {
            std::this_thread::sleep_for(
                std::clamp<std::chrono::nanoseconds>(pause, shortest_pause, longest_pause));
        }
    }
}

bool PortWatch::links_changed() const {
    std::array<char, 16> head{};  // that there is one says enough
    bool any = false;
    for (int i = 0; i < most_messages; ++i) {
        if (recv(links_.get(), head.data(), head.size(), MSG_DONTWAIT) < 0 && errno != ENOBUFS) {
            break;
        }
        any = true;
    }
    return any;
}

void PortWatch::look_at_all() {
    for (size_t p = 0; p < ports_.size() && !stop_; ++p) {
        if (!ports_[p].watched.sees) {
            continue;
        }
        Found now = look(ports_[p]);
        const std::lock_guard lock(mutex_);
        if (found_[p] != now) {
            found_[p] = std::move(now);
            eventfd_write(news_.get(), 1);
        }
    }
}

// For a name that it doesn't know the kernel runs modprobe: it is asked only when there may be news.
Ifindex PortWatch::ifindex_of(Port& port) const {
    const std::string& name = port.watched.config.name;
    std::array<char, IF_NAMESIZE> now{};
    if (raw(port.ifindex) == 0 || if_indextoname(raw(port.ifindex), now.data()) == nullptr ||
        name != now.data()) {
        port.ifindex = announced_ ? Ifindex{if_nametoindex(name.c_str())} : Ifindex{};
    }
    return port.ifindex;
}

PortWatch::Found PortWatch::look(Port& port) {
    Found found;
    const PortConfig& config = port.watched.config;
    const uint32_t sees = port.watched.sees.value_or(0);
    const Ifindex ifindex = ifindex_of(port);
    if (raw(ifindex) == 0) {
        return found;
    }
    if (std::string text = hidden_tags(config, sees, ifindex); !text.empty()) {
        found.keeps.push_back({.cause = KeepCause::tags, .port = config.name, .text = std::move(text)});
    }
    auto taker = judge_ ? judge_->taker_of(ifindex) : fail(no_judge_);
    if (taker) {
        found.macvlan = taker->macvlan;
        found.of_netlink = taker->of_netlink;
        if (!taker->text.empty()) {
            found.keeps.push_back(
                {.cause = KeepCause::taken, .port = config.name, .text = std::move(taker->text)});
        }
    } else if ((sees & MILLRACE_SEES_TAKERS) == 0 && taker.error().code != ENODEV) {
        found.keeps.push_back({.cause = KeepCause::taken,
                               .port = config.name,
                               .text = "whether a device above it takes its frames can't be read"});
    }
    return found;
}

}  // namespace millrace::dataplane
