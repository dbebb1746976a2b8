// SPDX-License-Identifier: BSD-3-Clause
// udp-blast ADDRESS[/LENGTH]|@FILE PORT PPS SECONDS SIZE: numbered UDP packets at a steady rate, prints
// {"sent": N}. What the machine kept it from sending in time follows at that rate, too, not in one burst that
// no router has room for. With a prefix, or a file of addresses, each packet goes to another address of it,
// in turn. The first eight bytes of the payload are the number, from 0, in host order, the next eight, where
// there is room, the time (CLOCK_MONOTONIC, ns) at which it was sent; udp-count reads them.
#include <arpa/inet.h>
#include <netdb.h>
#include <netinet/in.h>
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
#include <fstream>
#include <string>
#include <vector>

namespace {

constexpr uint64_t second = 1'000'000'000;
constexpr uint64_t tick = 200'000;  // ns; at 100,000 packets a second 20 of them leave together
constexpr size_t batch = 64;
constexpr uint64_t most_late = second / 200;

uint64_t now() {
    timespec t{};
    clock_gettime(CLOCK_MONOTONIC, &t);
    return static_cast<uint64_t>(t.tv_sec) * second + static_cast<uint64_t>(t.tv_nsec);
}

void sleep_until(uint64_t when) {
    const timespec t{static_cast<time_t>(when / second), static_cast<long>(when % second)};
    clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, nullptr);
}

// Where packet number n goes: the address itself, the nth of a prefix, or of a list, all of one family.
class Target {
  public:
    // text: ADDRESS, ADDRESS/LENGTH or @FILE
    Target(std::string text, const char* port) {
        if (text.starts_with('@')) {
            std::ifstream file(text.substr(1));
            for (std::string line; std::getline(file, line);) {
                list_.push_back(resolve(line, port));
            }
            base_ = list_.empty() ? sockaddr_storage{} : list_.front();
            return;
        }
        const size_t slash = text.find('/');
        const unsigned long length = slash == text.npos ? 128 : std::strtoul(&text[slash + 1], nullptr, 10);
        text.resize(std::min(slash, text.size()));
        base_ = resolve(text, port);
        const unsigned long bits = family() == AF_INET ? 32 : 128;
        if (slash != text.npos && length + 10 <= bits) {
            span_ = (1ULL << std::min(bits - length, 32UL)) - 2 * margin;
        }
    }
    [[nodiscard]] bool valid() const {
        return family() != AF_UNSPEC && std::all_of(list_.begin(), list_.end(), [this](const auto& to) {
                   return to.ss_family == family();
               });
    }
    [[nodiscard]] bool several() const { return span_ != 0 || !list_.empty(); }
    [[nodiscard]] int family() const { return base_.ss_family; }
    [[nodiscard]] socklen_t size() const {
        return family() == AF_INET ? sizeof(sockaddr_in) : sizeof(sockaddr_in6);
    }
    [[nodiscard]] sockaddr_storage of(uint64_t number) const {
        if (!list_.empty()) {
            return list_[number % list_.size()];
        }
        sockaddr_storage to = base_;
        if (span_ != 0) {
            const auto host = static_cast<uint32_t>(margin + number % span_);
            uint32_t* low = to.ss_family == AF_INET
                                ? &reinterpret_cast<sockaddr_in*>(&to)->sin_addr.s_addr
                                : &reinterpret_cast<sockaddr_in6*>(&to)->sin6_addr.s6_addr32[3];
            *low = htonl(ntohl(*low) + host);
        }
        return to;
    }

  private:
    // AF_UNSPEC where text is no address.
    static sockaddr_storage resolve(const std::string& text, const char* port) {
        sockaddr_storage to{};
        addrinfo hints{};
        hints.ai_socktype = SOCK_DGRAM;
        hints.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV;
        addrinfo* found = nullptr;
        if (getaddrinfo(text.c_str(), port, &hints, &found) == 0) {
            std::memcpy(&to, found->ai_addr, found->ai_addrlen);
            freeaddrinfo(found);
        }
        return to;
    }

    static constexpr uint64_t margin =
        256;  // addresses at either end that are left out: the router's, broadcast
    sockaddr_storage base_{};
    uint64_t span_ = 0;
    std::vector<sockaddr_storage> list_;
};

int open_socket(const Target& target) {
    if (!target.valid()) {
        return -1;
    }
    const int fd = socket(target.family(), SOCK_DGRAM | SOCK_CLOEXEC, 0);
    const sockaddr_storage to = target.of(0);
    if (fd < 0 || target.several() ||
        connect(fd, reinterpret_cast<const sockaddr*>(&to), target.size()) == 0) {
        return fd;
    }
    return -1;
}

}  // namespace

int main(int argc, char** argv) {
    if (argc != 6) {
        std::fprintf(stderr, "usage: udp-blast ADDRESS[/LENGTH]|@FILE PORT PPS SECONDS SIZE\n");
        return 2;
    }
    const auto pps = std::strtoull(argv[3], nullptr, 10);
    const double seconds = std::strtod(argv[4], nullptr);
    const size_t size = std::strtoul(argv[5], nullptr, 10);
    const Target target(argv[1], argv[2]);
    const int fd = open_socket(target);
    if (fd < 0 || pps == 0 || seconds <= 0 || size < sizeof(uint64_t)) {
        std::fprintf(stderr, "udp-blast: cannot send %s bytes to %s port %s\n", argv[5], argv[1], argv[2]);
        return 2;
    }

    std::vector<uint8_t> payload(batch * size);
    std::array<iovec, batch> parts{};
    std::array<mmsghdr, batch> messages{};
    std::array<sockaddr_storage, batch> to{};
    for (size_t i = 0; i < batch; ++i) {
        parts[i] = {&payload[i * size], size};
        messages[i].msg_hdr.msg_iov = &parts[i];
        messages[i].msg_hdr.msg_iovlen = 1;
        if (target.several()) {
            messages[i].msg_hdr.msg_name = &to[i];
            messages[i].msg_hdr.msg_namelen = target.size();
        }
    }

    const auto total = static_cast<uint64_t>(static_cast<double>(pps) * seconds);
    const uint64_t start = now();
    uint64_t schedule = start;  // packet number n is due n / pps after this
    uint64_t sent = 0;
    while (sent < total) {
        const uint64_t time = now();
        const uint64_t next = schedule + sent / pps * second + sent % pps * second / pps;
        if (time > next + most_late) {
            schedule += time - next - most_late;
        }
        const uint64_t elapsed = time - schedule;
        const uint64_t due = elapsed / second * pps + elapsed % second * pps / second + 1;
        while (sent < due && sent < total) {
            const size_t n = std::min<uint64_t>({batch, due - sent, total - sent});
            const uint64_t at = now();
            for (size_t i = 0; i < n; ++i) {
                const uint64_t number = sent + i;
                std::memcpy(&payload[i * size], &number, sizeof number);
                if (size >= sizeof number + sizeof at) {
                    std::memcpy(&payload[i * size + sizeof number], &at, sizeof at);
                }
                to[i] = target.of(number);
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
