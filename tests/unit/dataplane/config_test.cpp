// SPDX-License-Identifier: BSD-3-Clause
#include "dataplane/config/config_file.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace millrace::dataplane {
namespace {

Result<Config> parse(const std::string& text) {
    return parse_config(text, "test.toml");
}

constexpr const char* port = "[[port]]\nname = \"eth0\"\n";

TEST(Config, SmallestFileHasDefaults) {
    const auto c = parse(port);
    ASSERT_TRUE(c) << c.error().text();
    ASSERT_EQ(c->ports.size(), 1U);
    EXPECT_EQ(c->ports[0].name, "eth0");
    EXPECT_EQ(c->ports[0].queues, 1);
    EXPECT_EQ(c->ports[0].zero_copy, ZeroCopy::automatic);
    EXPECT_EQ(c->ports[0].vlan_tags, VlanTags::automatic);
    EXPECT_EQ(c->workers.cores, std::vector<uint16_t>{0});
    EXPECT_EQ(c->workers.idle, IdlePolicy::sleep);
    EXPECT_EQ(c->control_socket, Config{}.control_socket);
    EXPECT_EQ(c->audit.cpu_percent, 1.0);
    EXPECT_EQ(c->metrics.listen, "127.0.0.1:10179");
    EXPECT_EQ(c->firewall.mode, FirewallMode::respect);
    EXPECT_TRUE(c->firewall.ports.empty() && c->firewall.families.empty() && c->firewall.ignore.empty());
}

TEST(Config, EveryKey) {
    const auto c = parse(R"(
[[port]]
name = "eth0"
queues = 2
zero_copy = "always"
vlan_tags = "none"
[[port]]
name = "eth1"
queues = 2
[workers]
cores = [2, 3]
idle = "spin"
idle_after_us = 10
[sizes]
mbufs = 65536
ring = 1024
punt_ring = 256
fib4_megabytes = 100
fib6_megabytes = 200
groups = 100
adjacencies = 200
[punt]
rate = 5000
[sync]
receive_buffer = 8192
[keep]
prefixes = ["192.0.2.0/24", "2001:db8::/32"]
protocols = ["ospf", 47]
l4_ports = ["tcp/179", "udp/500"]
[firewall]
mode = "bypass"
ports = ["eth1"]
families = ["ipv6"]
ignore = ["inet accounting", "netdev edge"]
[steering]
pin_root = "/sys/fs/bpf/x"
heartbeat_timeout_ms = 300
[audit]
cpu_percent = 2.5
[metrics]
listen = "192.0.2.1:9999"
[control]
socket = "/run/x.sock"
[log]
level = "debug"
)");
    ASSERT_TRUE(c) << c.error().text();
    EXPECT_EQ(c->ports[0].zero_copy, ZeroCopy::always);
    EXPECT_EQ(c->ports[0].vlan_tags, VlanTags::none);
    EXPECT_EQ(c->ports[1].queues, 2);
    EXPECT_EQ(c->workers.cores, (std::vector<uint16_t>{2, 3}));
    EXPECT_EQ(c->workers.idle, IdlePolicy::spin);
    EXPECT_EQ(c->workers.idle_after_us, 10U);
    EXPECT_EQ(c->sizes.mbufs, 65536U);
    EXPECT_EQ(c->sizes.ring, 1024);
    EXPECT_EQ(c->sizes.punt_ring, 256);
    EXPECT_EQ(c->sizes.fib4_megabytes, 100U);
    EXPECT_EQ(c->sizes.fib6_megabytes, 200U);
    EXPECT_EQ(c->sizes.groups, 100U);
    EXPECT_EQ(c->sizes.adjacencies, 200U);
    EXPECT_EQ(c->punt.rate, 5000U);
    EXPECT_EQ(c->sync.receive_buffer, 8192U);
    EXPECT_EQ(c->keep.prefixes[1].text(), "2001:db8::/32");
    EXPECT_EQ(c->keep.protocols, (std::vector<uint8_t>{89, 47}));
    EXPECT_EQ(c->keep.l4_ports, (std::vector<std::pair<uint8_t, uint16_t>>{{6, 179}, {17, 500}}));
    EXPECT_EQ(c->firewall.mode, FirewallMode::bypass);
    EXPECT_EQ(c->firewall.ports, std::vector<std::string>{"eth1"});
    EXPECT_EQ(c->firewall.families, std::vector<Family>{Family::ipv6});
    EXPECT_EQ(c->firewall.ignore, (std::vector<std::string>{"inet accounting", "netdev edge"}));
    EXPECT_EQ(c->steering.pin_root, "/sys/fs/bpf/x");
    EXPECT_EQ(c->steering.heartbeat_timeout_ms, 300U);
    EXPECT_EQ(c->audit.cpu_percent, 2.5);
    EXPECT_EQ(c->metrics.listen, "192.0.2.1:9999");
    EXPECT_EQ(c->control_socket, "/run/x.sock");
    EXPECT_EQ(c->log_level, "debug");
}

TEST(Config, ZeroCopyAsItWasBefore) {
    const auto c = parse("[[port]]\nname = 'a'\nzero_copy = true\n[[port]]\nname = 'b'\nzero_copy = false\n");
    ASSERT_TRUE(c) << c.error().text();
    EXPECT_EQ(c->ports[0].zero_copy, ZeroCopy::always);
    EXPECT_EQ(c->ports[1].zero_copy, ZeroCopy::never);
}

TEST(Config, NoMetrics) {
    const auto c = parse(std::string(port) + "[metrics]\nlisten = \"\"\n");
    ASSERT_TRUE(c) << c.error().text();
    EXPECT_EQ(c->metrics.listen, "");
}

struct Mistake {
    const char* name;
    std::string text;
    const char* says;  // part of the one line
};

class ConfigMistake : public testing::TestWithParam<Mistake> {};

TEST_P(ConfigMistake, IsOneLineThatNamesIt) {
    const auto c = parse(GetParam().text);
    ASSERT_FALSE(c);
    const std::string text = c.error().text();
    EXPECT_NE(text.find(GetParam().says), std::string::npos) << text;
    EXPECT_EQ(text.find('\n'), std::string::npos) << text;
    EXPECT_EQ(text.find("test.toml"), 0U) << text;
}

INSTANTIATE_TEST_SUITE_P(
    All, ConfigMistake,
    testing::Values(
        Mistake{"NoPort", "", "no port"}, Mistake{"NotToml", "[[port]\n", ":1:"},
        Mistake{"Umlaut", "\xc3\xa4 = 1\n", ":1:"}, Mistake{"ArabicForm", "\n\xef\xba\xbf = 1\n", ":2:"},
        Mistake{"NoKey", "[=\n", ":1:"}, Mistake{"LineBreakInAKey", "\"a\\nb\" = 1\n", "'a?b'"},
        Mistake{"LineBreakInAValue", "a = fa\nb = 1", "fa?"},
        Mistake{"UnknownTable", std::string(port) + "[worker]\n", "unknown key 'worker'"},
        Mistake{"UnknownKey", std::string(port) + "[workers]\ncore = 1\n", "unknown key 'core' in [workers]"},
        Mistake{"KnownOnesAreListed", std::string(port) + "[workers]\ncore = 1\n",
                "cores, idle, idle_after_us"},
        Mistake{"Line", std::string(port) + "[workers]\n\ncore = 1\n", "test.toml:5:"},
        Mistake{"NamelessPort", "[[port]]\nqueues = 1\n", "needs a name"},
        Mistake{"LongName", "[[port]]\nname = \"a123456789012345\"\n", "needs a name of 1 to 15"},
        Mistake{"TwicePort", std::string(port) + port, "listed twice"},
        Mistake{"PortNotTable", "port = \"eth0\"\n", "must be a list"},
        Mistake{"QueuesZero", "[[port]]\nname = \"e\"\nqueues = 0\n", "from 1 to 64"},
        Mistake{"QueuesText", "[[port]]\nname = \"e\"\nqueues = \"1\"\n", "whole number"},
        Mistake{"VlanTags", "[[port]]\nname = \"e\"\nvlan_tags = \"all\"\n", "\"auto\", \"none\""},
        Mistake{"CoreTwice", "[[port]]\nname = \"e\"\nqueues = 2\n[workers]\ncores = [1, 1]\n", "twice"},
        Mistake{"MoreWorkersThanQueues", std::string(port) + "[workers]\ncores = [1, 2]\n", "raise queues"},
        Mistake{"Idle", std::string(port) + "[workers]\nidle = \"nap\"\n", "\"sleep\", \"spin\""},
        Mistake{"RingNotPower", std::string(port) + "[sizes]\nring = 1000\n", "power of two"},
        Mistake{"FewMbufs", std::string(port) + "[sizes]\nmbufs = 4096\nring = 4096\n", "too small"},
        Mistake{"ManyBuffers", "[[port]]\nname = \"e\"\nqueues = 64\n[sizes]\nring = 16384\n",
                "lower queues"},
        Mistake{"HostBits", std::string(port) + "[keep]\nprefixes = [\"192.0.2.1/24\"]\n", "keep.prefixes"},
        Mistake{"Protocol", std::string(port) + "[keep]\nprotocols = [\"nonesuch\"]\n", "keep.protocols"},
        Mistake{"ProtocolRange", std::string(port) + "[keep]\nprotocols = [256]\n", "keep.protocols"},
        Mistake{"L4Port", std::string(port) + "[keep]\nl4_ports = [\"tcp/65536\"]\n", "keep.l4_ports"},
        Mistake{"L4PortKind", std::string(port) + "[keep]\nl4_ports = [\"sctp/1\"]\n", "keep.l4_ports"},
        Mistake{"FirewallMode", std::string(port) + "[firewall]\nmode = \"off\"\n",
                "\"bypass\", \"respect\""},
        Mistake{"FirewallPort", std::string(port) + "[firewall]\nmode = \"bypass\"\nports = [\"eth7\"]\n",
                "firewall.ports: eth7 is no [[port]]"},
        Mistake{"FirewallFamily",
                std::string(port) + "[firewall]\nmode = \"bypass\"\nfamilies = [\"inet\"]\n",
                "\"ipv4\", \"ipv6\""},
        Mistake{"FirewallPortsOfNoBypass", std::string(port) + "[firewall]\nports = [\"eth0\"]\n",
                "mode = \"bypass\""},
        Mistake{"IgnoredWithoutFamily", std::string(port) + "[firewall]\nignore = [\"accounting\"]\n",
                "as \"inet accounting\""},
        Mistake{"IgnoredOfAFamilyWithoutTransit", std::string(port) + "[firewall]\nignore = [\"bridge b\"]\n",
                "as \"inet accounting\""},
        Mistake{"IgnoredChain", std::string(port) + "[firewall]\nignore = [\"inet a forward\"]\n",
                "as \"inet accounting\""},
        Mistake{"AuditMoreThanACore", std::string(port) + "[audit]\ncpu_percent = 101\n", "from 0 to 100"},
        Mistake{"AuditNoNumber", std::string(port) + "[audit]\ncpu_percent = \"1\"\n", "must be a number"},
        Mistake{"HeartbeatTooShort", std::string(port) + "[steering]\nheartbeat_timeout_ms = 10\n",
                "from 50"},
        Mistake{"RelativePath", std::string(port) + "[control]\nsocket = \"x\"\n", "absolute"},
        Mistake{"LongSocketPath",
                std::string(port) + "[control]\nsocket = \"/" + std::string(120, 'x') + "\"\n",
                "control.socket: a path of at most 107"},
        Mistake{"MetricsWithoutPort", std::string(port) + "[metrics]\nlisten = \"127.0.0.1\"\n",
                "\"ADDRESS:PORT\", as \"127.0.0.1:10179\""},
        Mistake{"MetricsPortTooHigh", std::string(port) + "[metrics]\nlisten = \"127.0.0.1:65536\"\n",
                "metrics.listen"},
        Mistake{"MetricsPortZero", std::string(port) + "[metrics]\nlisten = \"127.0.0.1:0\"\n",
                "metrics.listen"},
        Mistake{"MetricsName", std::string(port) + "[metrics]\nlisten = \"localhost:10179\"\n",
                "metrics.listen"},
        Mistake{"MetricsIpv6", std::string(port) + "[metrics]\nlisten = \"[::1]:10179\"\n",
                "an IPv4 \"ADDRESS:PORT\""},
        Mistake{"MetricsTwo", std::string(port) + "[metrics]\nlisten = \"127.0.0.1:1,127.0.0.1:2\"\n",
                "metrics.listen"},
        Mistake{"MetricsNumber", std::string(port) + "[metrics]\nlisten = 10179\n", "metrics.listen"},
        Mistake{"LogLevel", std::string(port) + "[log]\nlevel = \"loud\"\n", "log.level"}),
    [](const auto& test) { return test.param.name; });

TEST(Config, MissingFileSaysWhy) {
    const auto c = load_config("/nonexistent/millrace.toml");
    ASSERT_FALSE(c);
    EXPECT_NE(c.error().text().find("No such file"), std::string::npos) << c.error().text();
}

TEST(ConfigChanges, AreNamedAsInTheFile) {
    const auto config = [](const std::string& text) { return *parse_config(text, "f"); };
    const std::string two = "[[port]]\nname = 'a'\n[[port]]\nname = 'b'\n";
    const auto changed = [&](const std::string& before, const std::string& after) {
        return changes(config(before), config(after));
    };
    using testing::ElementsAre;
    EXPECT_THAT(changed(two, two + "# a remark\n[punt]\nrate = 20000\n"), ElementsAre());
    EXPECT_THAT(changed(two, "[[port]]\nname = 'a'\nzero_copy = 'never'\n[[port]]\nname = 'c'\n"),
                ElementsAre("port a", "port b (gone)", "port c (new)"));
    EXPECT_THAT(changed(two, "[[port]]\nname = 'b'\n[[port]]\nname = 'a'\n"),
                ElementsAre("order of the ports"));
    for (const char* section :
         {"[workers]\ncores = [1]", "[sizes]\ngroups = 99", "[punt]\nrate = 999", "[keep]\nprotocols = [50]",
          "[firewall]\nignore = ['inet a']", "[sync]\nreceive_buffer = 9999",
          "[steering]\nheartbeat_timeout_ms = 99", "[audit]\ncpu_percent = 2", "[metrics]\nlisten = ''",
          "[control]\nsocket = '/s'", "[log]\nlevel = 'warn'"}) {
        const std::string text = section;
        EXPECT_THAT(changed(two, two + text + "\n"), ElementsAre(text.substr(0, text.find('\n'))));
    }
}

}  // namespace
}  // namespace millrace::dataplane
