// SPDX-License-Identifier: BSD-3-Clause
#include "dataplane/port/xsk.hpp"

#include <linux/if_xdp.h>
#include <sys/mman.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstddef>
#include <optional>

#include "steering_bpf/fd.hpp"

namespace millrace::dataplane {

namespace {

// nullopt: the kernel does not count it.
std::optional<uint64_t> times_found_empty(int fd) {
    xdp_statistics statistics{};
    socklen_t size = sizeof(statistics);
    if (getsockopt(fd, SOL_XDP, XDP_STATISTICS, &statistics, &size) != 0 || size < sizeof(statistics)) {
        return std::nullopt;
    }
    return statistics.tx_ring_empty_descs;
}

class Mapping {
  public:
    explicit Mapping(size_t bytes)
        : bytes_(bytes),
          at_(mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)) {}
    ~Mapping() {
        if (at_ != MAP_FAILED) {
            munmap(at_, bytes_);
        }
    }
    Mapping(const Mapping&) = delete;
    Mapping& operator=(const Mapping&) = delete;
    [[nodiscard]] void* get() const { return at_ == MAP_FAILED ? nullptr : at_; }

  private:
    size_t bytes_;
    void* at_;
};

}  // namespace

// recvmsg asks for the state first, in every kernel that has it (5.11); poll() says POLLERR in some only.
bool xsk_is_bound(int fd) {
    return recv(fd, nullptr, 0, MSG_DONTWAIT) == 0 || errno != ENXIO;
}

XskTransmitRing::XskTransmitRing(int fd) : fd_(fd) {
    if (const auto before = times_found_empty(fd)) {
        before_ = *before;
        counted_ = true;
    }
}

bool XskTransmitRing::empty() const {
    if (!counted_) {
        return true;
    }
    // Copy mode sends 32 frames for each call, and counts when it finds no more.
    if (send(fd_, nullptr, 0, MSG_DONTWAIT) != 0 && (errno == ENETDOWN || errno == ENXIO)) {
        return true;
    }
    const auto now = times_found_empty(fd_);
    return !now || *now != before_;
}

Status xsk_try(Ifindex ifindex, uint16_t queue, bool zero_copy) {
    constexpr int descriptors = 16;
    constexpr size_t chunk = 4096;
    const steering::Fd fd(socket(AF_XDP, SOCK_RAW | SOCK_CLOEXEC, 0));
    const Mapping memory(descriptors * chunk);
    if (!fd || memory.get() == nullptr) {
        return fail("no AF_XDP socket", errno);
    }
    xdp_umem_reg umem{};
    umem.addr = reinterpret_cast<uintptr_t>(memory.get());
    umem.len = descriptors * chunk;
    umem.chunk_size = chunk;
    if (setsockopt(fd.get(), SOL_XDP, XDP_UMEM_REG, &umem, sizeof(umem)) != 0) {
        return fail("no memory for an AF_XDP socket", errno);
    }
    for (const int ring : {XDP_UMEM_FILL_RING, XDP_UMEM_COMPLETION_RING, XDP_RX_RING, XDP_TX_RING}) {
        if (setsockopt(fd.get(), SOL_XDP, ring, &descriptors, sizeof(descriptors)) != 0) {
            return fail("no rings for an AF_XDP socket", errno);
        }
    }
    sockaddr_xdp address{};
    address.sxdp_family = AF_XDP;
    address.sxdp_ifindex = raw(ifindex);
    address.sxdp_queue_id = queue;
    address.sxdp_flags = zero_copy ? XDP_ZEROCOPY : XDP_COPY;
    if (bind(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0) {
        return errno == EBUSY ? fail(fmt::format("queue {}: another program has its AF_XDP socket", queue))
                              : fail(fmt::format("queue {}: no AF_XDP socket", queue), errno);
    }
    return {};
}

}  // namespace millrace::dataplane
