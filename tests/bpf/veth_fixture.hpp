// SPDX-License-Identifier: BSD-3-Clause
// A veth pair, e0 and e1, in the test's namespace; gone after each test, with what is pinned for it.
#pragma once

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <linux/if_link.h>
#include <net/if.h>

#include <cerrno>
#include <filesystem>
#include <string>

#include "environment.hpp"
#include "steering_bpf/attach.hpp"
#include "steering_bpf/fd.hpp"

namespace millrace::test {

class VethTest : public BpfTest {
  protected:
    void SetUp() override {
        BpfTest::SetUp();
        if (!IsSkipped()) {
            add_veth();
            in_namespace_ = true;
        }
    }
    // Also where the test skipped half-way: what it leaves is in the next one's way.
    void TearDown() override {
        if (!in_namespace_) {
            return;
        }
        for (const char* port : {"e0", "e1"}) {
            static_cast<void>(steering::detach(port, pin_root()));  // most tests leave one of them, or none
        }
        if (if_nametoindex("e0") != 0) {
            delete_veth();
        }
    }

    static void add_veth() {
        must_run({"ip", "link", "add", "e0", "type", "veth", "peer", "name", "e1"});
        must_run({"ip", "link", "set", "e0", "up"});
        must_run({"ip", "link", "set", "e1", "up"});
    }
    static void delete_veth() { must_run({"ip", "link", "del", "e0"}); }
    static std::string pin(const std::string& name, const std::string& port = "e0") {
        return pin_root() + "/" + port + "/" + name;
    }
    static bool exists(const std::string& path) { return std::filesystem::exists(path); }
    static auto attach(const std::string& port, steering::Mode mode = steering::Mode::automatic) {
        return steering::attach(port, {.pin_root = pin_root(), .mode = mode});
    }
    // Id of the program that the netdev runs, 0 = none.
    static uint32_t program_on(const std::string& port) {
        uint32_t id = 0;
        EXPECT_EQ(bpf_xdp_query_id(static_cast<int>(if_nametoindex(port.c_str())), 0, &id), 0) << port;
        return id;
    }
    // A program that is not ours: passes everything.
    static steering::Fd foreign_program() {
        const bpf_insn pass[] = {
            {.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = 0, .src_reg = 0, .off = 0, .imm = XDP_PASS},
            {.code = BPF_JMP | BPF_EXIT, .dst_reg = 0, .src_reg = 0, .off = 0, .imm = 0}};
        steering::Fd fd(
            bpf_prog_load(BPF_PROG_TYPE_XDP, "somebody_elses", "GPL", pass, std::size(pass), nullptr));
        EXPECT_TRUE(fd) << "errno " << errno;
        return fd;
    }

  private:
    bool in_namespace_ = false;
};

}  // namespace millrace::test
