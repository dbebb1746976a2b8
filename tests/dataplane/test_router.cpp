// SPDX-License-Identifier: BSD-3-Clause
#include "tests/dataplane/test_router.hpp"

#include <gtest/gtest.h>
#include <rte_eth_ring.h>
#include <rte_ethdev.h>
#include <rte_mbuf.h>

#include <cstdlib>
#include <cstring>

namespace millrace::test {

namespace {

dataplane::Eal& eal() {
    static const std::unique_ptr<dataplane::Eal> started = [] {
        Config config;
        config.sizes.mbufs = TestRouter::buffers;
        config.workers.cores = {0};
        auto result = dataplane::Eal::start(config);
        if (!result) {
            fmt::print(stderr, "{}\n", result.error().text());
            std::abort();
        }
        return std::move(*result);
    }();
    return *started;
}

rte_ring* make_ring(const std::string& name, uint16_t size) {
    rte_ring* ring = rte_ring_create(name.c_str(), size, SOCKET_ID_ANY, RING_F_EXACT_SZ);
    EXPECT_NE(ring, nullptr) << name;
    return ring;
}

}  // namespace

MacAddress port_mac(unsigned i) {
    return {{0x02, 0, 0, 0, 0x01, static_cast<uint8_t>(i)}};
}

TestRouter::TestRouter(uint16_t tx_ring, uint16_t punt_ring) {
    eal();
    static unsigned instance = 0;
    ++instance;
    pool_ = std::move(*dataplane::create_packet_pool(buffers));
    std::vector<PortConfig> configs;
    std::vector<dataplane::TxQueue> tx;
    for (unsigned p = 0; p < ports; ++p) {
        rx_.push_back(make_ring(fmt::format("rx{}_{}", instance, p), 256));
        tx_.push_back(make_ring(fmt::format("tx{}_{}", instance, p), tx_ring));
        const int device =
            rte_eth_from_rings(fmt::format("r{}_{}", instance, p).c_str(), &rx_[p], 1, &tx_[p], 1, 0);
        EXPECT_GE(device, 0);
        devices_.push_back(static_cast<uint16_t>(device));
        const rte_eth_conf conf{};
        EXPECT_EQ(rte_eth_dev_configure(devices_[p], 1, 1, &conf), 0);
        EXPECT_EQ(rte_eth_rx_queue_setup(devices_[p], 0, 0, 0, nullptr, pool_.get()), 0);
        EXPECT_EQ(rte_eth_tx_queue_setup(devices_[p], 0, 0, 0, nullptr), 0);
        EXPECT_EQ(rte_eth_dev_start(devices_[p]), 0);
        tx.push_back({devices_[p], 0});
        configs.push_back({.name = fmt::format("p{}", p)});
    }
    punt_ = {make_ring(fmt::format("carry_on{}", instance), punt_ring),
             make_ring(fmt::format("answer{}", instance), punt_ring)};
    SizeConfig sizes;
    sizes.fib4_megabytes = 1;
    sizes.fib6_megabytes = 1;
    sizes.groups = 256;
    sizes.adjacencies = 256;
    tables_ = std::move(*Tables::create(configs, sizes, 1));
    for (unsigned p = 0; p < ports; ++p) {
        interface(p, mtu);
    }
    forwarder_ = std::make_unique<Forwarder>(*tables_, tx, std::vector(ports, punt_), counters_);
}

TestRouter::~TestRouter() {
    sent();
    punted();
    for (unsigned p = 0; p < ports; ++p) {
        take(rx_[p], p);
        rte_eth_dev_stop(devices_[p]);
        rte_eth_dev_close(devices_[p]);
        rte_ring_free(rx_[p]);
        rte_ring_free(tx_[p]);
    }
    rte_ring_free(punt_.carry_on);
    rte_ring_free(punt_.answer);
    EXPECT_EQ(free_buffers(), buffers) << "packet buffers leaked";
    const rte_memzone* memory = rte_memzone_lookup("packets_memory");
    pool_.reset();
    rte_memzone_free(memory);
}

Interface TestRouter::interface_of(unsigned port) {
    const std::string name = fmt::format("p{}", port);
    return {.ifindex = Ifindex{port + 1},
            .name = name,
            .port = name,
            .mac = port_mac(port),
            .mtu = mtu,
            .mtu6 = mtu,
            .usable = true};
}

void TestRouter::interface(unsigned port, uint32_t interface_mtu, bool usable) {
    Interface changed = interface_of(port);
    changed.mtu = changed.mtu6 = interface_mtu;
    changed.usable = usable;
    tables_->set_interface(changed);
}

AdjacencyId TestRouter::neighbour(unsigned port, const MacAddress& mac) {
    const AdjacencyId id = tables_->create_adjacency();
    tables_->set_adjacency(id, {Ifindex{port + 1}, Reason::forwarded, mac});
    return id;
}

GroupId TestRouter::group(const std::vector<GroupMember>& members) {
    const GroupId id = tables_->create_group();
    tables_->set_group(id, {Reason::forwarded, members, {}});
    return id;
}

GroupId TestRouter::group(Reason reason) {
    const GroupId id = tables_->create_group();
    tables_->set_group(id, {reason, {}, {}});
    return id;
}

void TestRouter::route(const char* prefix, GroupId group) {
    tables_->set_route(main_table, Prefix::parse(prefix).value(), group);
}

rte_mbuf* TestRouter::make_frame(const Bytes& frame) {
    rte_mbuf* mbuf = rte_pktmbuf_alloc(pool_.get());
    EXPECT_NE(mbuf, nullptr);
    std::memcpy(rte_pktmbuf_append(mbuf, static_cast<uint16_t>(frame.size())), frame.data(), frame.size());
    return mbuf;
}

void TestRouter::receive(unsigned port, const std::vector<Bytes>& frames, uint64_t late) {
    std::vector<rte_mbuf*> mbufs;
    for (const Bytes& frame : frames) {
        mbufs.push_back(make_frame(frame));
    }
    forwarder_->process(mbufs, PortId{static_cast<uint16_t>(port)}, late);
}

std::vector<TestRouter::Out> TestRouter::take(rte_ring* ring, std::optional<unsigned> port) {
    std::vector<Out> out;
    void* object = nullptr;
    while (rte_ring_dequeue(ring, &object) == 0) {
        auto* mbuf = static_cast<rte_mbuf*>(object);
        const auto* data = rte_pktmbuf_mtod(mbuf, const uint8_t*);
        EXPECT_EQ(mbuf->pkt_len, mbuf->data_len) << "one segment";
        out.push_back({port.value_or(mbuf->port), Bytes(data, data + mbuf->data_len)});
        rte_pktmbuf_free(mbuf);
    }
    return out;
}

std::vector<TestRouter::Out> TestRouter::sent() {
    std::vector<Out> all;
    for (unsigned p = 0; p < ports; ++p) {
        const auto out = take(tx_[p], p);
        all.insert(all.end(), out.begin(), out.end());
    }
    return all;
}

std::vector<TestRouter::Out> TestRouter::punted() {
    std::vector<Out> all = take(punt_.carry_on, std::nullopt);
    const std::vector<Out> answered = take(punt_.answer, std::nullopt);
    all.insert(all.end(), answered.begin(), answered.end());
    return all;
}

uint64_t TestRouter::count(unsigned port, Reason reason) {
    return counters_.port[port].by_reason[static_cast<unsigned>(reason)].read();
}

unsigned TestRouter::free_buffers() const {
    return rte_mempool_avail_count(pool_.get());
}

}  // namespace millrace::test
