// SPDX-License-Identifier: BSD-3-Clause
// The mirror and its resyncs against a naive kernel: random changes, lost and delayed messages, interrupted
// dumps. However it went, once all is quiet both have the same FIB.
#include <gtest/gtest.h>
#include <spdlog/spdlog.h>

#include <cstdlib>

#include "kernel_model.hpp"
#include "recording_sink.hpp"

namespace millrace::sync::test {
namespace {

class ModelTransport : public Transport {
  public:
    Status start_dump(DumpKind kind) override {
        running = kind;
        return {};
    }
    void abandon_dump() override { running.reset(); }
    std::optional<DumpKind> running;
};

class World {
  public:
    explicit World(uint64_t seed) : kernel(seed) { sync.start(now); }

    void deliver(size_t n) {
        for (; n > 0 && !kernel.messages.empty(); --n) {
            sync.notification(kernel.messages.front(), now);
            kernel.messages.pop_front();
        }
        sync.end_batch(now);
    }
    void answer(bool interrupted) {
        if (transport.running) {
            const auto table = kernel.dump(*transport.running);
            for (const Message& m : table) {
                sync.dump_message(m, now);
            }
            deliver(SIZE_MAX);
            if (std::exchange(transport.running, std::nullopt)) {
                sync.dump_done(interrupted, now);
            }
        }
    }
    void lose() {
        kernel.messages.clear();
        sync.overrun(now);
    }
    void settle() {
        do {
            deliver(SIZE_MAX);
            answer(false);
            sync.tick(now += 1);
        } while (sync.state() != SyncState::synced || sync.deadline());
    }

    KernelModel kernel;
    RecordingSink sink;
    Mirror mirror{sink, {"e0", "e1"}};
    ModelTransport transport;
    uint64_t now = 1000;
    Sync sync{mirror, transport, SyncOptions{.queue_limit = 100}};
};

TEST(Random, MirrorEqualsANaiveKernel) {
    spdlog::set_level(spdlog::level::err);
    const char* given = std::getenv("MILLRACE_TEST_SEED");
    const uint64_t seed = given != nullptr ? std::strtoull(given, nullptr, 0) : std::random_device{}();
    std::printf("seed %llu (MILLRACE_TEST_SEED)\n", static_cast<unsigned long long>(seed));
    uint64_t lost = 0;
    uint64_t resyncs = 0;
    uint64_t doubts = 0;
    for (uint64_t run = 0; run < 300; ++run) {
        SCOPED_TRACE(testing::Message() << "seed " << seed << " run " << run);
        World w(seed + run);
        for (int round = 0; round < 10; ++round) {
            for (int step = 0; step < 60; ++step) {
                switch (w.kernel.pick(12)) {
                    case 0:
                        w.answer(w.kernel.pick(10) == 0);
                        break;
                    case 1:
                        w.sync.tick(w.now += w.kernel.pick(15));
                        break;
                    case 2:
                    case 3:
                    case 4:
                        w.deliver(1 + w.kernel.pick(10));
                        break;
                    case 5:
                        if (w.kernel.pick(15) == 0) {
                            w.lose();
                        }
                        break;
                    default:
                        w.kernel.change();
                        break;
                }
            }
            w.settle();
            ASSERT_EQ(w.sink.fib(), w.kernel.fib()) << "round " << round;
        }
        lost += w.sync.statistics().overruns;
        resyncs += w.sync.statistics().resyncs;
        doubts += w.sync.statistics().doubts;
    }
    std::printf("%llu resyncs, %llu overruns, %llu doubts\n", static_cast<unsigned long long>(resyncs),
                static_cast<unsigned long long>(lost), static_cast<unsigned long long>(doubts));
    spdlog::set_level(spdlog::level::info);
}

}  // namespace
}  // namespace millrace::sync::test
