// SPDX-License-Identifier: BSD-3-Clause
// The mirror and its resyncs against a naive kernel: random changes, lost and delayed messages, interrupted
// dumps. However it went, once all is quiet both have the same FIB.
#include <gtest/gtest.h>
#include <spdlog/spdlog.h>

#include <cstdlib>

#include "model_world.hpp"

namespace millrace::sync::test {
namespace {

TEST(Random, MirrorEqualsANaiveKernel) {
    spdlog::set_level(spdlog::level::err);
    const char* given = std::getenv("MILLRACE_TEST_SEED");
    const uint64_t seed = given != nullptr ? std::strtoull(given, nullptr, 0) : std::random_device{}();
    std::printf("seed %llu (MILLRACE_TEST_SEED)\n", static_cast<unsigned long long>(seed));
    uint64_t lost = 0;
    uint64_t resyncs = 0;
    uint64_t doubts = 0;
    uint64_t slices = 0;
    for (uint64_t run = 0; run < 300; ++run) {
        SCOPED_TRACE(testing::Message() << "seed " << seed << " run " << run);
        // In one piece, and in slices with anything in between.
        World w(seed + run, run % 2 == 0 ? 2048 : 1 + run % 7);
        for (int round = 0; round < 10; ++round) {
            for (int step = 0; step < 60; ++step) {
                switch (w.kernel.pick(12)) {
                    case 0:
                        w.answer(w.kernel.pick(10) == 0);
                        break;
                    case 1:
                        w.tick(w.kernel.pick(15));
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
            ASSERT_EQ(w.sink.fib(), w.expected()) << "round " << round;
        }
        lost += w.sync.statistics().overruns;
        resyncs += w.sync.statistics().resyncs;
        doubts += w.sync.statistics().doubts;
        slices += w.slices;
    }
    EXPECT_GT(slices, 1000U) << "no resync was applied in slices";
    std::printf("%llu resyncs, %llu overruns, %llu doubts, %llu slices\n",
                static_cast<unsigned long long>(resyncs), static_cast<unsigned long long>(lost),
                static_cast<unsigned long long>(doubts), static_cast<unsigned long long>(slices));
    spdlog::set_level(spdlog::level::info);
}

}  // namespace
}  // namespace millrace::sync::test
