// SPDX-License-Identifier: BSD-3-Clause
// Where the BPF tests run: a network namespace of this process's own, and a pin root of its own, which is
// removed at the end.
#pragma once

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "steering_bpf/fd.hpp"

namespace millrace::test {

struct Output {
    int code = -1;
    std::string out;
    std::string err;
};
// Runs a program found in PATH and waits for it.
Output run(const std::vector<std::string>& command);
// Fails the test when the command fails.
void must_run(const std::vector<std::string>& command);

// Skips, by name and with the reason, where BPF programs can't be loaded.
class BpfTest : public testing::Test {
  protected:
    void SetUp() override;
    static const std::string& pin_root();
};

}  // namespace millrace::test
