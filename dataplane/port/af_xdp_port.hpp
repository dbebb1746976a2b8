// SPDX-License-Identifier: BSD-3-Clause
// The AF_XDP queues of one port: a net_af_xdp device of DPDK for each queue, all over one packet pool.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "millrace/config.hpp"
#include "millrace/result.hpp"

struct rte_mempool;

namespace millrace::dataplane {

// What the kernel counted on the sockets of a port, since they were opened (linux/if_xdp.h, XDP_STATISTICS).
struct XskStatistics {
    uint64_t rx_dropped = 0;
    uint64_t rx_ring_full = 0;
    uint64_t fill_ring_empty = 0;
    uint64_t tx_invalid = 0;
};

class AfXdpPort {
  public:
    struct Queue {
        uint16_t device = 0;  // DPDK's port id; its queue is always 0
        int fd = -1;          // the AF_XDP socket: may be polled, is the driver's to close
    };

    // After Eal::start, with a classifier on the netdev. Main thread. pool outlives the port. Once it
    // returns, the sockets are in the classifier's map. zero_copy: asked for; demanded, if the configuration
    // says so. ring: descriptors, a power of two; see ring_size().
    static Result<AfXdpPort> open(const PortConfig& config, bool zero_copy, rte_mempool* pool, uint16_t ring);
    // A port that is not served: no queues, no netdev. It keeps its place, the PortId.
    static AfXdpPort closed(const std::string& name);
    // Closing, the driver takes whatever XDP program is there off the netdev with the ifindex that it knows;
    // only the classifier's pinned link withstands. So a port whose sockets are dead, its netdev being gone,
    // or that was told to leave(), is left for the end of the process.
    ~AfXdpPort();
    AfXdpPort(AfXdpPort&& other) noexcept;
    AfXdpPort(const AfXdpPort&) = delete;
    AfXdpPort& operator=(const AfXdpPort&) = delete;
    AfXdpPort& operator=(AfXdpPort&&) = delete;

    [[nodiscard]] const std::string& name() const { return name_; }
    // Its classifier is no longer ours. Main thread.
    void leave() { left_ = true; }
    // Of the netdev that the sockets are bound to.
    [[nodiscard]] Ifindex ifindex() const { return ifindex_; }
    [[nodiscard]] const std::vector<Queue>& queues() const { return queues_; }
    [[nodiscard]] bool zero_copy() const { return zero_copy_; }
    // Descriptors of each receive ring; 0: not open.
    [[nodiscard]] uint16_t ring() const { return ring_; }
    // Any thread.
    [[nodiscard]] bool is_open() const { return !queues_.empty(); }
    // Are the sockets still bound? Once they are not, they never are again. True for a closed port.
    [[nodiscard]] bool alive() const;
    [[nodiscard]] XskStatistics statistics() const;
    // Of one queue.
    [[nodiscard]] static XskStatistics statistics(const Queue& queue);

  private:
    AfXdpPort() = default;
    Status open_queue(const PortConfig& config, bool zero_copy, uint16_t queue, rte_mempool* pool);

    std::string name_;
    Ifindex ifindex_{};
    std::vector<Queue> queues_;
    bool zero_copy_ = false;
    uint16_t ring_ = 0;
    bool left_ = false;
};

}  // namespace millrace::dataplane
