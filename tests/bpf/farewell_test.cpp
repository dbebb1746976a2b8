// SPDX-License-Identifier: BSD-3-Clause
// Farewell: the heartbeats of a process that ends stop, whatever ends it; and nothing else stops them.
#include "steering_bpf/farewell.hpp"

#include <bpf/bpf.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cstdlib>
#include <functional>
#include <thread>
#include <tuple>

#include "environment.hpp"
#include "millrace/abi.h"

namespace millrace::test {
namespace {

using steering::Farewell;
using steering::Fd;

class FarewellTest : public BpfTest {
  protected:
    static constexpr uint64_t alive = 7;

    void SetUp() override {
        BpfTest::SetUp();
        LIBBPF_OPTS(bpf_map_create_opts, options, .map_flags = BPF_F_MMAPABLE);
        for (Fd& map : maps) {
            map = Fd(bpf_map_create(BPF_MAP_TYPE_ARRAY, MILLRACE_MAP_HEARTBEAT, sizeof(uint32_t),
                                    sizeof(millrace_heartbeat), 1, &options));
            ASSERT_TRUE(map);
            const uint32_t key = 0;
            ASSERT_EQ(bpf_map_update_elem(map.get(), &key, &alive, BPF_ANY), 0);
        }
    }
    uint64_t beat(size_t map) const {
        const uint32_t key = 0;
        uint64_t value = 0;
        EXPECT_EQ(bpf_map_lookup_elem(maps[map].get(), &key, &value), 0);
        return value;
    }
    // A process with a thread beside the main one, which has armed; what it does next. Returns its status.
    int process(const std::function<void()>& next) {
        const pid_t child = fork();
        if (child == 0) {
            const std::array<int, 2> fds = {maps[0].get(), maps[1].get()};
            const auto farewell = Farewell::arm(fds);
            if (!farewell) {
                fprintf(stderr, "%s\n", farewell.error().text().c_str());
                _exit(42);
            }
            std::thread([] { pause(); }).detach();
            next();
            for (;;) {
                pause();
            }
        }
        int status = 0;
        waitpid(child, &status, 0);
        EXPECT_FALSE(WIFEXITED(status) && WEXITSTATUS(status) == 42) << "it could not arm";
        return status;
    }
    void expect_all(uint64_t value) const {
        EXPECT_EQ(beat(0), value);
        EXPECT_EQ(beat(1), value);
    }

    std::array<Fd, 2> maps;
};

TEST_F(FarewellTest, Killed) {
    EXPECT_TRUE(WIFSIGNALED(process([] { kill(getpid(), SIGKILL); })));
    expect_all(0);
}

TEST_F(FarewellTest, KilledWhileItsMainThreadIsBusy) {
    process([] {
        std::thread([] {
            usleep(50000);
            kill(getpid(), SIGKILL);
        }).detach();
        for (volatile unsigned i = 0;; i = i + 1) {
        }
    });
    expect_all(0);
}

TEST_F(FarewellTest, Aborted) {
    EXPECT_TRUE(WIFSIGNALED(process([] {
        signal(SIGABRT, SIG_DFL);
        kill(getpid(), SIGABRT);
    })));
    expect_all(0);
}

TEST_F(FarewellTest, EndedByAnUnhandledSignal) {
    EXPECT_TRUE(WIFSIGNALED(process([] { kill(getpid(), SIGHUP); })));
    expect_all(0);
}

TEST_F(FarewellTest, Exited) {
    EXPECT_TRUE(WIFEXITED(process([] { _exit(1); })));
    expect_all(0);
}

TEST_F(FarewellTest, AThreadThatEndsIsNoDeath) {
    uint64_t seen = 0;
    std::array<int, 2> ends{};
    ASSERT_EQ(pipe(ends.data()), 0);
    process([&] {
        std::thread([] {}).join();
        const uint64_t now = beat(0);
        std::ignore = write(ends[1], &now, sizeof(now));
        kill(getpid(), SIGKILL);
    });
    ASSERT_EQ(read(ends[0], &seen, sizeof(seen)), static_cast<ssize_t>(sizeof(seen)));
    EXPECT_EQ(seen, alive);
    close(ends[0]);
    close(ends[1]);
}

// A planned restart of the daemon; its threads are ended by the kernel.
TEST_F(FarewellTest, ExecIsNoDeath) {
    const int status = process([] { execlp("true", "true", nullptr); });
    EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    expect_all(alive);
}

TEST_F(FarewellTest, AnotherProcessMayDie) {
    uint64_t seen = 0;
    std::array<int, 2> ends{};
    ASSERT_EQ(pipe(ends.data()), 0);
    process([&] {
        const pid_t other = fork();
        if (other == 0) {
            std::thread([] { pause(); }).detach();
            kill(getpid(), SIGKILL);
        }
        waitpid(other, nullptr, 0);
        const uint64_t now = beat(0);
        std::ignore = write(ends[1], &now, sizeof(now));
        kill(getpid(), SIGKILL);
    });
    ASSERT_EQ(read(ends[0], &seen, sizeof(seen)), static_cast<ssize_t>(sizeof(seen)));
    EXPECT_EQ(seen, alive);
    close(ends[0]);
    close(ends[1]);
}

}  // namespace
}  // namespace millrace::test
