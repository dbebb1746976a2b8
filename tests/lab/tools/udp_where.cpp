// SPDX-License-Identifier: BSD-3-Clause
// udp-where DEVICE PORT: by whom were packets to an address taken? Watches UDP to the port that arrives on
// the device, whatever its destination MAC: a next hop that only exists as a MAC. Prints "ready"; after
// SIGINT, once nothing came for a fifth of a second, lines "ADDRESS MAC PACKETS FIRST LAST" (CLOCK_REALTIME,
// ns, as the kernel received them), and at last "lost N": packets that it could not look at itself.
#include <arpa/inet.h>
#include <linux/filter.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <map>

namespace {

constexpr uint64_t second = 1'000'000'000;
constexpr uint64_t quiet = second / 5;
constexpr size_t batch = 128;
constexpr size_t snap = 128;

volatile std::sig_atomic_t ending = 0;

struct Key {
    std::array<uint8_t, 6> mac{};
    uint16_t kind = 0;  // ethertype
    std::array<uint8_t, 16> address{};
    auto operator<=>(const Key&) const = default;
};
struct Seen {
    uint64_t packets = 0;
    uint64_t first = 0;
    uint64_t last = 0;
};

uint64_t now() {
    timespec t{};
    clock_gettime(CLOCK_REALTIME, &t);
    return static_cast<uint64_t>(t.tv_sec) * second + static_cast<uint64_t>(t.tv_nsec);
}

int open_on(const char* device) {
    const int fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, htons(ETH_P_ALL));
    const int space = 128 << 20;  // a receiver that loses packets itself would be no witness
    const int on = 1;
    sockaddr_ll from{};
    from.sll_family = AF_PACKET;
    from.sll_protocol = htons(ETH_P_ALL);
    from.sll_ifindex = static_cast<int>(if_nametoindex(device));
    packet_mreq all{};
    all.mr_ifindex = from.sll_ifindex;
    all.mr_type = PACKET_MR_PROMISC;
    if (fd < 0 || from.sll_ifindex == 0 ||
        setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &space, sizeof space) != 0 ||
        setsockopt(fd, SOL_SOCKET, SO_TIMESTAMPNS, &on, sizeof on) != 0 ||
        setsockopt(fd, SOL_PACKET, PACKET_ADD_MEMBERSHIP, &all, sizeof all) != 0 ||
        bind(fd, reinterpret_cast<const sockaddr*>(&from), sizeof from) != 0) {
        std::perror("udp-where");
        return -1;
    }
    return fd;
}

// The destination, if it is UDP to the port; no options, no extension headers: udp-blast sends none.
bool read_key(const uint8_t* frame, size_t size, uint16_t port, Key& key) {
    const auto word = [frame](size_t at) { return static_cast<uint16_t>(frame[at] << 8 | frame[at + 1]); };
    if (size < 42) {
        return false;
    }
    key.kind = word(12);
    key.address = {};
    if (key.kind == ETH_P_IP && frame[23] == IPPROTO_UDP && word(36) == port) {
        std::memcpy(key.address.data(), frame + 30, 4);
    } else if (key.kind == ETH_P_IPV6 && size >= 62 && frame[20] == IPPROTO_UDP && word(56) == port) {
        std::memcpy(key.address.data(), frame + 38, 16);
    } else {
        return false;
    }
    std::memcpy(key.mac.data(), frame, 6);
    return true;
}

uint64_t time_of(msghdr& message) {
    for (cmsghdr* c = CMSG_FIRSTHDR(&message); c != nullptr; c = CMSG_NXTHDR(&message, c)) {
        if (c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_TIMESTAMPNS) {
            timespec t{};
            std::memcpy(&t, CMSG_DATA(c), sizeof t);
            return static_cast<uint64_t>(t.tv_sec) * second + static_cast<uint64_t>(t.tv_nsec);
        }
    }
    return now();
}

void print(const std::map<Key, Seen>& all) {
    for (const auto& [key, seen] : all) {
        std::array<char, INET6_ADDRSTRLEN> text{};
        inet_ntop(key.kind == ETH_P_IP ? AF_INET : AF_INET6, key.address.data(), text.data(), text.size());
        const auto& m = key.mac;
        std::printf("%s %02x:%02x:%02x:%02x:%02x:%02x %llu %llu %llu\n", text.data(), m[0], m[1], m[2], m[3],
                    m[4], m[5], static_cast<unsigned long long>(seen.packets),
                    static_cast<unsigned long long>(seen.first), static_cast<unsigned long long>(seen.last));
    }
}

}  // namespace

int main(int argc, char** argv) {
    const int fd = argc == 3 ? open_on(argv[1]) : -1;
    if (fd < 0) {
        std::fprintf(stderr, "usage: udp-where DEVICE PORT\n");
        return 2;
    }
    const auto port = static_cast<uint16_t>(std::strtoul(argv[2], nullptr, 10));
    struct sigaction act {};
    act.sa_handler = [](int) { ending = 1; };
    sigaction(SIGINT, &act, nullptr);

    static std::array<std::array<uint8_t, snap>, batch> frames;
    static std::array<std::array<char, 64>, batch> controls;
    static std::array<sockaddr_ll, batch> from;
    std::array<iovec, batch> parts{};
    std::array<mmsghdr, batch> messages{};
    std::map<Key, Seen> all;
    uint64_t last = now();
    std::puts("ready");
    std::fflush(stdout);
    while (true) {
        for (size_t i = 0; i < batch; ++i) {
            parts[i] = {frames[i].data(), snap};
            messages[i].msg_hdr = {.msg_name = &from[i],
                                   .msg_namelen = sizeof from[i],
                                   .msg_iov = &parts[i],
                                   .msg_iovlen = 1,
                                   .msg_control = controls[i].data(),
                                   .msg_controllen = controls[i].size(),
                                   .msg_flags = 0};
        }
        const int n = recvmmsg(fd, messages.data(), batch, MSG_DONTWAIT, nullptr);
        for (int i = 0; i < n; ++i) {
            const auto at = static_cast<size_t>(i);
            Key key;
            if (from[at].sll_pkttype == PACKET_OUTGOING ||
                !read_key(frames[at].data(), std::min<size_t>(messages[at].msg_len, snap), port, key)) {
                continue;
            }
            last = time_of(messages[at].msg_hdr);
            Seen& seen = all[key];
            seen.first = seen.packets++ == 0 ? last : seen.first;
            seen.last = last;
        }
        if (n > 0) {
            continue;
        }
        if (ending != 0 && now() - last > quiet) {
            break;
        }
        // Polled: waking for every packet would take the core away from the router.
        const timespec pause{0, 1'000'000};
        nanosleep(&pause, nullptr);
    }
    print(all);
    tpacket_stats statistics{};
    socklen_t size = sizeof statistics;
    getsockopt(fd, SOL_PACKET, PACKET_STATISTICS, &statistics, &size);
    std::printf("lost %u\n", statistics.tp_drops);
    return 0;
}
