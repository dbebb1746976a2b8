// SPDX-License-Identifier: BSD-3-Clause
// The worker's loop: it serves its queues, says that it is alive, sleeps when idle, and ends when told.
#include "dataplane/forward/worker.hpp"

#include <gtest/gtest.h>
#include <rte_ring.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <chrono>
#include <thread>

#include "tests/dataplane/test_router.hpp"

namespace millrace::test {
namespace {

using namespace std::chrono_literals;

template <class Condition>
bool eventually(const Condition& condition) {
    const auto deadline = std::chrono::steady_clock::now() + 5s;
    while (!condition()) {
        if (std::chrono::steady_clock::now() > deadline) {
            return false;
        }
        std::this_thread::yield();
    }
    return true;
}

class WorkerTest : public testing::TestWithParam<IdlePolicy> {
  protected:
    void SetUp() override {
        router.route("198.51.100.0/24", router.group({{router.neighbour(1, {{2, 0, 0, 0, 0, 9}})}}));
        wake = eventfd(0, EFD_NONBLOCK);
        std::vector<dataplane::RxQueue> queues;
        for (unsigned p = 0; p < TestRouter::ports; ++p) {
            queues.push_back({router.device(p), 0, PortId{static_cast<uint16_t>(p)}, wake});
        }
        worker = std::make_unique<dataplane::Worker>(
            0, queues, router.forwarder(), router.tables().quiescence(), router.worker_counters(),
            WorkerConfig{.cores = {0}, .idle = GetParam(), .idle_after_us = 50});
        thread = std::thread([this] { worker->run(); });
    }
    void TearDown() override {
        worker->stop();
        thread.join();
        close(wake);
    }
    void send(unsigned port) {
        ASSERT_EQ(rte_ring_enqueue(router.rx_ring(port), router.make_frame(frame)), 0);
        const uint64_t one = 1;
        ASSERT_EQ(write(wake, &one, sizeof(one)), 8);
    }

    TestRouter router;
    Bytes frame = Frame().ethernet({.destination = port_mac(0)}).ipv4().udp().bytes();
    int wake = -1;
    std::unique_ptr<dataplane::Worker> worker;
    std::thread thread;
};

class DeadSocketTest : public testing::Test {
  protected:
    void SetUp() override {
        router.route("198.51.100.0/24", router.group({{router.neighbour(1, {{2, 0, 0, 0, 0, 9}})}}));
        wake = eventfd(0, EFD_NONBLOCK);
        int ends[2];
        ASSERT_EQ(pipe(ends), 0);
        close(ends[0]);
        dead = ends[1];
        worker = std::make_unique<dataplane::Worker>(
            0,
            std::vector<dataplane::RxQueue>{{router.device(0), 0, PortId{0}, wake},
                                            {router.device(2), 0, PortId{2}, dead}},
            router.forwarder(), router.tables().quiescence(), router.worker_counters(),
            WorkerConfig{.cores = {0}, .idle = IdlePolicy::sleep, .idle_after_us = 50});
        thread = std::thread([this] { worker->run(); });
    }
    void TearDown() override {
        worker->stop();
        thread.join();
        close(wake);
        close(dead);
    }
    const dataplane::WorkerCounters& counters() { return router.worker_counters(); }
    void send_on_live() {
        const Bytes frame = Frame().ethernet({.destination = port_mac(0)}).ipv4().udp().bytes();
        ASSERT_EQ(rte_ring_enqueue(router.rx_ring(0), router.make_frame(frame)), 0);
    }

    TestRouter router;
    int wake = -1;
    int dead = -1;
    std::unique_ptr<dataplane::Worker> worker;
    std::thread thread;
};

TEST_P(WorkerTest, ServesEveryQueueUnderItsOwnPort) {
    for (const unsigned p : {0U, 2U, 3U}) {
        send(p);
        EXPECT_TRUE(eventually([&] { return router.count(p, Reason::forwarded) == 1; })) << "port " << p;
    }
    EXPECT_EQ(router.sent().size(), 3U);
}

TEST_P(WorkerTest, LoopsMoveWithoutTraffic) {
    const uint64_t before = router.worker_counters().loops.read();
    EXPECT_TRUE(eventually([&] { return router.worker_counters().loops.read() > before + 3; }));
}

TEST_P(WorkerTest, SleepsOnlyWhenAllowed) {
    if (GetParam() == IdlePolicy::sleep) {
        EXPECT_TRUE(eventually([&] { return router.worker_counters().sleeps.read() > 2; }));
    } else {
        const uint64_t before = router.worker_counters().loops.read();
        EXPECT_TRUE(eventually([&] { return router.worker_counters().loops.read() > before + 100000; }));
        EXPECT_EQ(router.worker_counters().sleeps.read(), 0U);
    }
}

// A descriptor that will say POLLERR for ever, as some kernels' AF_XDP sockets do once their netdev is gone.
TEST_F(DeadSocketTest, AnIdleWorkerSleepsAllTheSame) {
    EXPECT_TRUE(eventually([&] { return counters().sleeps.read() > 2; }));
    const uint64_t before = counters().sleeps.read();
    std::this_thread::sleep_for(200ms);
    EXPECT_LE(counters().sleeps.read() - before, 200U / dataplane::Worker::sleep_ms + 2);
    send_on_live();
    EXPECT_TRUE(eventually([&] { return router.count(0, Reason::forwarded) == 1; }));
}

TEST_P(WorkerTest, GracePeriodsEndWhileItRuns) {
    const GroupId group = router.group(Reason::drop_blackhole);
    EXPECT_TRUE(eventually([&] { return router.worker_counters().loops.read() > 0; }));
    router.tables().destroy_group(group);
    EXPECT_TRUE(eventually([&] {
        router.tables().commit();
        return router.tables().quiescence().waiting() == 0;
    }));
}

INSTANTIATE_TEST_SUITE_P(Idle, WorkerTest, testing::Values(IdlePolicy::spin, IdlePolicy::sleep),
                         [](const auto& test) { return test.param == IdlePolicy::spin ? "spin" : "sleep"; });

}  // namespace
}  // namespace millrace::test
