// SPDX-License-Identifier: BSD-3-Clause
// Nanoseconds that the classifier takes for a packet, by BPF_PROG_TEST_RUN on a loopback device of its own:
// without driver, and with everything in the cache. The median of several runs.
#include <bpf/bpf.h>
#include <fmt/core.h>
#include <sched.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdlib>
#include <ctime>
#include <string>
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

constexpr uint32_t repeat = 1'000'000;
constexpr int runs = 9;

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

void measure(int program, const char* what, const Bytes& bytes) {
    std::vector<uint32_t> ns;
    for (int i = 0; i < runs; ++i) {
        LIBBPF_OPTS(bpf_test_run_opts, options);
        options.data_in = bytes.data();
        options.data_size_in = static_cast<uint32_t>(bytes.size());
        options.repeat = repeat;
        must(bpf_prog_test_run_opts(program, &options) == 0, "BPF_PROG_TEST_RUN");
        ns.push_back(options.duration);
    }
    std::sort(ns.begin(), ns.end());
    fmt::print("{:<44} {:>5} ns (least {}, most {})\n", what, ns[ns.size() / 2], ns.front(), ns.back());
}

// Which hooks of this namespace the classifier may go past.
void judge(steering::PortMaps& maps, const FirewallConfig& config = {}) {
    constexpr std::array loopback = {Ifindex{1}};
    auto reader = value(steering::HookReader::load());
    const auto hooks = value(reader.read(loopback));
    must(maps.set_firewall(steering::judge(hooks, config, "lo", loopback[0])).has_value(), "judgement");
}

void nft(const std::string& commands) {
    const std::string line = fmt::format("nft 'add table inet t; {}'", commands);
    must(std::system(line.c_str()) == 0, "nft");  // NOLINT(concurrency-mt-unsafe)
}

}  // namespace

int main() {
    must(unshare(CLONE_NEWNET) == 0, "a network namespace");
    const std::string root = fmt::format("/sys/fs/bpf/mrbench-{}", getpid());
    const auto report = value(steering::attach("lo", {.pin_root = root, .mode = steering::Mode::generic}));
    {
        auto maps = value(steering::PortMaps::open("lo", root));
        millrace_steer_config config{};
        config.heartbeat_timeout_ns = 3'600'000'000'000;
        config.flags = MILLRACE_FLAG_ENABLED;
        config.max_frame = 1514;
        std::copy(router_mac.begin(), router_mac.end(), config.mac);
        must(maps.configure(config).has_value(), "configure");
        auto own4 = value(steering::LocalTable::create(Family::ipv4));
        auto own6 = value(steering::LocalTable::create(Family::ipv6));
        must(maps.set_local(own4).has_value() && maps.set_local(own6).has_value(), "own addresses");
        maps.beat(now_ns());
        const steering::Fd program(bpf_prog_get_fd_by_id(report.program_id));
        const steering::Fd xsks(bpf_obj_get((root + "/lo/" MILLRACE_MAP_XSKS).c_str()));
        const steering::Fd socket(::socket(AF_XDP, SOCK_RAW | SOCK_CLOEXEC, 0));
        const uint32_t queue = 0;
        const int fd = socket.get();
        must(bpf_map_update_elem(xsks.get(), &queue, &fd, BPF_ANY) == 0, "an entry of the XSKMAP");

        judge(maps, {.mode = FirewallMode::bypass});
        measure(program.get(), "IPv4 UDP transit, firewall bypassed", frame(0x0800, udp_in(ipv4)));
        measure(program.get(), "IPv6 UDP transit, firewall bypassed", frame(0x86dd, udp_in(ipv6)));
        judge(maps);
        measure(program.get(), "IPv4 UDP transit", frame(0x0800, udp_in(ipv4)));
        measure(program.get(), "IPv6 UDP transit", frame(0x86dd, udp_in(ipv6)));
        measure(program.get(), "not IP", frame(0x0806, {}));
        nft("add chain inet t i { type filter hook input priority 0; }; add rule inet t i ct state new accept");
        judge(maps);
        measure(program.get(), "IPv4 UDP transit, conntrack's hooks", frame(0x0800, udp_in(ipv4)));
        measure(program.get(), "IPv6 UDP transit, conntrack's hooks", frame(0x86dd, udp_in(ipv6)));
        nft("add chain inet t f { type filter hook forward priority 0; }");
        judge(maps);
        measure(program.get(), "IPv4 UDP transit, and an empty chain", frame(0x0800, udp_in(ipv4)));
        nft("add rule inet t f counter");
        measure(program.get(), "IPv4 UDP transit, kept for a rule", frame(0x0800, udp_in(ipv4)));
    }
    static_cast<void>(steering::detach("lo", root));
    rmdir(root.c_str());
    return 0;
}
