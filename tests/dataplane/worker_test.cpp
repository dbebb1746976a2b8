// SPDX-License-Identifier: BSD-3-Clause
// The worker's loop: it serves its queues, says that it is alive, sleeps when idle, discards what waited
// while it stood still, and ends when told.
#include "dataplane/forward/worker.hpp"

#include <gtest/gtest.h>
#include <rte_cycles.h>
#include <rte_ring.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <csignal>
#include <thread>

#include "tests/dataplane/test_router.hpp"

namespace millrace::test {
namespace {

using namespace std::chrono_literals;

// A thread that stands still, as after SIGSTOP: a signal handler that waits to be told to end.
class Pause {
  public:
    explicit Pause(std::thread& thread) {
        EXPECT_EQ(pipe(begun_.data()), 0);
        EXPECT_EQ(pipe(over_.data()), 0);
        struct sigaction action {};
        action.sa_handler = [](int) {
            char byte = 0;
            (void)!write(begun_[1], &byte, 1);
            (void)!read(over_[0], &byte, 1);
        };
        sigaction(SIGUSR1, &action, nullptr);
        pthread_kill(thread.native_handle(), SIGUSR1);
        char byte = 0;
        EXPECT_EQ(read(begun_[0], &byte, 1), 1);
    }
    ~Pause() {
        EXPECT_EQ(write(over_[1], "", 1), 1);
        std::this_thread::sleep_for(10ms);
        for (const int fd : {begun_[0], begun_[1], over_[1]}) {
            close(fd);
        }
    }
    Pause(const Pause&) = delete;
    Pause& operator=(const Pause&) = delete;

  private:
    static inline std::array<int, 2> begun_{};
    static inline std::array<int, 2> over_{};
};

constexpr uint32_t late_ms = 300;

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
            WorkerConfig{.cores = {0}, .idle = GetParam(), .idle_after_us = 50}, late_ms);
        thread = std::thread([this] { worker->run(); });
        ASSERT_TRUE(eventually([&] { return router.worker_counters().loops.read() > 2; }));
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

TEST_P(WorkerTest, TellsWhatItsTimeWentInto) {
    const dataplane::WorkerCounters& counters = router.worker_counters();
    ASSERT_TRUE(eventually([&] { return counters.loops.read() > 2; }));
    EXPECT_NE(counters.begun_ns.read(), 0U);
    EXPECT_EQ(counters.busy_cycles.read(), 0U) << "no packet has come";
    EXPECT_EQ(counters.bursts.read(), 0U);
    send(0);
    EXPECT_TRUE(eventually([&] { return counters.busy_cycles.read() > 0; }));
    EXPECT_EQ(counters.bursts.read(), 1U);
    const uint64_t busy = counters.busy_cycles.read();
    EXPECT_TRUE(eventually([&] {
        return counters.asleep_cycles.read() > (GetParam() == IdlePolicy::sleep ? busy : 0) ||
               counters.loops.read() > 100'000;
    }));
    EXPECT_EQ(counters.busy_cycles.read(), busy) << "rounds without packets are none of it";
    EXPECT_EQ(counters.asleep_cycles.read() > 0, GetParam() == IdlePolicy::sleep);
    const uint64_t asleep = counters.asleep_cycles.read();
    EXPECT_LE(busy + asleep, rte_rdtsc() - counters.begun_cycles.read());
}

TEST_P(WorkerTest, WhatWaitedWhileItStoodStillIsDiscarded) {
    {
        const Pause pause(thread);
        for (int i = 0; i < 50; ++i) {
            send(0);
            send(3);
        }
        std::this_thread::sleep_for(std::chrono::milliseconds(late_ms + 100));
    }
    EXPECT_TRUE(eventually([&] { return router.count(3, Reason::drop_late) == 50; }));
    EXPECT_EQ(router.count(0, Reason::drop_late), 50U);
    EXPECT_EQ(router.counters(0).rx_packets.read(), 50U);
    EXPECT_TRUE(router.sent().empty());
    send(0);
    EXPECT_TRUE(eventually([&] { return router.count(0, Reason::forwarded) == 1; }));
}

TEST_P(WorkerTest, WhatWaitedForAMomentIsForwarded) {
    {
        const Pause pause(thread);
        send(0);
        std::this_thread::sleep_for(std::chrono::milliseconds(late_ms / 10));
    }
    EXPECT_TRUE(eventually([&] { return router.count(0, Reason::forwarded) == 1; }));
    EXPECT_EQ(router.count(0, Reason::drop_late), 0U);
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
