// SPDX-License-Identifier: BSD-3-Clause
#include "dataplane/config/config_file.hpp"

#include <net/if.h>
#include <netdb.h>
#include <sys/un.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <filesystem>
#include <fstream>
#include <numeric>
#include <set>
#include <sstream>

#include "dataplane/config/reader.hpp"

#include "dataplane/port/rings.hpp"

namespace millrace::dataplane {

namespace {

constexpr uint32_t most_buffers = 1 << 20;

void read_port(Reader& reader, const toml::node& node, Config& config) {
    PortConfig port;
    std::string tags;
    std::string zero_copy;
    reader.table(node, "[[port]]",
                 {{"name", reader.text("name", port.name)},
                  {"queues", reader.number("queues", port.queues, 1, MILLRACE_MAX_QUEUES)},
                  {"vlan_tags", reader.text("vlan_tags", tags, {"auto", "none"})},
                  {"zero_copy", [&](const toml::node& value) {
                       // As it was before there was a third way: demanded, or not had.
                       if (const auto demanded = value.value_exact<bool>()) {
                           zero_copy = *demanded ? "always" : "never";
                       } else {
                           reader.text("zero_copy", zero_copy, {"auto", "always", "never"})(value);
                       }
                   }}});
    port.vlan_tags = tags == "none" ? VlanTags::none : VlanTags::automatic;
    port.zero_copy = zero_copy == "always"  ? ZeroCopy::always
                     : zero_copy == "never" ? ZeroCopy::never
                                            : ZeroCopy::automatic;
    if (reader.error()) {
        return;
    }
    if (port.name.empty() || port.name.size() >= IFNAMSIZ) {
        reader.mistake(node, fmt::format("[[port]] needs a name of 1 to {} characters", IFNAMSIZ - 1));
    }
    for (const PortConfig& other : config.ports) {
        if (other.name == port.name) {
            reader.mistake(node, fmt::format("port {} is listed twice", port.name));
        }
    }
    config.ports.push_back(port);
}

void read_protocol(Reader& reader, const toml::node& node, std::vector<uint8_t>& out) {
    if (const auto number = node.value_exact<int64_t>(); number && *number >= 0 && *number <= 255) {
        out.push_back(static_cast<uint8_t>(*number));
        return;
    }
    if (const auto name = node.value_exact<std::string>()) {
        protoent storage{};
        protoent* found = nullptr;
        std::array<char, 1024> buffer{};
        if (getprotobyname_r(name->c_str(), &storage, buffer.data(), buffer.size(), &found) == 0 &&
            found != nullptr) {
            out.push_back(static_cast<uint8_t>(found->p_proto));
            return;
        }
    }
    reader.mistake(node,
                   "keep.protocols: each is a number from 0 to 255 or a name of /etc/protocols, as \"ospf\"");
}

void read_l4_port(Reader& reader, const toml::node& node, std::vector<std::pair<uint8_t, uint16_t>>& out) {
    const std::string value = node.value_exact<std::string>().value_or("");
    const bool tcp = value.starts_with("tcp/");
    const bool udp = value.starts_with("udp/");
    const std::string digits = value.substr(std::min<size_t>(4, value.size()));
    if ((tcp || udp) && !digits.empty() && digits.size() <= 5 &&
        digits.find_first_not_of("0123456789") == std::string::npos && std::stoul(digits) <= 65535) {
        out.emplace_back(tcp ? IPPROTO_TCP : IPPROTO_UDP, static_cast<uint16_t>(std::stoul(digits)));
        return;
    }
    reader.mistake(node, "keep.l4_ports: each is \"tcp/PORT\" or \"udp/PORT\", as \"tcp/179\"");
}

void read_prefix(Reader& reader, const toml::node& node, std::vector<Prefix>& out) {
    const std::string value = node.value_exact<std::string>().value_or("");
    if (const auto prefix = Prefix::parse(value)) {
        out.push_back(*prefix);
    } else {
        reader.mistake(node, "keep.prefixes: each is a prefix without host bits, as \"192.0.2.0/24\"");
    }
}

// "inet accounting": a family whose hooks transit may meet, and a table.
void read_ignored(Reader& reader, const toml::node& node, std::vector<std::string>& out) {
    const std::string value = node.value_exact<std::string>().value_or("");
    const size_t space = value.find(' ');
    const std::set<std::string_view> families = {"inet", "ip", "ip6", "netdev"};
    if (space == std::string::npos || !families.contains(std::string_view(value).substr(0, space)) ||
        value.size() == space + 1 || value.find_first_of(" \t", space + 1) != std::string::npos) {
        reader.mistake(
            node,
            "firewall.ignore: each is a table of nftables with its family (inet, ip, ip6, netdev), as "
            "\"inet accounting\"");
    } else {
        out.push_back(value);
    }
}

void read_firewall(Reader& reader, const toml::node& node, FirewallConfig& firewall) {
    std::string mode;
    reader.table(
        node, "[firewall]",
        {{"mode", reader.text("firewall.mode", mode, {"respect", "bypass"})},
         {"ports", reader.each("firewall.ports",
                               [&](const toml::node& n) {
                                   std::string name;
                                   reader.text("firewall.ports: each", name)(n);
                                   firewall.ports.push_back(name);
                               })},
         {"families", reader.each("firewall.families",
                                  [&](const toml::node& n) {
                                      std::string family;
                                      reader.text("firewall.families: each", family, {"ipv4", "ipv6"})(n);
                                      firewall.families.push_back(family == "ipv4" ? Family::ipv4
                                                                                   : Family::ipv6);
                                  })},
         {"ignore", reader.each("firewall.ignore",
                                [&](const toml::node& n) { read_ignored(reader, n, firewall.ignore); })}});
    firewall.mode = mode == "bypass" ? FirewallMode::bypass : FirewallMode::respect;
    if (firewall.mode == FirewallMode::respect && !(firewall.ports.empty() && firewall.families.empty())) {
        reader.mistake(node, "firewall.ports and firewall.families say what is bypassed: mode = \"bypass\"");
    }
}

// "192.0.2.1:10179"
bool is_address_and_port(std::string_view text) {
    const size_t colon = text.rfind(':');
    if (colon == std::string_view::npos) {
        return false;
    }
    const auto address = IpAddress::parse(text.substr(0, colon));
    const std::string_view digits = text.substr(colon + 1);
    uint16_t port = 0;
    const auto [end, error] = std::from_chars(digits.begin(), digits.end(), port);
    return address && address->family == Family::ipv4 && error == std::errc{} && end == digits.end() &&
           port != 0;
}

void read_listen(Reader& reader, const toml::node& node, std::string& out) {
    const auto value = node.value_exact<std::string>();
    if (!value || (!value->empty() && !is_address_and_port(*value))) {
        reader.mistake(
            node, "metrics.listen must be an IPv4 \"ADDRESS:PORT\", as \"127.0.0.1:10179\"; \"\" = none");
        return;
    }
    out = *value;
}

void read_root(Reader& reader, const toml::table& root, Config& c) {
    std::string idle;
    std::string scheduling;
    reader.table(
        root, "the file",
        {{"port", reader.each("port", [&](const toml::node& n) { read_port(reader, n, c); })},
         {"workers",
          [&](const toml::node& node) {
              reader.table(node, "[workers]",
                           {{"cores", reader.each("workers.cores",
                                                  [&](const toml::node& n) {
                                                      uint16_t core = 0;
                                                      reader.number("workers.cores: each", core, 0, 1023)(n);
                                                      c.workers.cores.push_back(core);
                                                  })},
                            {"idle", reader.text("workers.idle", idle, {"sleep", "spin"})},
                            {"idle_after_us",
                             reader.number("workers.idle_after_us", c.workers.idle_after_us, 0, 1000000)},
                            {"scheduling", reader.text("workers.scheduling", scheduling,
                                                       {"auto", "realtime", "nice", "normal"})}});
          }},
         {"sizes",
          [&](const toml::node& node) {
              reader.table(
                  node, "[sizes]",
                  {{"mbufs", reader.number("sizes.mbufs", c.sizes.mbufs, 4096, most_buffers)},
                   {"ring", reader.power_of_two("sizes.ring", c.sizes.ring, 64, 16384)},
                   {"punt_ring", reader.power_of_two("sizes.punt_ring", c.sizes.punt_ring, 32, 16384)},
                   {"fib4_megabytes", reader.number("sizes.fib4_megabytes", c.sizes.fib4_megabytes, 1, 4096)},
                   {"fib6_megabytes", reader.number("sizes.fib6_megabytes", c.sizes.fib6_megabytes, 1, 4096)},
                   {"groups", reader.number("sizes.groups", c.sizes.groups, 16, 1 << 20)},
                   {"adjacencies", reader.number("sizes.adjacencies", c.sizes.adjacencies, 16, 1 << 20)}});
          }},
         {"punt",
          [&](const toml::node& node) {
              reader.table(node, "[punt]",
                           {{"rate", reader.number("punt.rate", c.punt.rate, 100, 10'000'000)}});
          }},
         {"keep",
          [&](const toml::node& node) {
              reader.table(
                  node, "[keep]",
                  {{"prefixes",
                    reader.each("keep.prefixes",
                                [&](const toml::node& n) { read_prefix(reader, n, c.keep.prefixes); })},
                   {"protocols",
                    reader.each("keep.protocols",
                                [&](const toml::node& n) { read_protocol(reader, n, c.keep.protocols); })},
                   {"l4_ports", reader.each("keep.l4_ports", [&](const toml::node& n) {
                        read_l4_port(reader, n, c.keep.l4_ports);
                    })}});
          }},
         {"firewall", [&](const toml::node& node) { read_firewall(reader, node, c.firewall); }},
         {"sync",
          [&](const toml::node& node) {
              reader.table(node, "[sync]",
                           {{"receive_buffer",
                             reader.number("sync.receive_buffer", c.sync.receive_buffer, 4096, 1 << 30)}});
          }},
         {"steering",
          [&](const toml::node& node) {
              reader.table(
                  node, "[steering]",
                  {{"pin_root", reader.text("steering.pin_root", c.steering.pin_root)},
                   {"heartbeat_timeout_ms", reader.number("steering.heartbeat_timeout_ms",
                                                          c.steering.heartbeat_timeout_ms, 50, 10000)}});
          }},
         {"audit",
          [&](const toml::node& node) {
              reader.table(node, "[audit]",
                           {{"cpu_percent", reader.real("audit.cpu_percent", c.audit.cpu_percent, 0, 100)}});
          }},
         {"metrics",
          [&](const toml::node& node) {
              reader.table(
                  node, "[metrics]",
                  {{"listen", [&](const toml::node& n) { read_listen(reader, n, c.metrics.listen); }}});
          }},
         {"control",
          [&](const toml::node& node) {
              reader.table(node, "[control]", {{"socket", reader.text("control.socket", c.control_socket)}});
          }},
         {"log", [&](const toml::node& node) {
              reader.table(node, "[log]",
                           {{"level", reader.text("log.level", c.log_level,
                                                  {"trace", "debug", "info", "warn", "error"})}});
          }}});
    c.workers.scheduling = scheduling == "realtime" ? Scheduling::realtime
                           : scheduling == "nice"   ? Scheduling::nice
                           : scheduling == "normal" ? Scheduling::normal
                                                    : Scheduling::automatic;
    c.workers.idle = idle == "spin" ? IdlePolicy::spin : IdlePolicy::sleep;
}

// What only the whole can tell.
void check_whole(Reader& reader, Config& c) {
    if (c.ports.empty()) {
        reader.mistake("no port; add at least one: [[port]] with name = \"eth0\"");
    }
    if (c.workers.cores.empty()) {
        c.workers.cores.push_back(0);
    }
    const std::set<uint16_t> distinct(c.workers.cores.begin(), c.workers.cores.end());
    if (distinct.size() != c.workers.cores.size()) {
        reader.mistake("workers.cores: a core is listed twice");
    }
    for (const PortConfig& port : c.ports) {
        if (port.queues < c.workers.cores.size()) {
            reader.mistake(
                fmt::format("port {} has {} queue(s) for {} workers; each worker needs a transmit queue of "
                            "its own on every port: raise queues, or list fewer workers.cores",
                            port.name, port.queues, c.workers.cores.size()));
        }
    }
    for (const std::string& name : c.firewall.ports) {
        if (std::none_of(c.ports.begin(), c.ports.end(),
                         [&](const PortConfig& p) { return p.name == name; })) {
            reader.mistake(fmt::format("firewall.ports: {} is no [[port]] of this file", name));
        }
    }
    const size_t needed = buffers_needed(c);
    if (c.sizes.mbufs != 0 && c.sizes.mbufs < needed) {
        const auto queues = std::accumulate(c.ports.begin(), c.ports.end(), 0U,
                                            [](unsigned sum, const PortConfig& p) { return sum + p.queues; });
        reader.mistake(fmt::format(
            "sizes.mbufs = {} is too small: {} ports with {} queues need at least {}; without the "
            "line there are as many as needed",
            c.sizes.mbufs, c.ports.size(), queues, needed));
    }
    if (packet_buffers(c) > most_buffers) {
        reader.mistake(
            fmt::format("the ports' queues and rings need {} packet buffers, and {} are the most: "
                        "lower queues or sizes.ring",
                        packet_buffers(c), most_buffers));
    }
    if (c.control_socket.size() >= sizeof(sockaddr_un::sun_path)) {
        reader.mistake(fmt::format("control.socket: a path of at most {} characters",
                                   sizeof(sockaddr_un::sun_path) - 1));
    }
    if (c.steering.pin_root.front() != '/' || c.control_socket.front() != '/') {
        reader.mistake("steering.pin_root and control.socket must be absolute paths");
    }
}

// What is quoted from the file may have line breaks and terminal controls in it.
std::string in_one_line(std::string text) {
    std::replace_if(
        text.begin(), text.end(), [](unsigned char c) { return c < 0x20 || c == 0x7f; }, '?');
    return text;
}

}  // namespace

Result<Config> parse_config(std::string_view text, const std::string& name) {
    try {
        const toml::table root = toml::parse(text, name);
        Config config;
        Reader reader(name);
        read_root(reader, root, config);
        if (!reader.error()) {
            check_whole(reader, config);
        }
        if (reader.error()) {
            return fail(in_one_line(reader.error()->text()));
        }
        return config;
    } catch (const toml::parse_error& e) {
        return fail(in_one_line(fmt::format("{}:{}: {}", name, e.source().begin.line, e.description())));
    }
}

Result<Config> load_config(const std::string& path) {
    errno = 0;
    std::error_code ignored;  // what can't be looked at can't be opened
    if (std::filesystem::is_directory(path, ignored)) {
        return fail(fmt::format("configuration file {} can't be read", path), EISDIR);
    }
    std::ifstream file(path);
    std::ostringstream content;
    content << file.rdbuf();
    if (!file) {
        return fail(fmt::format("configuration file {} can't be read", path), errno);
    }
    return parse_config(content.str(), path);
}

}  // namespace millrace::dataplane
