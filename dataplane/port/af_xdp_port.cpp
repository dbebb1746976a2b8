// SPDX-License-Identifier: BSD-3-Clause
#include "dataplane/port/af_xdp_port.hpp"

#include <linux/if_xdp.h>
#include <net/if.h>
#include <rte_bus_vdev.h>
#include <rte_ethdev.h>
#include <rte_log.h>
#include <sys/socket.h>

#include <algorithm>
#include <filesystem>
#include <set>
#include <utility>

#include "dataplane/port/rings.hpp"
#include "dataplane/port/xsk.hpp"

namespace millrace::dataplane {

namespace {

// The driver keeps its sockets to itself: they are found among the process's descriptors.
std::set<int> af_xdp_sockets() {
    std::set<int> found;
    std::error_code ignored;
    for (const auto& entry : std::filesystem::directory_iterator("/proc/self/fd", ignored)) {
        const int fd = std::stoi(entry.path().filename());
        int domain = 0;
        socklen_t size = sizeof(domain);
        if (getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &size) == 0 && domain == AF_XDP) {
            found.insert(fd);
        }
    }
    return found;
}

}  // namespace

Result<AfXdpPort> AfXdpPort::open(const PortConfig& config, bool zero_copy, rte_mempool* pool,
                                  uint16_t ring) {
    AfXdpPort port;
    port.name_ = config.name;
    port.ifindex_ = Ifindex{if_nametoindex(config.name.c_str())};
    port.ring_ = ring_size(zero_copy, ring);
    for (uint16_t q = 0; q < config.queues; ++q) {
        if (auto opened = port.open_queue(config, zero_copy, q, pool); !opened) {
            return tl::unexpected(opened.error());
        }
    }
    if (raw(port.ifindex_) == 0 || if_nametoindex(config.name.c_str()) != raw(port.ifindex_)) {
        return fail(
            fmt::format("port {}: its netdev was replaced while it was opened; start again", config.name));
    }
    return port;
}

AfXdpPort AfXdpPort::closed(const std::string& name) {
    AfXdpPort port;
    port.name_ = name;
    return port;
}

bool AfXdpPort::alive() const {
    return std::all_of(queues_.begin(), queues_.end(), [](const Queue& q) { return xsk_is_bound(q.fd); });
}

Status AfXdpPort::open_queue(const PortConfig& config, bool zero_copy, uint16_t queue, rte_mempool* pool) {
    const std::string where = fmt::format("port {} queue {}", config.name, queue);
    const std::string device = fmt::format("net_af_xdp_{}_{}", config.name, queue);
    // busy_budget: in copy mode every empty poll would cost a system call for nothing; in zero-copy mode,
    // without it, one receive call can block for a second when the fill ring wants a wake-up.
    const std::string arguments = fmt::format("iface={},start_queue={},queue_count=1,{}", config.name, queue,
                                              zero_copy ? "busy_budget=64" : "force_copy=1,busy_budget=0");
    if (const int error = rte_vdev_init(device.c_str(), arguments.c_str()); error != 0) {
        return fail(where + ": DPDK's net_af_xdp driver refused it (its reason is in the log above)", -error);
    }
    Queue opened;
    if (const int error = rte_eth_dev_get_port_by_name(device.c_str(), &opened.device); error != 0) {
        return fail(where + ": no DPDK device", -error);
    }
    queues_.push_back(opened);

    const std::set<int> before = af_xdp_sockets();
    const rte_eth_conf conf{};
    constexpr auto any_socket = static_cast<unsigned>(SOCKET_ID_ANY);
    int error = rte_eth_dev_configure(opened.device, 1, 1, &conf);
    if (error == 0) {
        error = rte_eth_tx_queue_setup(opened.device, 0, ring_, any_socket, nullptr);
    }
    if (error == 0) {
        error = rte_eth_rx_queue_setup(opened.device, 0, ring_, any_socket, nullptr, pool);
    }
    if (error != 0) {
        return fail(
            where +
                ": no AF_XDP socket (in use by another program? does the netdev have that many queues? "
                "'ethtool -l' tells)",
            -error);
    }
    const std::set<int> after = af_xdp_sockets();
    std::vector<int> added;
    std::set_difference(after.begin(), after.end(), before.begin(), before.end(), std::back_inserter(added));
    if (!added.empty()) {
        queues_.back().fd = added.front();
        xdp_options options{};
        socklen_t size = sizeof(options);
        getsockopt(added.front(), SOL_XDP, XDP_OPTIONS, &options, &size);
        zero_copy_ = (options.flags & XDP_OPTIONS_ZEROCOPY) != 0;
    }
    if (config.zero_copy == ZeroCopy::always && !zero_copy_) {
        return fail(where + ": its driver gives no zero-copy AF_XDP socket; remove 'zero_copy = \"always\"'");
    }
    if (error = rte_eth_dev_start(opened.device); error != 0) {
        return fail(where + ": could not be started", -error);
    }
    return {};
}

AfXdpPort::AfXdpPort(AfXdpPort&& other) noexcept
    : name_(std::move(other.name_)),
      ifindex_(other.ifindex_),
      queues_(std::exchange(other.queues_, {})),
      zero_copy_(other.zero_copy_),
      ring_(other.ring_),
      left_(other.left_) {}

AfXdpPort::~AfXdpPort() {
    if (left_ || !alive()) {
        return;
    }
    // Closing, the driver tries to detach the classifier. The pinned link refuses, as it should; the driver's
    // error message about it would only worry the reader of the log.
    const int level = static_cast<int>(rte_log_get_global_level());
    rte_log_set_global_level(RTE_LOG_CRIT);
    for (const Queue& queue : queues_) {
        rte_eth_dev_stop(queue.device);
        rte_eth_dev_close(queue.device);
    }
    rte_log_set_global_level(static_cast<uint32_t>(level));
}

XskStatistics AfXdpPort::statistics(const Queue& queue) {
    xdp_statistics of{};
    socklen_t size = sizeof(of);
    if (getsockopt(queue.fd, SOL_XDP, XDP_STATISTICS, &of, &size) != 0) {
        return {};
    }
    return {.rx_dropped = of.rx_dropped,
            .rx_ring_full = of.rx_ring_full,
            .fill_ring_empty = of.rx_fill_ring_empty_descs,
            .tx_invalid = of.tx_invalid_descs};
}

XskStatistics AfXdpPort::statistics() const {
    XskStatistics sum;
    for (const Queue& queue : queues_) {
        const XskStatistics one = statistics(queue);
        sum.rx_dropped += one.rx_dropped;
        sum.rx_ring_full += one.rx_ring_full;
        sum.fill_ring_empty += one.fill_ring_empty;
        sum.tx_invalid += one.tx_invalid;
    }
    return sum;
}

}  // namespace millrace::dataplane
