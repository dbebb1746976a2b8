// SPDX-License-Identifier: BSD-3-Clause
// udp-count PORT: counts what udp-blast sends. After SIGINT, once nothing came for half a second, prints
// {"received", "duplicated", "reordered", "largest_gap_ms", "gap_at", "oldest_ms"}; a gap is seen to 1 ms,
// and so is how long the packet was on its way that took longest.
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <vector>

namespace {

constexpr uint64_t second = 1'000'000'000;
constexpr uint64_t quiet = second / 2;
constexpr size_t batch = 256;
constexpr uint64_t highest_number = 1ULL << 30;  // larger numbers are not udp-blast's

volatile std::sig_atomic_t ending = 0;

uint64_t now() {
    timespec t{};
    clock_gettime(CLOCK_MONOTONIC, &t);
    return static_cast<uint64_t>(t.tv_sec) * second + static_cast<uint64_t>(t.tv_nsec);
}

struct Payload {
    uint64_t number;
    uint64_t sent_at;
};

struct Tally {
    std::vector<bool> seen;
    uint64_t received = 0;
    uint64_t duplicated = 0;
    uint64_t reordered = 0;
    uint64_t next = 0;  // one more than the highest number so far

    void add(uint64_t number) {
        if (number >= highest_number) {
            return;
        }
        if (number >= seen.size()) {
            seen.resize(std::max<size_t>(number + 1, seen.size() * 2));
        }
        if (seen[number]) {
            ++duplicated;
            return;
        }
        seen[number] = true;
        ++received;
        reordered += number < next ? 1 : 0;
        next = std::max(next, number + 1);
    }
};

int listen_on(const char* port) {
    const int fd = socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    const int off = 0;
    const int space = 128 << 20;  // a receiver that loses packets itself would be no witness
    sockaddr_in6 any{};
    any.sin6_family = AF_INET6;
    any.sin6_port = htons(static_cast<uint16_t>(std::strtoul(port, nullptr, 10)));
    if (fd < 0 || setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off) != 0 ||
        setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &space, sizeof space) != 0 ||
        bind(fd, reinterpret_cast<const sockaddr*>(&any), sizeof any) != 0) {
        std::perror("udp-count");
        return -1;
    }
    return fd;
}

}  // namespace

int main(int argc, char** argv) {
    const int fd = argc == 2 ? listen_on(argv[1]) : -1;
    if (fd < 0) {
        std::fprintf(stderr, "usage: udp-count PORT\n");
        return 2;
    }
    struct sigaction act {};
    act.sa_handler = [](int) { ending = 1; };
    sigaction(SIGINT, &act, nullptr);

    std::array<Payload, batch> payloads{};
    std::array<iovec, batch> parts{};
    std::array<mmsghdr, batch> messages{};
    for (size_t i = 0; i < batch; ++i) {
        parts[i] = {&payloads[i], sizeof payloads[i]};
        messages[i].msg_hdr.msg_iov = &parts[i];
        messages[i].msg_hdr.msg_iovlen = 1;
    }

    Tally tally;
    uint64_t last = 0;
    uint64_t gap = 0;
    uint64_t gap_at = 0;
    uint64_t oldest = 0;
    while (true) {
        const int n = recvmmsg(fd, messages.data(), batch, MSG_DONTWAIT, nullptr);
        const uint64_t at = now();
        if (n > 0) {
            if (last != 0 && at - last > gap) {
                gap = at - last;
                gap_at = tally.next;
            }
            last = at;
            for (size_t i = 0; i < static_cast<size_t>(n); ++i) {
                if (messages[i].msg_len >= sizeof(uint64_t)) {
                    tally.add(payloads[i].number);
                }
                if (messages[i].msg_len == sizeof(Payload) && payloads[i].sent_at < at) {
                    oldest = std::max(oldest, at - payloads[i].sent_at);
                }
            }
            continue;
        }
        if (ending != 0 && at - last > quiet) {
            break;
        }
        // Polled once a millisecond: waking for every packet would take the core away from the router.
        const timespec pause{0, 1'000'000};
        nanosleep(&pause, nullptr);
    }
    std::printf(
        "{\"received\": %llu, \"duplicated\": %llu, \"reordered\": %llu, \"largest_gap_ms\": %.1f, "
        "\"gap_at\": %llu, \"oldest_ms\": %.1f}\n",
        static_cast<unsigned long long>(tally.received), static_cast<unsigned long long>(tally.duplicated),
        static_cast<unsigned long long>(tally.reordered), static_cast<double>(gap) / 1e6,
        static_cast<unsigned long long>(gap_at), static_cast<double>(oldest) / 1e6);
    return 0;
}
