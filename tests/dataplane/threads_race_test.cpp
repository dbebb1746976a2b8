// SPDX-License-Identifier: BSD-3-Clause
// A worker, the punting thread, the control thread and one that only looks, together under ThreadSanitizer:
// packets of all outcomes, while routes, next hops and ports change. No data race; no frame is lost but
// counted.
#include <gtest/gtest.h>
#include <rte_ethdev.h>
#include <rte_mempool.h>
#include <sanitizer/tsan_interface.h>
#include <sched.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cstdlib>
#include <random>
#include <thread>
#include <utility>

#include "dataplane/forward/worker.hpp"
#include "dataplane/punt/punter.hpp"
#include "tests/dataplane/test_router.hpp"

// DPDK reads a ring's ends without saying that they are shared; what it finds may be old, and is taken so.
extern "C" const char* __tsan_default_suppressions() {  // NOLINT: the run-time library's name
    return "race:^rte_ring_empty(\n"
           "race:^rte_ring_count(\n";
}

namespace millrace::test {
namespace {

using namespace std::chrono_literals;
using dataplane::Punter;
using dataplane::Worker;

constexpr auto lasts = 3s;
constexpr unsigned prefixes = 64;

// DPDK's libraries are not built with ThreadSanitizer: where a packet changes hands in them, it is told here.
// Handed over by the punting rings it is told by the rings themselves, which are inline (and of C11's memory
// model, by this program's definitions).
eth_rx_burst_t receive_burst = nullptr;
eth_tx_burst_t send_burst = nullptr;
rte_mempool_enqueue_t put_back = nullptr;
rte_mempool_dequeue_t take_out = nullptr;

uint16_t told_receive(void* queue, rte_mbuf** packets, uint16_t count) {
    const uint16_t n = receive_burst(queue, packets, count);
    std::for_each_n(packets, n, [](rte_mbuf* packet) { __tsan_acquire(packet); });
    return n;
}
uint16_t told_send(void* queue, rte_mbuf** packets, uint16_t count) {
    std::for_each_n(packets, count, [](rte_mbuf* packet) { __tsan_release(packet); });
    return send_burst(queue, packets, count);
}
int told_put_back(rte_mempool* pool, void* const* objects, unsigned count) {
    std::for_each_n(objects, count, [](void* object) { __tsan_release(object); });
    return put_back(pool, objects, count);
}
int told_take_out(rte_mempool* pool, void** objects, unsigned count) {
    const int result = take_out(pool, objects, count);
    if (result == 0) {
        std::for_each_n(objects, count, [](void* object) { __tsan_acquire(object); });
    }
    return result;
}

void tell_of_packets(TestRouter& router) {
    for (unsigned p = 0; p < TestRouter::ports; ++p) {
        auto& device = rte_eth_fp_ops[router.device(p)];
        receive_burst = std::exchange(device.rx_pkt_burst, told_receive);
        send_burst = std::exchange(device.tx_pkt_burst, told_send);
    }
    rte_mempool_ops* pool = rte_mempool_get_ops(router.pool()->ops_index);
    put_back = std::exchange(pool->enqueue, told_put_back);
    take_out = std::exchange(pool->dequeue, told_take_out);
}

unsigned take_sent(TestRouter& router) {
    unsigned taken = 0;
    for (unsigned p = 0; p < TestRouter::ports; ++p) {
        void* packet = nullptr;
        while (rte_ring_dequeue(router.tx_ring(p), &packet) == 0) {
            __tsan_acquire(packet);
            rte_pktmbuf_free(static_cast<rte_mbuf*>(packet));
            ++taken;
        }
    }
    return taken;
}

class ThreadsRaceTest : public testing::Test {
  protected:
    static void SetUpTestSuite() {
        ASSERT_EQ(unshare(CLONE_NEWNET), 0) << "must run as root";
        ASSERT_EQ(
            std::system("ip link add p0 type veth peer name far && ip link set p0 up && ip link set far up"),
            0);
    }
};

Bytes frame_to(unsigned prefix) {
    return Frame()
        .ethernet({.destination = port_mac(0)})
        .ipv4({.destination = address(fmt::format("198.51.{}.9", prefix))})
        .udp()
        .bytes();
}

TEST_F(ThreadsRaceTest, WorkerPunterAndControlThread) {
    TestRouter router;
    auto tap = dataplane::Tap::create("p0");
    ASSERT_TRUE(tap) << tap.error().text();
    std::vector<std::optional<dataplane::Tap>> taps(TestRouter::ports);
    taps[0].emplace(std::move(*tap));
    auto punter = Punter::start(std::move(taps), 256, 100'000, SteeringConfig{}.late_ms());
    ASSERT_TRUE(punter) << punter.error().text();
    tell_of_packets(router);
    dataplane::WorkerCounters counters(TestRouter::ports);
    std::vector<dataplane::TxQueue> tx;
    for (unsigned p = 0; p < TestRouter::ports; ++p) {
        tx.push_back({router.device(p), 0});
    }
    dataplane::Forwarder forwarder(router.tables(), tx, (*punter)->rings(), counters);
    Worker worker(0, {{router.device(0), 0, PortId{0}, -1}}, forwarder, router.tables().quiescence(),
                  counters, WorkerConfig{.cores = {0}, .idle = IdlePolicy::sleep, .idle_after_us = 50});
    std::thread running([&] { worker.run(); });
    std::atomic<bool> over{false};

    std::thread control([&] {
        std::mt19937 dice(1);
        const std::array<GroupId, 3> plain = {router.group(Reason::drop_blackhole),
                                              router.group(Reason::punt_local),
                                              router.group(Reason::punt_no_route)};
        while (!over) {
            const AdjacencyId a = router.neighbour(1, {{2, 0, 0, 0, 0, 9}});
            const AdjacencyId b = router.neighbour(2, {{2, 0, 0, 0, 0, 8}});
            const GroupId one = router.group({{a}});
            const GroupId both = router.group({{a}, {b}});
            for (unsigned n = 0; n < 200 && !over; ++n) {
                const std::string prefix = fmt::format("198.51.{}.0/24", dice() % prefixes);
                switch (dice() % 6) {
                    case 0:
                        router.tables().set_adjacency(a, {Ifindex{2}, Reason::punt_no_neighbour, {}});
                        break;
                    case 1:
                        router.tables().set_adjacency(a,
                                                      {Ifindex{2}, Reason::forwarded, {{2, 0, 0, 0, 0, 7}}});
                        break;
                    case 2:
                        router.interface(1, 1400 + dice() % 200, dice() % 8 != 0);
                        break;
                    case 3:
                        router.route(prefix.c_str(), plain[dice() % plain.size()]);
                        break;
                    default:
                        router.route(prefix.c_str(), dice() % 2 == 0 ? one : both);
                }
                router.tables().commit();
                std::this_thread::sleep_for(100us);
            }
            for (unsigned p = 0; p < prefixes; ++p) {
                router.route(fmt::format("198.51.{}.0/24", p).c_str(), plain[0]);
            }
            for (const GroupId group : {one, both}) {
                router.tables().destroy_group(group);
            }
            for (const AdjacencyId adjacency : {a, b}) {
                router.tables().destroy_adjacency(adjacency);
            }
            router.tables().commit();
        }
    });
    // As the heart, 'show counters' and the relief of punts do.
    std::thread looks([&] {
        uint64_t sum = 0;
        while (!over) {
            sum += counters.loops.read() + counters.port[0].rx_packets.read() + (*punter)->rounds();
            for (unsigned r = 0; r < counters.port[0].by_reason.size(); ++r) {
                sum += counters.port[0].by_reason[r].read();
            }
            sum += (*punter)->written(PortId{0}) + (*punter)->late(PortId{0}) +
                   (*punter)->refused(PortId{0}) + (*punter)->over_rate(PortId{0}) +
                   (*punter)->empty(PortId{0});
            (*punter)->take_sample(PortId{0});
            sum += static_cast<uint64_t>(worker.tid());
            std::this_thread::sleep_for(200us);
        }
        EXPECT_GT(sum, 0U);
    });

    std::vector<Bytes> frames;
    for (unsigned p = 0; p < prefixes; ++p) {
        frames.push_back(frame_to(p));
    }
    std::mt19937 dice(2);
    uint64_t sent = 0;
    uint64_t left = 0;
    const auto end = std::chrono::steady_clock::now() + lasts;
    while (std::chrono::steady_clock::now() < end) {
        for (unsigned n = 0; n < 32 && rte_ring_free_count(router.rx_ring(0)) > 0; ++n) {
            rte_mbuf* frame = router.make_frame(frames[dice() % prefixes]);
            __tsan_release(frame);
            ASSERT_EQ(rte_ring_enqueue(router.rx_ring(0), frame), 0);
            ++sent;
        }
        left += take_sent(router);
        std::this_thread::sleep_for(200us);
    }
    EXPECT_TRUE(eventually([&] { return counters.port[0].rx_packets.read() == sent; }));
    over = true;
    control.join();
    looks.join();
    worker.stop();
    running.join();
    left += take_sent(router);
    const auto count = [&](Reason reason) {
        return counters.port[0].by_reason[static_cast<unsigned>(reason)].read();
    };
    EXPECT_EQ(count(Reason::forwarded), left + count(Reason::drop_tx_full));
    EXPECT_GT(left, 1000U);
    EXPECT_GT((*punter)->written(PortId{0}) + (*punter)->refused(PortId{0}), 1000U);
    EXPECT_GT(count(Reason::drop_blackhole), 100U);
    punter->reset();
}

}  // namespace
}  // namespace millrace::test
