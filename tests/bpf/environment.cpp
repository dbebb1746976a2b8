// SPDX-License-Identifier: BSD-3-Clause
#include "environment.hpp"

#include <bpf/bpf.h>
#include <fcntl.h>
#include <fmt/core.h>
#include <sched.h>
#include <spawn.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <filesystem>

#include "steering_bpf/attach.hpp"
#include "steering_bpf/fd.hpp"

namespace millrace::test {
namespace {

using steering::Fd;

std::string read_all(int fd) {
    std::string text;
    std::array<char, 4096> buffer{};
    lseek(fd, 0, SEEK_SET);
    for (ssize_t n = 0; (n = read(fd, buffer.data(), buffer.size())) > 0;) {
        text.append(buffer.data(), static_cast<size_t>(n));
    }
    return text;
}

std::string why_unavailable() {
    if (geteuid() != 0) {
        return "needs root";
    }
    const Fd map(bpf_map_create(BPF_MAP_TYPE_XSKMAP, "probe", 4, 4, 1, nullptr));
    if (!map) {
        return fmt::format("the kernel refuses to make an XSKMAP (errno {})", errno);
    }
    if (unshare(CLONE_NEWNET) != 0) {
        return fmt::format("no network namespace of its own (errno {})", errno);
    }
    return "";
}

class Environment : public testing::Environment {
  public:
    void SetUp() override { unavailable = why_unavailable(); }
    void TearDown() override {
        if (!unavailable.empty()) {
            return;
        }
        if (const auto left = steering::status(pin_root)) {
            for (const auto& port : *left) {
                static_cast<void>(steering::detach(port.port, pin_root));
            }
        }
        std::error_code ignored;
        std::filesystem::remove(pin_root, ignored);
    }

    std::string unavailable;
    const std::string pin_root = fmt::format("/sys/fs/bpf/mrbpf-test-{}", getpid());
};

// GoogleTest owns and deletes it.
Environment* const environment =
    static_cast<Environment*>(testing::AddGlobalTestEnvironment(new Environment));

}  // namespace

Output run(const std::vector<std::string>& command) {
    Output output;
    const Fd out(memfd_create("stdout", 0));
    const Fd err(memfd_create("stderr", 0));
    std::vector<char*> arguments;
    for (const std::string& word : command) {
        arguments.push_back(const_cast<char*>(word.c_str()));  // posix_spawn's signature; it does not write
    }
    arguments.push_back(nullptr);
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, out.get(), STDOUT_FILENO);
    posix_spawn_file_actions_adddup2(&actions, err.get(), STDERR_FILENO);
    pid_t child = -1;
    const int error = posix_spawnp(&child, arguments[0], &actions, nullptr, arguments.data(), environ);
    posix_spawn_file_actions_destroy(&actions);
    if (error != 0) {
        output.err = fmt::format("{}: cannot run (errno {})", command[0], error);
        return output;
    }
    int status = 0;
    waitpid(child, &status, 0);
    output.code = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
    output.out = read_all(out.get());
    output.err = read_all(err.get());
    return output;
}

void must_run(const std::vector<std::string>& command) {
    const Output output = run(command);
    ASSERT_EQ(output.code, 0) << testing::PrintToString(command) << ": " << output.err;
}

void BpfTest::SetUp() {
    if (!environment->unavailable.empty()) {
        GTEST_SKIP() << environment->unavailable;
    }
}

const std::string& BpfTest::pin_root() {
    return environment->pin_root;
}

}  // namespace millrace::test
