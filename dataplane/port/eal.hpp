// SPDX-License-Identifier: BSD-3-Clause
// DPDK's environment: started from the configuration alone, no PCI, no files left behind.
#pragma once

#include <memory>

#include "millrace/config.hpp"
#include "millrace/result.hpp"

struct rte_mempool;

namespace millrace::dataplane {

// One for each process: DPDK can't be started twice.
class Eal {
  public:
    // Main thread; it becomes DPDK's main lcore, not bound to a core. Worker i runs on lcore i + 1.
    static Result<std::unique_ptr<Eal>> start(const Config& config);
    ~Eal();
    Eal(const Eal&) = delete;
    Eal& operator=(const Eal&) = delete;

    [[nodiscard]] bool hugepages() const { return hugepages_; }

  private:
    explicit Eal(bool hugepages) : hugepages_(hugepages) {}
    bool hugepages_;
};

struct MempoolDeleter {
    void operator()(rte_mempool* pool) const;
};
using Mempool = std::unique_ptr<rte_mempool, MempoolDeleter>;

// The packet buffers of all ports: count objects of exactly 4096 bytes, side by side from a page boundary, as
// an AF_XDP UMEM over them wants it. After Eal::start.
Result<Mempool> create_packet_pool(uint32_t count);

}  // namespace millrace::dataplane
