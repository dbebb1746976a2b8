// SPDX-License-Identifier: BSD-3-Clause
// bench-traffic generate DEVICE SOURCE-MAC DESTINATION-MAC SOURCE DESTINATION FLOWS [SOURCES DESTINATIONS
// PPS]
//     sends the shortest UDP frames out of DEVICE until SIGTERM, as fast as it takes them or PPS a second;
//     with the addresses given and the following ones, SOURCES and DESTINATIONS of them.
// bench-traffic sink DEVICE MAC TTL
//     drops all that arrives on DEVICE; for each line on stdin prints "GOOD OTHER NANOSECONDS".
// bench-traffic pass DEVICE
//     attaches an XDP program that does nothing, until stdin ends.
#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <linux/if_link.h>
#include <net/if.h>
#include <netinet/ether.h>
#include <sys/resource.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "traffic.h"
#include "traffic.skel.h"

namespace {

using Skeleton = std::unique_ptr<traffic_bpf, decltype(&traffic_bpf__destroy)>;

[[noreturn]] void die(const std::string& what, int error = 0) {
    std::fprintf(stderr, "bench-traffic: %s%s%s\n", what.c_str(), error != 0 ? ": " : "",
                 error != 0 ? std::strerror(error) : "");
    std::exit(1);
}

unsigned device_index(const char* name) {
    const unsigned index = if_nametoindex(name);
    return index != 0 ? index : (die(std::string("no device ") + name), 0);
}

void parse_mac(const char* text, void* out) {
    ether_addr address{};
    if (ether_aton_r(text, &address) == nullptr) {
        die(std::string("not a MAC address: ") + text);
    }
    std::memcpy(out, &address, ETH_ALEN);
}

Skeleton open_programs(std::string_view wanted) {
    Skeleton s(traffic_bpf__open(), &traffic_bpf__destroy);
    if (!s) {
        die("cannot open the BPF object", errno);
    }
    for (bpf_program* p : {s->progs.generate, s->progs.sink, s->progs.pass}) {
        bpf_program__set_autoload(p, wanted == bpf_program__name(p));
    }
    return s;
}

void load(const Skeleton& s) {
    if (const int error = traffic_bpf__load(s.get()); error != 0) {
        die("cannot load the BPF program", -error);
    }
}

void put16(uint8_t* at, unsigned value) {
    at[0] = static_cast<uint8_t>(value >> 8);
    at[1] = static_cast<uint8_t>(value);
}

// The low 16 bits of an address are the program's to write: taken out of it, and returned.
uint16_t take_low(uint8_t* end_of_address) {
    const auto low = static_cast<uint16_t>(end_of_address[-2] << 8 | end_of_address[-1]);
    put16(end_of_address - 2, 0);
    return low;
}

struct Headers {
    std::array<uint8_t, BENCH_HEADERS6> bytes{};
    bool ipv6 = false;
    uint16_t source_low = 0;
    uint16_t destination_low = 0;
    uint32_t sum = 0;
};

// argv: DEVICE SOURCE-MAC DESTINATION-MAC SOURCE DESTINATION ...
Headers build_headers(char** argv) {
    Headers h;
    uint8_t* const frame = h.bytes.data();
    parse_mac(argv[2], frame);
    parse_mac(argv[1], frame + 6);
    h.ipv6 = std::string_view(argv[3]).find(':') != std::string_view::npos;
    uint8_t* ip = frame + 14;
    const unsigned address = h.ipv6 ? 16 : 4;
    uint8_t* const source = ip + (h.ipv6 ? 8 : 12);
    const int family = h.ipv6 ? AF_INET6 : AF_INET;
    if (inet_pton(family, argv[3], source) != 1 || inet_pton(family, argv[4], source + address) != 1) {
        die("SOURCE and DESTINATION must be addresses of one family");
    }
    h.source_low = take_low(source + address);
    h.destination_low = take_low(source + 2 * address);
    uint8_t* const udp = source + 2 * address;
    put16(udp + 2, BENCH_PORT);
    if (h.ipv6) {
        put16(frame + 12, 0x86dd);
        ip[0] = 0x60;
        put16(ip + 4, BENCH_FRAME6 - 54);
        ip[6] = 17;
        ip[7] = 64;
        put16(udp + 4, BENCH_FRAME6 - 54);
        put16(udp + 6, 0xffff);  // wrong, but there (RFC 8200 8.1): routers don't look
        return h;
    }
    put16(frame + 12, 0x0800);
    ip[0] = 0x45;
    put16(ip + 2, BENCH_FRAME - 14);
    ip[8] = 64;
    ip[9] = 17;
    put16(udp + 4, BENCH_FRAME - 34);  // checksum 0: none, as IPv4 allows
    for (int i = 0; i < 20; i += 2) {
        h.sum += static_cast<uint32_t>(ip[i] << 8 | ip[i + 1]);
    }
    return h;
}

uint32_t power_of_two_mask(const char* what, const char* text) {
    const unsigned long n = std::strtoul(text, nullptr, 10);
    if (n == 0 || n > 65536 || (n & (n - 1)) != 0) {
        die(std::string("the number of ") + what + " must be a power of two, at most 65536");
    }
    return static_cast<uint32_t>(n - 1);
}

// argv: DEVICE SOURCE-MAC DESTINATION-MAC SOURCE DESTINATION FLOWS [SOURCES DESTINATIONS PPS]
int generate(int argc, char** argv) {
    const unsigned device = device_index(argv[0]);
    const Headers headers = build_headers(argv);
    Skeleton s = open_programs("generate");
    std::ranges::copy(headers.bytes, const_cast<uint8_t*>(std::begin(s->rodata->headers)));
    s->rodata->is_ipv6 = headers.ipv6 ? 1 : 0;
    s->rodata->header_sum = headers.sum;
    s->rodata->source_low = headers.source_low;
    s->rodata->destination_low = headers.destination_low;
    s->rodata->flow_mask = power_of_two_mask("flows", argv[5]);
    if (argc > 6) {
        s->rodata->source_mask = static_cast<uint16_t>(power_of_two_mask("sources", argv[6]));
        s->rodata->destination_mask = static_cast<uint16_t>(power_of_two_mask("destinations", argv[7]));
        s->rodata->interval_ns = 1'000'000'000 / std::max(1UL, std::strtoul(argv[8], nullptr, 10));
    }
    load(s);

    std::array<uint8_t, BENCH_FRAME6> frame{};
    const unsigned size = headers.ipv6 ? BENCH_FRAME6 : BENCH_FRAME;
    xdp_md context{};
    context.data_end = size;
    context.ingress_ifindex = device;
    LIBBPF_OPTS(bpf_test_run_opts, options, .data_in = frame.data(), .data_size_in = size, .ctx_in = &context,
                .ctx_size_in = sizeof context,
                .repeat = 1 << 30,  // one call: each costs 25 ms of set-up
                .flags = BPF_F_TEST_XDP_LIVE_FRAMES);
    while (true) {
        const int error = bpf_prog_test_run_opts(bpf_program__fd(s->progs.generate), &options);
        if (error == -EINTR) {
            return 0;
        }
        if (error != 0) {
            die("BPF_PROG_TEST_RUN", -error);
        }
    }
}

int sink(char** argv) {
    const unsigned device = device_index(argv[0]);
    Skeleton s = open_programs("sink");
    parse_mac(argv[1], const_cast<uint8_t*>(std::begin(s->rodata->sink_mac)));
    s->rodata->sink_ttl = static_cast<uint8_t>(std::strtoul(argv[2], nullptr, 10));
    load(s);
    LIBBPF_OPTS(bpf_tc_hook, hook, .ifindex = static_cast<int>(device), .attach_point = BPF_TC_INGRESS);
    LIBBPF_OPTS(bpf_tc_opts, options, .prog_fd = bpf_program__fd(s->progs.sink), .flags = BPF_TC_F_REPLACE,
                .handle = 1, .priority = 1);
    if (const int error = bpf_tc_hook_create(&hook); error != 0 && error != -EEXIST) {
        die("clsact", -error);
    }
    if (const int error = bpf_tc_attach(&hook, &options); error != 0) {
        die("tc filter", -error);
    }

    std::vector<bench_count> each(static_cast<size_t>(libbpf_num_possible_cpus()));
    const uint32_t key = 0;
    std::printf("ready\n");
    std::fflush(stdout);
    while (std::getchar() != EOF) {
        bpf_map_lookup_elem(bpf_map__fd(s->maps.counts), &key, each.data());
        timespec t{};
        clock_gettime(CLOCK_MONOTONIC, &t);
        bench_count sum{};
        for (const bench_count& c : each) {
            sum.good += c.good;
            sum.other += c.other;
        }
        std::printf("%llu %llu %lld\n", static_cast<unsigned long long>(sum.good),
                    static_cast<unsigned long long>(sum.other),
                    static_cast<long long>(t.tv_sec) * 1'000'000'000 + t.tv_nsec);
        std::fflush(stdout);
    }
    return 0;
}

int pass(char** argv) {
    const unsigned device = device_index(argv[0]);
    Skeleton s = open_programs("pass");
    load(s);
    if (bpf_program__attach_xdp(s->progs.pass, static_cast<int>(device)) == nullptr) {
        die("XDP on " + std::string(argv[0]), errno);
    }
    std::printf("ready\n");
    std::fflush(stdout);
    while (std::getchar() != EOF) {
    }
    return 0;  // the link ends with its descriptor
}

}  // namespace

int main(int argc, char** argv) {
    const std::string_view mode = argc > 1 ? argv[1] : "";
    if (mode == "generate" && (argc == 8 || argc == 11)) {
        return generate(argc - 2, argv + 2);
    }
    if (mode == "sink" && argc == 5) {
        return sink(argv + 2);
    }
    if (mode == "pass" && argc == 3) {
        return pass(argv + 2);
    }
    std::fprintf(stderr, "usage: bench-traffic generate|sink|pass DEVICE ...\n");
    return 2;
}
