// SPDX-License-Identifier: BSD-3-Clause
// Nanoseconds that the classifier takes for a packet, by BPF_PROG_TEST_RUN on loopback devices of its own:
// without driver, and with everything in the cache. The variants take turns, round by round, so that what
// else the machine does meets them all. JSON: of each variant the rounds' figures.
#include <bpf/bpf.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <linux/bpf.h>
#include <sched.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdlib>
#include <ctime>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "steering_bpf/attach.hpp"
#include "steering_bpf/fd.hpp"
#include "steering_bpf/firewall.hpp"
#include "steering_bpf/port.hpp"

using namespace millrace;

namespace {

using Bytes = std::vector<uint8_t>;

// A UDP packet without data, from documentation address to documentation address, in a frame to router_mac.
constexpr std::array<uint8_t, 6> router_mac = {0x02, 0, 0, 0, 0, 0x01};
constexpr std::array<uint8_t, 14> ethernet = {0x02, 0, 0, 0, 0, 0x01, 0x02, 0, 0, 0, 0, 0x02, 0, 0};
constexpr std::array<uint8_t, 20> ipv4 = {0x45, 0, 0,   28, 0, 1, 0,   0,  64,  17,
                                          0,    0, 192, 0,  2, 1, 198, 51, 100, 1};
constexpr std::array<uint8_t, 40> ipv6 = {0x60, 0, 0, 0, 0, 8, 17, 64, 0x20, 0x01, 0x0d, 0xb8, 0,    1,
                                          0,    0, 0, 0, 0, 0, 0,  0,  0,    1,    0x20, 0x01, 0x0d, 0xb8,
                                          0,    2, 0, 0, 0, 0, 0,  0,  0,    0,    0,    1};
constexpr std::array<uint8_t, 8> udp = {0x9c, 0x40, 0, 53, 0, 8, 0, 0};

constexpr uint32_t repeat = 200'000;
constexpr int rounds = 41;

template <class T>
T value(Result<T> result) {
    if (!result) {
        fmt::print(stderr, "bench-classifier: {}\n", result.error().text());
        std::exit(1);
    }
    return std::move(*result);
}

void must(bool good, const char* what) {
    if (!good) {
        fmt::print(stderr, "bench-classifier: {}: errno {}\n", what, errno);
        std::exit(1);
    }
}

uint64_t now_ns() {
    timespec now{};
    clock_gettime(CLOCK_MONOTONIC, &now);
    return static_cast<uint64_t>(now.tv_sec) * 1'000'000'000 + static_cast<uint64_t>(now.tv_nsec);
}

Bytes frame(uint16_t ethertype, const Bytes& packet) {
    Bytes bytes(ethernet.begin(), ethernet.end());
    bytes[12] = static_cast<uint8_t>(ethertype >> 8);
    bytes[13] = static_cast<uint8_t>(ethertype);
    bytes.insert(bytes.end(), packet.begin(), packet.end());
    bytes.resize(std::max<size_t>(bytes.size(), 60));
    return bytes;
}

template <size_t N>
Bytes udp_in(const std::array<uint8_t, N>& header) {
    Bytes packet(header.begin(), header.end());
    packet.insert(packet.end(), udp.begin(), udp.end());
    return packet;
}

// A namespace with a ruleset of its own, and a classifier on its loopback device.
class World {
  public:
    World(std::string root, const std::string& ruleset) : root_(std::move(root)) {
        must(unshare(CLONE_NEWNET) == 0, "a network namespace");
        netns_ = steering::Fd(open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC));
        must(static_cast<bool>(netns_), "the network namespace");
        const auto report =
            value(steering::attach("lo", {.pin_root = root_, .mode = steering::Mode::generic}));
        program_ = steering::Fd(bpf_prog_get_fd_by_id(report.program_id));
        maps_.emplace(value(steering::PortMaps::open("lo", root_)));
        millrace_steer_config config{};
        config.heartbeat_timeout_ns = 3'600'000'000'000;
        config.flags = MILLRACE_FLAG_ENABLED;
        config.max_frame = 1514;
        std::copy(router_mac.begin(), router_mac.end(), config.mac);
        must(maps_->configure(config).has_value(), "configure");
        auto own4 = value(steering::LocalTable::create(Family::ipv4));
        auto own6 = value(steering::LocalTable::create(Family::ipv6));
        must(maps_->set_local(own4).has_value() && maps_->set_local(own6).has_value(), "own addresses");
        maps_->beat(now_ns());
        const steering::Fd xsks(bpf_obj_get((root_ + "/lo/" MILLRACE_MAP_XSKS).c_str()));
        socket_ = steering::Fd(::socket(AF_XDP, SOCK_RAW | SOCK_CLOEXEC, 0));
        const uint32_t queue = 0;
        const int fd = socket_.get();
        must(bpf_map_update_elem(xsks.get(), &queue, &fd, BPF_ANY) == 0, "an entry of the XSKMAP");
        if (!ruleset.empty()) {
            const std::string line = fmt::format("nft '{}'", ruleset);
            must(std::system(line.c_str()) == 0, "nft");  // NOLINT(concurrency-mt-unsafe)
        }
        constexpr std::array loopback = {Ifindex{1}};
        auto reader = value(steering::HookReader::load());
        hooks_ = value(reader.read(loopback));
    }
    ~World() {
        enter();
        maps_.reset();
        static_cast<void>(steering::detach("lo", root_));
        rmdir(root_.c_str());
    }
    World(const World&) = delete;
    World& operator=(const World&) = delete;

