// SPDX-License-Identifier: BSD-3-Clause
#include "steering_bpf/refusal.hpp"

#include <bpf/libbpf.h>
#include <fmt/core.h>
#include <linux/if_link.h>
#include <net/if.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <cerrno>
#include <string_view>

#include "steering_bpf/fd.hpp"
#include "steering_bpf/libbpf_log.hpp"

namespace millrace::steering {
namespace {

// Up to that, drivers fit a frame and what XDP needs around it into one page.
constexpr int surely_fits = 3000;

// Empty: it has no words for it.
std::string kernels_reason(Ifindex ifindex, int program, Mode mode) {
    const int device = static_cast<int>(raw(ifindex));
    const uint32_t flags = mode == Mode::native ? XDP_FLAGS_DRV_MODE : XDP_FLAGS_SKB_MODE;
    std::string said;
    {
        const LibbpfLog log;
        if (bpf_xdp_attach(device, program, flags | XDP_FLAGS_UPDATE_IF_NOEXIST, nullptr) != 0) {
            said = log.tail();
        } else {
            LIBBPF_OPTS(bpf_xdp_attach_opts, ours, .old_prog_fd = program);
            bpf_xdp_detach(device, flags | XDP_FLAGS_REPLACE, &ours);
        }
    }
    constexpr std::string_view before = "Kernel error message: ";
    const size_t at = said.rfind(before);
    return at == std::string::npos ? "" : said.substr(at + before.size());
}

int mtu_of(const std::string& port) {
    const Fd socket(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    ifreq request{};
    port.copy(request.ifr_name, IFNAMSIZ - 1);
    return socket && ioctl(socket.get(), SIOCGIFMTU, &request) == 0 ? request.ifr_mtu : 0;
}

}  // namespace

std::string native_remedy(const std::string& port, int mtu, int error) {
    std::string text;
    if (error == ENOSPC) {
        text = fmt::format("fewer queues may help ('ethtool -L {}'), ", port);
    } else if (mtu > surely_fits) {
        text = fmt::format(
            "its MTU of {} may be more than the driver takes with XDP ('ip link set {} mtu 1500'), ", mtu,
            port);
    }
    return text + fmt::format("or 'millrace-steer attach --mode generic {}', which is slow", port);
}

Error attach_refused(const std::string& port, Ifindex ifindex, int program, Mode mode, int error) {
    std::string text = fmt::format("port {}: cannot attach the classifier in {} mode", port, name(mode));
    if (const std::string reason = kernels_reason(ifindex, program, mode); !reason.empty()) {
        text += fmt::format(" (the kernel says: {})", reason);
    }
    if (mode == Mode::native) {
        text += "; " + native_remedy(port, mtu_of(port), error);
    }
    return {std::move(text), error};
}

}  // namespace millrace::steering
