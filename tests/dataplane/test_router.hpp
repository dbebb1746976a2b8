// SPDX-License-Identifier: BSD-3-Clause
// The real forwarder in one process: real mempool, real tables, DPDK's ring devices for ports. State goes in
// through ForwardingSink, frames go in and come out whole.
#pragma once

#include <rte_mempool.h>
#include <rte_ring.h>

#include <chrono>
#include <memory>
#include <optional>
#include <thread>
#include <vector>

#include "dataplane/fib/tables.hpp"
#include "dataplane/forward/forwarder.hpp"
#include "dataplane/port/eal.hpp"
#include "tests/support/frame.hpp"

namespace millrace::test {

using dataplane::Forwarder;
using dataplane::PortCounters;
using dataplane::Tables;
using dataplane::WorkerCounters;

// MAC address of the router's port i.
MacAddress port_mac(unsigned i);

class TestRouter {
  public:
    static constexpr unsigned ports = 4;
    static constexpr uint32_t mtu = 1500;

    // Sizes in frames. One at a time in a process.
    explicit TestRouter(uint16_t tx_ring = 256, uint16_t punt_ring = 256);
    ~TestRouter();
    TestRouter(const TestRouter&) = delete;
    TestRouter& operator=(const TestRouter&) = delete;

    // State in. A next hop on port with MAC; a group of one or more; a route.
    AdjacencyId neighbour(unsigned port, const MacAddress& mac);
    GroupId group(const std::vector<GroupMember>& members);
    GroupId group(Reason reason);
    void route(const char* prefix, GroupId group);
    void interface(unsigned port, uint32_t mtu, bool usable = true);
    // As it is at the beginning; for set_interface() with something changed.
    static Interface interface_of(unsigned port);

    // Frames in, all in one burst, on one port.
    void receive(unsigned port, const std::vector<Bytes>& frames, uint64_t late = UINT64_MAX);
    // Frames out, each with the port it left or was punted on; they are taken away.
    struct Out {
        unsigned port;
        Bytes frame;
        bool operator==(const Out&) const = default;
    };
    std::vector<Out> sent();
    std::vector<Out> punted();  // first what the kernel is to carry on, then the rest

    // Counter of the ingress port.
    uint64_t count(unsigned port, Reason reason);
    PortCounters& counters(unsigned port) { return counters_.port[port]; }
    WorkerCounters& worker_counters() { return counters_; }
    // Packet buffers that nobody has: all, when nothing leaks.
    unsigned free_buffers() const;
    static constexpr unsigned buffers = 4096;

    Tables& tables() { return *tables_; }
    Forwarder& forwarder() { return *forwarder_; }
    uint16_t device(unsigned port) const { return devices_[port]; }
    rte_mbuf* make_frame(const Bytes& frame);
    rte_ring* rx_ring(unsigned port) { return rx_[port]; }
    rte_ring* tx_ring(unsigned port) { return tx_[port]; }
    rte_mempool* pool() { return pool_.get(); }

  private:
    static std::vector<Out> take(rte_ring* ring, std::optional<unsigned> port);

    dataplane::Mempool pool_;
    std::vector<rte_ring*> rx_;
    std::vector<rte_ring*> tx_;
    std::vector<uint16_t> devices_;
    dataplane::PuntRings punt_;  // of all ports
    std::unique_ptr<Tables> tables_;
    dataplane::WorkerCounters counters_{ports};
    std::unique_ptr<Forwarder> forwarder_;
};

// Within 20 s, on a busy machine?
template <class Condition>
bool eventually(const Condition& condition) {
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(20);
    while (!condition()) {
        if (std::chrono::steady_clock::now() > deadline) {
            return false;
        }
        std::this_thread::yield();
    }
    return true;
}

}  // namespace millrace::test
