// SPDX-License-Identifier: BSD-3-Clause
// frame-blast DEVICE FILE SECONDS: sends the frames of a file out of DEVICE again and again, as fast as it
// takes them, and prints {"sent": N}. In the file each frame follows its length, two bytes in host order.
#include <linux/if_packet.h>
#include <net/if.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iterator>
#include <vector>

namespace {

constexpr size_t batch = 64;

// Parts of bytes: one for each frame. None at all where the file is no such file.
std::vector<iovec> frames_of(std::vector<char>& bytes) {
    std::vector<iovec> frames;
    uint16_t length = 0;
    for (size_t at = 0; at + sizeof length <= bytes.size(); at += length) {
        std::memcpy(&length, &bytes[at], sizeof length);
        at += sizeof length;
        if (length == 0 || at + length > bytes.size()) {
            return {};
        }
        frames.push_back({&bytes[at], length});
    }
    return frames;
}

}  // namespace

int main(int argc, char** argv) {
    if (argc != 4) {
        std::fprintf(stderr, "usage: frame-blast DEVICE FILE SECONDS\n");
        return 2;
    }
    std::ifstream file(argv[2], std::ios::binary);
    std::vector<char> bytes{std::istreambuf_iterator<char>(file), {}};
    std::vector<iovec> frames = frames_of(bytes);
    const std::chrono::duration<double> seconds(std::strtod(argv[3], nullptr));
    sockaddr_ll to{};
    to.sll_family = AF_PACKET;
    to.sll_ifindex = static_cast<int>(if_nametoindex(argv[1]));
    // Protocol 0: it hears nothing.
    const int fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0);
    if (fd < 0 || to.sll_ifindex == 0 || frames.empty() ||
        bind(fd, reinterpret_cast<const sockaddr*>(&to), sizeof to) != 0) {
        std::fprintf(stderr, "frame-blast: cannot send the frames of %s out of %s\n", argv[2], argv[1]);
        return 2;
    }
    std::array<mmsghdr, batch> messages{};
    uint64_t sent = 0;
    size_t next = 0;
    for (const auto begin = std::chrono::steady_clock::now();
         std::chrono::steady_clock::now() - begin < seconds;) {
        for (mmsghdr& message : messages) {
            message.msg_hdr.msg_iov = &frames[next];
            message.msg_hdr.msg_iovlen = 1;
            next = (next + 1) % frames.size();
        }
        // One that the device refuses (too short, too long) ends the batch: the next begins after it.
        const int done = sendmmsg(fd, messages.data(), batch, 0);
        const auto gone = static_cast<size_t>(std::max(done, 0));
        sent += gone;
        next = (next + frames.size() - (batch - std::min(gone + 1, batch)) % frames.size()) % frames.size();
    }
    std::printf("{\"sent\": %llu}\n", static_cast<unsigned long long>(sent));
    return 0;
}
