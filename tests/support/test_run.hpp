// SPDX-License-Identifier: BSD-3-Clause
// One frame through an XDP program, as the kernel runs it for a test (BPF_PROG_TEST_RUN).
#pragma once

#include <bpf/bpf.h>

#include <cerrno>
#include <cstdint>
#include <span>
#include <vector>

namespace millrace::test {

struct TestRun {
    int error = 0;                 // errno; 0 = it ran
    uint32_t action = 0;           // XDP_*
    std::vector<uint8_t> frame{};  // as it came out
};

// frame: 14 bytes at least, and one buffer at most.
inline TestRun test_run(int program, std::span<const uint8_t> frame) {
    TestRun run;
    run.frame.resize(frame.size() + 1);
    LIBBPF_OPTS(bpf_test_run_opts, options);
    options.data_in = frame.data();
    options.data_size_in = static_cast<uint32_t>(frame.size());
    options.data_out = run.frame.data();
    options.data_size_out = static_cast<uint32_t>(run.frame.size());
    options.repeat = 1;
    run.error = bpf_prog_test_run_opts(program, &options) == 0 ? 0 : errno;
    run.action = options.retval;
    run.frame.resize(options.data_size_out);
    return run;
}

}  // namespace millrace::test