    void enter() const { must(setns(netns_.get(), CLONE_NEWNET) == 0, "setns"); }
    uint32_t run(const Bytes& bytes, FirewallMode mode, uint32_t verdict) {
        enter();
        must(maps_->set_firewall(steering::judge(hooks_, {.mode = mode}, "lo", Ifindex{1})).has_value(),
             "judgement");
        LIBBPF_OPTS(bpf_test_run_opts, options);
        options.data_in = bytes.data();
        options.data_size_in = static_cast<uint32_t>(bytes.size());
        options.repeat = repeat;
        must(bpf_prog_test_run_opts(program_.get(), &options) == 0, "BPF_PROG_TEST_RUN");
        must(options.retval == verdict, "the verdict is another one");
        return options.duration;
    }

  private:
    std::string root_;
    steering::Fd netns_;
    steering::Fd program_;
    steering::Fd socket_;
    std::optional<steering::PortMaps> maps_;
    steering::Hooks hooks_;
};

struct Variant {
    const char* name;
    World& world;
    FirewallMode mode;
    uint32_t verdict;
    const Bytes& frame;
    std::vector<uint32_t> ns{};
};

}  // namespace

int main() {
    const std::string root = fmt::format("/sys/fs/bpf/mrbench-{}-", getpid());
    World plain(root + "plain", "");
    World conntrack(root + "conntrack",
                    "add table inet t; add chain inet t i { type filter hook input priority 0; };"
                    "add rule inet t i ct state new accept");
    World empty(root + "empty",
                "add table inet t; add chain inet t f { type filter hook forward priority 0; }");
    World rule(root + "rule",
               "add table inet t; add chain inet t f { type filter hook forward priority 0; };"
               "add rule inet t f counter");
    const Bytes four = frame(0x0800, udp_in(ipv4));
    const Bytes six = frame(0x86dd, udp_in(ipv6));
    const Bytes arp = frame(0x0806, {});
    constexpr auto respect = FirewallMode::respect;
    constexpr auto bypass = FirewallMode::bypass;
    std::vector<Variant> variants = {{"ipv4 bypassed", plain, bypass, XDP_REDIRECT, four},
                                     {"ipv4 no hooks", plain, respect, XDP_REDIRECT, four},
                                     {"ipv4 conntrack", conntrack, respect, XDP_REDIRECT, four},
                                     {"ipv4 empty chain", empty, respect, XDP_REDIRECT, four},
                                     {"ipv4 kept for a rule", rule, respect, XDP_PASS, four},
                                     {"ipv6 bypassed", plain, bypass, XDP_REDIRECT, six},
                                     {"ipv6 no hooks", plain, respect, XDP_REDIRECT, six},
                                     {"ipv6 conntrack", conntrack, respect, XDP_REDIRECT, six},
                                     {"ipv6 empty chain", empty, respect, XDP_REDIRECT, six},
                                     {"ipv6 kept for a rule", rule, respect, XDP_PASS, six},
                                     {"not IP", plain, respect, XDP_PASS, arp}};
    for (int i = 0; i < rounds; ++i) {
        for (Variant& v : variants) {
            v.ns.push_back(v.world.run(v.frame, v.mode, v.verdict));
        }
    }
    const char* separator = "{";
    for (const Variant& v : variants) {
        fmt::print("{}\n\"{}\": [{}]", std::exchange(separator, ","), v.name, fmt::join(v.ns, ", "));
    }
    fmt::print("\n}}\n");
    return 0;
}
