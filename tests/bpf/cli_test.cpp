// SPDX-License-Identifier: BSD-3-Clause
// millrace-steer as an operator meets it: output, exit codes, one line for each error.
#include <gmock/gmock.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <sstream>

#include "veth_fixture.hpp"

namespace millrace::test {
namespace {

using testing::HasSubstr;
using testing::StartsWith;

size_t longest_line(const std::string& text) {
    std::istringstream lines(text);
    size_t longest = 0;
    for (std::string line; std::getline(lines, line);) {
        longest = std::max(longest, line.size());
    }
    return longest;
}

class CliTest : public VethTest {
  protected:
    static Output steer(std::vector<std::string> arguments) {
        arguments.insert(arguments.begin(), MILLRACE_STEER);
        arguments.insert(arguments.end(), {"--pin-root", pin_root()});
        return run(arguments);
    }
};

// Each command is a process of its own: what it pins survives it.
TEST_F(CliTest, AttachStatusDetach) {
    const auto attached = steer({"attach", "e0", "e1", "--mode", "native"});
    EXPECT_EQ(attached.code, 0) << attached.err;
    EXPECT_EQ(attached.err, "");
    EXPECT_THAT(attached.out, StartsWith("e0: attached in native mode"));
    EXPECT_NE(program_on("e0"), 0U);
    EXPECT_NE(program_on("e1"), 0U);

    const auto again = steer({"attach", "e0"});
    EXPECT_EQ(again.code, 0) << again.err;
    EXPECT_THAT(again.out, StartsWith("e0: already attached in native mode"));

    const auto shown = steer({"status"});
    EXPECT_EQ(shown.code, 0) << shown.err;
    EXPECT_THAT(shown.out, StartsWith("e0: native, disabled, heartbeat never\n"));
    EXPECT_THAT(shown.out, HasSubstr("\ne1: native"));

    const auto one = steer({"status", "e1", "--all-reasons"});
    EXPECT_EQ(one.code, 0) << one.err;
    EXPECT_THAT(one.out, testing::Not(HasSubstr("e0")));
    EXPECT_EQ(std::count(one.out.begin(), one.out.end(), '\n'), 1 + MILLRACE_STEER_REASON_COUNT);
    EXPECT_LE(longest_line(one.out), 80U);

    EXPECT_EQ(steer({"detach", "e0"}).out, "e0: detached\n");
    EXPECT_EQ(program_on("e0"), 0U);
    EXPECT_EQ(steer({"detach", "--all"}).out, "e1: detached\n");
    EXPECT_EQ(program_on("e1"), 0U);
    EXPECT_THAT(steer({"status"}).out, StartsWith("no port has a classifier attached"));
}

TEST_F(CliTest, StatusAsJson) {
    ASSERT_TRUE(attach("e0"));
    const auto shown = steer({"status", "--json"});
    EXPECT_EQ(shown.code, 0) << shown.err;
    const auto ports = nlohmann::json::parse(shown.out);
    ASSERT_EQ(ports.size(), 1U);
    const auto& port = ports[0];
    EXPECT_EQ(port["port"], "e0");
    EXPECT_EQ(port["ifindex"], if_nametoindex("e0"));
    EXPECT_EQ(port["mode"], "native");
    EXPECT_EQ(port["enabled"], false);
    EXPECT_TRUE(port["heartbeat_age_ms"].is_null());
    EXPECT_TRUE(port["problem"].is_null());
    EXPECT_EQ(port["counters"].size(), size_t{MILLRACE_STEER_REASON_COUNT});
    EXPECT_EQ(port["counters"]["redirect"]["packets"], 0);
}

TEST_F(CliTest, ErrorsAreOneLine) {
    struct Wrong {
        std::vector<std::string> arguments;
        int code;
        std::string says;
    };
    const Wrong cases[] = {
        {{"attach", "e9"}, 1, "port e9: no such netdev; 'ip link' lists them"},
        {{"detach", "e0"}, 1, "port e0: no classifier attached"},
        {{"status", "e0"}, 1, "port e0: no classifier attached"},
        {{"attach"}, 2, "PORT is required"},
        {{"detach"}, 2, "PORT"},
        {{"detach", "e0", "--all"}, 2, "--all"},
        {{"attach", "e0", "--mode", "offload"}, 2, "--mode"},
        {{"attack", "e0"}, 2, "subcommand is required"},
    };
    for (const Wrong& wrong : cases) {
        const auto output = steer(wrong.arguments);
        EXPECT_EQ(output.code, wrong.code) << wrong.says;
        EXPECT_EQ(output.out, "") << wrong.says;
        EXPECT_THAT(output.err, HasSubstr(wrong.says));
        if (wrong.code == 1) {
            EXPECT_EQ(std::count(output.err.begin(), output.err.end(), '\n'), 1) << output.err;
        }
    }
}

TEST_F(CliTest, OneBadPortDoesNotStopTheOthers) {
    const auto output = steer({"attach", "e9", "e0"});
    EXPECT_EQ(output.code, 1);
    EXPECT_THAT(output.out, StartsWith("e0: attached"));
    EXPECT_THAT(output.err, HasSubstr("e9"));
}

TEST_F(CliTest, WithoutPrivileges) {
    const auto output =
        run({"setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", MILLRACE_STEER, "attach", "e0"});
    if (output.code == 127 || output.code == 126) {
        GTEST_SKIP() << "nobody may not run " MILLRACE_STEER ": " << output.err;
    }
    EXPECT_EQ(output.code, 1);
    EXPECT_EQ(output.err, "millrace-steer: needs root, or CAP_BPF and CAP_NET_ADMIN\n");
}

TEST_F(CliTest, HelpAndVersion) {
    for (const char* command : {"attach", "detach", "status"}) {
        const auto help = run({MILLRACE_STEER, command, "--help"});
        EXPECT_EQ(help.code, 0);
        EXPECT_THAT(help.out, HasSubstr(std::string("Example: millrace-steer ") + command));
        EXPECT_LE(longest_line(help.out), 80U);
    }
    EXPECT_EQ(run({MILLRACE_STEER, "--version"}).out, "millrace-steer " MILLRACE_VERSION "\n");
}

}  // namespace
}  // namespace millrace::test
