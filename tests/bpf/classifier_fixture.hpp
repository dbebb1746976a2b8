// SPDX-License-Identifier: BSD-3-Clause
// A classifier on the loopback device of the test's namespace, configured so that plain transit is
// redirected, and run frame by frame with BPF_PROG_TEST_RUN.
#pragma once

#include <gtest/gtest.h>

#include <optional>
#include <string>

#include "environment.hpp"
#include "steering_bpf/attach.hpp"
#include "steering_bpf/fd.hpp"
#include "steering_bpf/firewall.hpp"
#include "steering_bpf/port.hpp"
#include "tests/support/frame.hpp"

namespace millrace::test {

inline constexpr uint16_t test_max_frame = 1514;

// Two tables' worth of a frame: what it is called, what it is, what becomes of it.
struct Case {
    std::string name;
    Frame frame;
    millrace_steer_reason reason;
};
// For gtest's parameter names and messages.
std::string case_name(const testing::TestParamInfo<Case>& info);
void PrintTo(const Case& c, std::ostream* out);

class ClassifierTest : public BpfTest {
  protected:
    void SetUp() override;
    void TearDown() override;

    steering::PortMaps& maps() { return *maps_; }
    // The table of own addresses that maps() has been given.
    steering::LocalTable& own(Family family) { return family == Family::ipv4 ? *own4_ : *own6_; }
    // As a daemon does: a table that has grown is given to the port again.
    void add_local(const IpAddress& address);
    // Closes maps(), as the end of a daemon does, and opens them for the next one.
    void next_daemon();
    void close_maps() { maps_.reset(); }
    static millrace_steer_config plain_config();
    static uint64_t monotonic_ns();

    // The hooks of the test's namespace and of its loopback device.
    static Result<steering::Hooks> read_hooks();
    // Reads them, and tells the classifier which it may go past.
    void judge_firewall(const FirewallConfig& config = {});
    static constexpr Ifindex loopback{1};
    // Puts an AF_XDP socket into the XSKMAP's entry for queue 0, or takes it out.
    void insert_socket();
    void remove_socket();
    // One frame in: checks the return code, that the frame is unmodified, and that exactly one counter moved
    // by exactly this frame.
    void expect(millrace_steer_reason reason, const Bytes& frame);
    [[nodiscard]] int program() const { return program_.get(); }

  private:
    std::optional<steering::PortMaps> maps_;
    std::optional<steering::LocalTable> own4_;
    std::optional<steering::LocalTable> own6_;
    steering::Fd program_;
    steering::Fd xsks_;
    steering::Fd socket_;
};

}  // namespace millrace::test
