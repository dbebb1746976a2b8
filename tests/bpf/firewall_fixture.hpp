// SPDX-License-Identifier: BSD-3-Clause
// The classifier of classifier_fixture.hpp in a namespace whose ruleset is real, and empty at first.
#pragma once

#include <algorithm>
#include <string>
#include <vector>

#include "classifier_fixture.hpp"

namespace millrace::test {

inline bool nft(const std::string& commands) {
    return run({"nft", commands}).code == 0;
}

class Firewall : public ClassifierTest {
  protected:
    void SetUp() override {
        ClassifierTest::SetUp();
        if (!IsSkipped()) {
            ASSERT_TRUE(nft("flush ruleset"));
            ASSERT_NO_FATAL_FAILURE(judge_firewall());
        }
    }
    void TearDown() override {
        if (!IsSkipped()) {
            EXPECT_TRUE(nft("flush ruleset"));
        }
        ClassifierTest::TearDown();
    }
    static std::vector<std::string> listed() {
        const auto hooks = read_hooks();
        EXPECT_TRUE(hooks) << hooks.error().text();
        std::vector<std::string> lines;
        for (const steering::Hook& h : hooks.value_or(steering::Hooks{}).all) {
            lines.push_back(fmt::format("{} {}: {}", h.where == steering::Hook::Where::ipv6 ? 6 : 4,
                                        steering::place(h), steering::whose(h)));
        }
        std::sort(lines.begin(), lines.end());
        return lines;
    }
    void both(millrace_steer_reason four, millrace_steer_reason six) {
        expect(four, Frame().ethernet().ipv4().udp().payload(18).bytes());
        expect(six, Frame().ethernet().ipv6().udp().payload(18).bytes());
    }

    static constexpr auto kept = MILLRACE_STEER_KEEP_NETFILTER;
    static constexpr auto fast = MILLRACE_STEER_REDIRECT;
    static constexpr const char* forward =
        "add table inet t; add chain inet t c { type filter hook forward priority 0; }";
};

}  // namespace millrace::test
