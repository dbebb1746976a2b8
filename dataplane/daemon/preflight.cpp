// SPDX-License-Identifier: BSD-3-Clause
#include "dataplane/daemon/preflight.hpp"

#include <fcntl.h>
#include <linux/capability.h>
#include <linux/ethtool.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <net/if_arp.h>
#include <sched.h>
#include <spdlog/spdlog.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <optional>
#include <utility>

#include "dataplane/daemon/port_watch.hpp"
#include "steering_bpf/attach.hpp"

namespace millrace::dataplane {

namespace {

class ControlSocket {
  public:
    ControlSocket() : fd_(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0)) {}
    ~ControlSocket() { close(fd_); }
    ControlSocket(const ControlSocket&) = delete;
    ControlSocket& operator=(const ControlSocket&) = delete;
    [[nodiscard]] bool call(unsigned long request, const std::string& port, ifreq& argument) const {
        port.copy(argument.ifr_name, IFNAMSIZ - 1);
        return ioctl(fd_, request, &argument) == 0;
    }

  private:
    int fd_;
};

// 0: the driver can't tell.
uint32_t netdev_queues(const ControlSocket& socket, const std::string& port) {
    ethtool_channels channels{};
    channels.cmd = ETHTOOL_GCHANNELS;
    ifreq request{};
    request.ifr_data = reinterpret_cast<char*>(&channels);
    return socket.call(SIOCETHTOOL, port, request) ? channels.combined_count + channels.rx_count : 0;
}

std::string check_classifier(const std::string& port, const std::vector<steering::PortStatus>& attached) {
    const auto found = std::find_if(attached.begin(), attached.end(),
                                    [&](const steering::PortStatus& s) { return s.port == port; });
    if (found == attached.end()) {
        return fmt::format("port {}: no classifier attached; run 'millrace-steer attach {}'", port, port);
    }
    if (!found->problem.empty()) {
        return fmt::format("port {}: {}; run 'millrace-steer attach {}'", port, found->problem, port);
    }
    return {};
}

// Empty: none.
std::string missing_capabilities() {
    // CAP_SYS_ADMIN: libxdp gets at the classifier by its id.
    constexpr std::array<std::pair<unsigned, const char*>, 3> needed = {
        {{CAP_NET_ADMIN, "CAP_NET_ADMIN"}, {CAP_NET_RAW, "CAP_NET_RAW"}, {CAP_SYS_ADMIN, "CAP_SYS_ADMIN"}}};
    __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
    __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3] = {};
    std::string missing;
    const bool known = syscall(SYS_capget, &header, data) == 0;
    for (const auto& [capability, name] : needed) {
        if (!known || (data[CAP_TO_INDEX(capability)].effective & CAP_TO_MASK(capability)) == 0) {
            missing += (missing.empty() ? "" : ", ") + std::string(name);
        }
    }
    return missing;
}

Status check_kernel() {
    const int fd = socket(AF_XDP, SOCK_RAW | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        return errno == EAFNOSUPPORT ? fail("the kernel has no AF_XDP sockets (CONFIG_XDP_SOCKETS)")
                                     : fail("AF_XDP sockets", errno);
    }
    close(fd);
    if (faccessat(AT_FDCWD, "/dev/net/tun", R_OK | W_OK, AT_EACCESS) != 0) {
        return fail("/dev/net/tun can't be used (CONFIG_TUN); 'modprobe tun' may help", errno);
    }
    return {};
}

}  // namespace

Status check_cores(const std::vector<uint16_t>& cores, const cpu_set_t& allowed) {
    for (const uint16_t core : cores) {
        if (core >= CPU_SETSIZE || !CPU_ISSET(core, &allowed)) {
            return fail(
                fmt::format("workers.cores: there is no core {} for this process; 'nproc' and 'taskset -p' "
                            "tell what there is",
                            core));
        }
    }
    return {};
}

Status preflight() {
    if (const std::string missing = missing_capabilities(); !missing.empty()) {
        return fail(fmt::format("needs root, or {}: it opens AF_XDP sockets and makes TAP devices", missing));
    }
    return check_kernel();
}

std::string too_few_queues(const std::string& port, size_t queues, size_t workers) {
    return fmt::format(
        "port {}: the netdev has {} queue(s), and each of the {} workers needs one; 'ethtool -L'", port,
        queues, workers);
}

Status check_netdev(const PortConfig& port, size_t workers) {
    if (const auto found = steering::find_netdev(port.name); !found) {
        return tl::unexpected(found.error());
    }
    const ControlSocket socket;
    ifreq request{};
    if (socket.call(SIOCGIFHWADDR, port.name, request) && request.ifr_hwaddr.sa_family != ARPHRD_ETHER) {
        return fail(
            fmt::format("port {}: not an Ethernet netdev; remove it from the configuration", port.name));
    }
    // A driver that can't tell its channels is taken at its word when the socket is opened.
    const uint32_t have = netdev_queues(socket, port.name);
    if (have > 0 && have < workers) {
        return fail(too_few_queues(port.name, have, workers));
    }
    return {};
}

uint32_t netdev_queues(const std::string& port) {
    return netdev_queues(ControlSocket(), port);
}

uint16_t queues_to_serve(const PortConfig& port) {
    const uint32_t have = netdev_queues(ControlSocket(), port.name);
    return have == 0 ? port.queues : static_cast<uint16_t>(std::min<uint32_t>(port.queues, have));
}

// Looks only: a daemon that runs is not disturbed.
Result<std::vector<std::string>> port_problems(const Config& config) {
    const auto attached = steering::status(config.steering.pin_root);
    if (!attached) {
        return tl::unexpected(attached.error());
    }
    std::vector<std::string> problems;
    for (const PortConfig& port : config.ports) {
        const Status netdev = check_netdev(port, config.workers.cores.size());
        problems.push_back(netdev ? check_classifier(port.name, *attached) : netdev.error().text());
    }
    return problems;
}

void warn_of_queues(const Config& config) {
    const ControlSocket socket;
    for (const PortConfig& port : config.ports) {
        const uint32_t have = netdev_queues(socket, port.name);
        if (have > 0 && have < port.queues) {
            spdlog::warn("port {}: queues = {}, but the netdev has {}; lower it, or 'ethtool -L'", port.name,
                         port.queues, have);
        }
        if (have > port.queues) {
            spdlog::warn(
                "port {}: {} of its {} queues are served, what arrives on the others stays in the kernel; "
                "raise queues, or 'ethtool -L'",
                port.name, port.queues, have);
        }
    }
}

void warn_of_hidden_tags(const Config& config) {
    const auto attached = steering::status(config.steering.pin_root);
    for (const PortConfig& port : config.ports) {
        for (const steering::PortStatus& status : attached.value_or(std::vector<steering::PortStatus>{})) {
            const std::string text =
                status.port == port.name ? hidden_tags(port, status.sees, status.ifindex) : "";
            if (!text.empty()) {
                spdlog::warn("port {}: its transit will be left to the kernel: {}", port.name, text);
            }
        }
    }
}

}  // namespace millrace::dataplane
