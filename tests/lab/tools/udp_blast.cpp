// SPDX-License-Identifier: BSD-3-Clause
// udp-blast ADDRESS PORT PPS SECONDS SIZE: numbered UDP packets at a steady rate, prints {"sent": N}.
// The first eight bytes of the payload are the number, from 0, in host order; udp-count reads them.
#include <netdb.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <vector>

namespace {

constexpr uint64_t second = 1'000'000'000;
constexpr uint64_t tick = 200'000;  // ns; at 100,000 packets a second 20 of them leave together
constexpr size_t batch = 64;

uint64_t now() {
    timespec t{};
    clock_gettime(CLOCK_MONOTONIC, &t);
    return static_cast<uint64_t>(t.tv_sec) * second + static_cast<uint64_t>(t.tv_nsec);
}

void sleep_until(uint64_t when) {
    const timespec t{static_cast<time_t>(when / second), static_cast<long>(when % second)};
    clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, nullptr);
}

int connect_to(const char* host, const char* port) {
    addrinfo hints{};
    hints.ai_socktype = SOCK_DGRAM;
    hints.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV;
    addrinfo* found = nullptr;
    if (getaddrinfo(host, port, &hints, &found) != 0) {
        return -1;
    }
    const int fd = socket(found->ai_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    const bool connected = fd >= 0 && connect(fd, found->ai_addr, found->ai_addrlen) == 0;
    freeaddrinfo(found);
    return connected ? fd : -1;
}

}  // namespace

int main(int argc, char** argv) {
    if (argc != 6) {
        std::fprintf(stderr, "usage: udp-blast ADDRESS PORT PPS SECONDS SIZE\n");
        return 2;
    }
    const auto pps = std::strtoull(argv[3], nullptr, 10);
    const double seconds = std::strtod(argv[4], nullptr);
    const size_t size = std::strtoul(argv[5], nullptr, 10);
    const int fd = connect_to(argv[1], argv[2]);
    if (fd < 0 || pps == 0 || seconds <= 0 || size < sizeof(uint64_t)) {
        std::fprintf(stderr, "udp-blast: cannot send %s bytes to %s port %s\n", argv[5], argv[1], argv[2]);
        return 2;
    }

    std::vector<uint8_t> payload(batch * size);
    std::array<iovec, batch> parts{};
    std::array<mmsghdr, batch> messages{};
    for (size_t i = 0; i < batch; ++i) {
        parts[i] = {&payload[i * size], size};
        messages[i].msg_hdr.msg_iov = &parts[i];
        messages[i].msg_hdr.msg_iovlen = 1;
    }

    const auto total = static_cast<uint64_t>(static_cast<double>(pps) * seconds);
    const uint64_t start = now();
    uint64_t sent = 0;
    while (sent < total) {
        const uint64_t elapsed = now() - start;
        const uint64_t due = elapsed / second * pps + elapsed % second * pps / second + 1;
        while (sent < due && sent < total) {
            const size_t n = std::min<uint64_t>({batch, due - sent, total - sent});
            for (size_t i = 0; i < n; ++i) {
                const uint64_t number = sent + i;
                std::memcpy(&payload[i * size], &number, sizeof number);
            }
            const int done = sendmmsg(fd, messages.data(), static_cast<unsigned>(n), 0);
            // An ICMP error to an earlier packet is reported here once; the packet itself was not tried.
            if (done < 0 && (errno == EBADF || errno == EINVAL || errno == EMSGSIZE)) {
                std::perror("udp-blast");
                return 1;
            }
            sent += done > 0 ? static_cast<uint64_t>(done) : 0;
        }
        sleep_until(now() / tick * tick + tick);
    }
    std::printf("{\"sent\": %llu, \"send_seconds\": %.3f}\n", static_cast<unsigned long long>(sent),
                static_cast<double>(now() - start) / static_cast<double>(second));
    return 0;
}
