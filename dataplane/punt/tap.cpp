// SPDX-License-Identifier: BSD-3-Clause
#include "dataplane/punt/tap.hpp"

#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <net/if_arp.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>

#include "dataplane/punt/redirect.hpp"
#include "steering_bpf/attach.hpp"
#include "steering_bpf/fd.hpp"

namespace millrace::dataplane {

namespace {

// "mr-eth0"; a port name too long for that (IFNAMSIZ) gives its index.
std::string tap_name(const std::string& port, Ifindex ifindex) {
    const std::string name = "mr-" + port;
    return name.size() < IFNAMSIZ ? name : "mr-" + std::to_string(raw(ifindex));
}

steering::Fd open_tun() {
    return steering::Fd(::open("/dev/net/tun", O_RDWR | O_CLOEXEC | O_NONBLOCK));
}

ifreq request_for(const std::string& name) {
    ifreq request{};
    name.copy(request.ifr_name, IFNAMSIZ - 1);
    return request;
}

// Locally administered, and the same for a port each time (FNV-1a of its name).
std::array<uint8_t, 6> mac_for(const std::string& port) {
    uint32_t hash = 2166136261;
    for (const char c : port) {
        hash = (hash ^ static_cast<uint8_t>(c)) * 16777619;
    }
    return {0x32,
            'm',
            'r',
            static_cast<uint8_t>(hash >> 16),
            static_cast<uint8_t>(hash >> 8),
            static_cast<uint8_t>(hash)};
}

}  // namespace

Result<Tap> Tap::create(const std::string& port) {
    Tap tap(port);
    tap.fd_ = open_tun().release();
    if (tap.fd_ < 0) {
        return fail("/dev/net/tun can't be opened; 'modprobe tun' may help", errno);
    }
    if (auto made = tap.make(); !made) {
        return tl::unexpected(made.error());
    }
    return tap;
}

Status Tap::make() {
    target_ = Ifindex{if_nametoindex(port_.c_str())};
    if (raw(target_) == 0) {
        return fail(fmt::format("port {}: no such netdev", port_));
    }
    name_ = tap_name(port_, target_);
    ifreq request = request_for(name_);
    request.ifr_flags = IFF_TAP | IFF_NO_PI;
    if (ioctl(fd_, TUNSETIFF, &request) < 0) {
        return fail(fmt::format("TAP {} can't be made (does another millraced serve port {}?)", name_, port_),
                    errno);
    }
    ifindex_ = Ifindex{if_nametoindex(name_.c_str())};
    ifreq own = request_for(name_);
    std::array<uint8_t, 6> mac = mac_for(port_);
    ifreq ports = request_for(port_);
    const steering::Fd socket(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    if (socket && ioctl(socket.get(), SIOCGIFHWADDR, &ports) == 0 &&
        std::equal(mac.begin(), mac.end(), reinterpret_cast<const uint8_t*>(ports.ifr_hwaddr.sa_data))) {
        mac.back() ^= 1;
    }
    own.ifr_hwaddr.sa_family = ARPHRD_ETHER;
    std::copy(mac.begin(), mac.end(), reinterpret_cast<uint8_t*>(own.ifr_hwaddr.sa_data));
    if (ioctl(fd_, SIOCSIFHWADDR, &own) < 0) {
        return fail(fmt::format("TAP {}: its MAC address can't be set", name_), errno);
    }
    return set_up_redirect(name_, ifindex_, target_);
}

Tap::Tap(Tap&& other) noexcept
    : fd_(std::exchange(other.fd_, -1)),
      port_(std::move(other.port_)),
      name_(std::move(other.name_)),
      ifindex_(other.ifindex_),
      target_(other.target_) {}

Tap::~Tap() {
    if (fd_ >= 0) {
        close(fd_);
    }
}

const char* text_of(TapFault fault) {
    switch (fault) {
        case TapFault::none:
            return "is good";
        case TapFault::gone:
            return "is gone";
        case TapFault::down:
            return "was set down";
        case TapFault::no_redirect:
            return "has lost its redirect";
    }
    return "?";
}

Result<TapFault> Tap::check() const {
    ifreq own{};
    // Of its own descriptor: another device may have come by the name or the index.
    if (ioctl(fd_, TUNGETIFF, &own) < 0) {
        // A descriptor whose device was deleted.
        return errno == EBADFD ? Result<TapFault>(TapFault::gone) : fail("TAP can't be asked", errno);
    }
    const auto index = steering::netdev_index(own.ifr_name);
    if (!index && index.error().code != ENODEV) {
        return tl::unexpected(index.error());
    }
    if (!index || *index != ifindex_) {
        return TapFault::gone;  // in another namespace
    }
    return check_redirect(ifindex_, target_);
}

Status Tap::set_up() const {
    return set_link_up(name_, ifindex_);
}

Status Tap::make_again() {
    const steering::Fd fresh = open_tun();
    // The old device goes with its last descriptor, and frees the name.
    if (!fresh || dup3(fresh.get(), fd_, O_CLOEXEC) < 0) {
        return fail("/dev/net/tun can't be opened", errno);
    }
    return make();
}

bool Tap::write(const void* frame, uint32_t bytes) const {
    return ::write(fd_, frame, bytes) == static_cast<ssize_t>(bytes);
}

}  // namespace millrace::dataplane
