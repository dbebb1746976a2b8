// SPDX-License-Identifier: BSD-3-Clause
#include "fib_sync/policy_watch.hpp"

#include <linux/rtnetlink.h>
#include <linux/xfrm.h>
#include <spdlog/spdlog.h>
#include <sys/socket.h>

#include <array>
#include <cerrno>

#include "fib_sync/policy_reader.hpp"

namespace millrace::sync {
namespace {

constexpr int notifications_per_read = 256;

}  // namespace

Result<PolicyWatch> PolicyWatch::open() {
    constexpr std::array route_groups = {int{RTNLGRP_IPV4_RULE}, int{RTNLGRP_IPV6_RULE},
                                         int{RTNLGRP_IPV4_NETCONF}, int{RTNLGRP_IPV6_NETCONF},
                                         int{RTNLGRP_TC}};
    constexpr std::array xfrm_groups = {int{XFRMNLGRP_POLICY}};
    auto events = Exchange::open(NETLINK_ROUTE, route_groups);
    if (!events) {
        return tl::unexpected(events.error());
    }
    auto opened = PolicyReader::open();
    if (!opened) {
        return tl::unexpected(opened.error());
    }
    // What could not be read stays as it was.
    const auto reader = std::make_shared<PolicyReader>(std::move(*opened));
    auto reading = Reading::start(
        "millrace-policy",
        [reader, policy = Policy{}](const PolicyQuestion& question,
                                    const std::atomic<bool>& stop) mutable -> PolicyAnswer {
            Status status = question.everything ? reader->read(question.ports, policy, stop)
                                                : reader->read_links(question.ports, policy, stop);
            return {.everything = question.everything, .status = std::move(status), .policy = policy};
        });
    if (!reading) {
        return tl::unexpected(reading.error());
    }
    PolicyWatch watch(std::move(*events), std::move(*reading));
    if (auto xfrm = Exchange::open(NETLINK_XFRM, xfrm_groups)) {
        watch.xfrm_events_ = std::move(*xfrm);
    } else {
        spdlog::debug("no XFRM in this kernel: {}", xfrm.error().text());
    }
    return watch;
}

std::vector<int> PolicyWatch::fds() const {
    std::vector<int> all = {route_events_.fd(), reading_->fd()};
    if (xfrm_events_) {
        all.push_back(xfrm_events_->fd());
    }
    return all;
}

bool PolicyWatch::changed() {
    bool any = false;
    for (const Exchange* events : {&route_events_, xfrm_events_ ? &*xfrm_events_ : nullptr}) {
        // That there is one says enough: what it is about is read from the table.
        std::array<char, 16> head{};
        for (int i = 0; events != nullptr && i < notifications_per_read; ++i) {
            if (recv(events->fd(), head.data(), head.size(), MSG_DONTWAIT) < 0) {
                any = any || errno == ENOBUFS;
                break;
            }
            any = true;
        }
    }
    return any;
}

}  // namespace millrace::sync
